"""What a line in the prompt asks for, if it is none for the agent. Pure."""

from dataclasses import dataclass

HELP = {
    "/threads": "list the conversations, and open one",
    "/new": "begin another conversation",
    "/open ID": "go on with a conversation",
    "/interrupt TEXT": "send it at once: what goes on is to end for it (Ctrl-O does so, too)",
    "/instead TEXT": "send it in place of what the answer waits for, which is denied",
    "/cancel": "end the answer that goes on (Esc does so, too)",
    "/back": "take back the message that was queued last",
    "/file PATH": "attach a file to the next message",
    "/quit": "leave; what goes on, goes on",
    "//…": "send what begins with a slash as it is",
}
GREETING = "/help shows the commands; try /weather Oslo"
"""What stands where nothing was said yet."""
_NAMES = frozenset(form.split(" ")[0].removeprefix("/") for form in HELP if form != "//…") | {"help"}


@dataclass(frozen=True, slots=True)
class Line:
    """What was typed: for the agent where `command` is empty, else a command with its argument."""

    command: str
    text: str


def parse(typed: str) -> Line:
    """Read a line; a slash that begins none of our commands is the agent's business."""
    typed = typed.strip()
    if typed.startswith("//"):
        return Line("", typed[1:])
    name, _, rest = typed.partition(" ")
    if typed.startswith("/") and name[1:] in _NAMES:
        return Line(name[1:], rest.strip())
    return Line("", typed)


def help_text() -> str:
    """Tell all commands and keys, a line each."""
    width = max(len(form) for form in HELP)
    lines = [f"{form:<{width}}  {meaning}" for form, meaning in HELP.items()]
    keys = "Enter sends, Ctrl-J begins a new line, Ctrl-C cancels; once more, or where nothing goes on, it leaves."
    return "\n".join([*lines, keys])
