"""An MCP server for tests that does not behave: `python -m support.bad_mcp_server HOW`, one of the branches below."""

import json
import sys
import time
from typing import Any

HOW = sys.argv[1]
GOOD = {"name": "good", "inputSchema": {"type": "object", "properties": {}}, "description": "x" * 100_000}
TOOLS: dict[str, object] = {
    "talks": [GOOD],
    "no_object": [GOOD, {"name": "no_object", "inputSchema": {"type": "string"}}],
    "no_list": "none",
    "bad_tools": [
        {"name": "", "inputSchema": {"type": "object"}},
        {"name": "large", "inputSchema": {"type": "object", "description": "x" * 200_000}},
        GOOD,
        GOOD,
    ],
}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    match request["method"]:
        case "initialize":
            version = request["params"]["protocolVersion"]
            about = {"name": "bad", "version": "1"}
            return {"result": {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": about}}
        case "tools/list":
            return {"result": {"tools": TOOLS[HOW]}}
        case "tools/call":
            return {"result": {"content": [{"type": "text", "text": "it works"}]}}
        case _:
            return {"error": {"code": -32601, "message": "Method not found"}}


if HOW == "ends":
    sys.exit("I have no license to run")
if HOW == "silent":
    time.sleep(3600)
if HOW == "talks":
    print("Welcome to the server!", flush=True)  # noqa: T201
for line in sys.stdin:
    request = json.loads(line)
    if "id" in request:
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], **answer(request)}), flush=True)  # noqa: T201
