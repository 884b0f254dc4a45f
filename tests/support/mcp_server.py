"""An MCP server for tests, over stdio, or over HTTP with a port: its tools write, fail, hang, die, and have odd names.

`python -m support.mcp_server FOLDER [PORT]`; what was done stands in FOLDER/notes.
"""

import os
import sys
import time
from pathlib import Path

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

FOLDER, PORT = Path(sys.argv[1]), sys.argv[2] if sys.argv[2:] else None
LONG = "a_name_that_is_longer_than_the_sixty_four_characters_that_providers_take"

server = MCPServer("test")


@server.tool()
def note(text: str) -> str:
    """Write a note down."""
    with (FOLDER / "notes").open("a") as notes:
        notes.write(f"{text}\n")
    return f"noted {text}"


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def look() -> dict[str, int]:
    """Count the notes, and tell which process does so."""
    file = FOLDER / "notes"
    return {"notes": len(file.read_text().splitlines()) if file.exists() else 0, "pid": os.getpid()}


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def variables() -> dict[str, str]:
    """Tell the variables of this process."""
    return {name: value for name, value in os.environ.items() if name in {"TOKEN", "OTHER_SECRET"}}


@server.tool()
def fail() -> str:
    """Fail."""
    msg = "There is nothing left."
    raise ToolError(msg)


@server.tool()
def hang() -> str:
    """Hang."""
    time.sleep(3600)
    return "never"


@server.tool()
def die() -> str:
    """End the server."""
    sys.stderr.write("I am dying\n")
    sys.stderr.flush()
    os._exit(1)


@server.tool()
async def advance(ctx: Context) -> str:
    """Tell how far it is."""
    await ctx.report_progress(1, 2, "half way")
    return "done"


@server.tool()
def long(kib: int) -> str:
    """Return a long text."""
    return "\n".join(f"line {number}: {'x' * 1000}" for number in range(kib))


@server.tool(name="files.read/all")
def read_all() -> str:
    """Have an odd name."""
    return "all"


@server.tool(name=LONG)
def long_name() -> str:
    """Have a long name."""
    return "long"


@server.tool()
def get_weather() -> str:
    """Have a name that is another tool's too."""
    return "none"


if __name__ == "__main__":
    with (FOLDER / "starts").open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    if PORT is None:
        server.run()
    else:
        server.run("streamable-http", port=int(PORT))
