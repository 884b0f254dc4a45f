"""Writes docs/api: what clients may ask (OpenAPI), what the services say to each other (AsyncAPI), and a page."""

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer
from asyncapi_document import document

from decopilot_gateway.app import build
from decopilot_gateway.settings import GatewaySettings

FOLDER = Path(__file__).parents[1] / "docs" / "api"
NOBODY = "nats://127.0.0.1:9"
"""A gateway tells what it is without a broker."""


def documents() -> dict[str, str]:
    """Make every file of docs/api, by name."""
    openapi, asyncapi = asyncio.run(_openapi()), document(version("decopilot"))
    return {
        "README.md": "\n".join(_page(openapi, asyncapi)) + "\n",
        "openapi.json": _text(openapi),
        "asyncapi.json": _text(asyncapi),
    }


async def _openapi() -> dict[str, Any]:
    settings = GatewaySettings.model_validate({"jwt_secret": "x" * 32, "nats_url": NOBODY})
    async with build(settings) as (app, _), TestClient(TestServer(app)) as client:
        answer = await client.get("/openapi.json")
        told: dict[str, Any] = await answer.json()
        return told


def _text(told: dict[str, Any]) -> str:
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def _page(openapi: dict[str, Any], asyncapi: dict[str, Any]) -> Iterator[str]:
    yield from (
        "# The APIs",
        "",
        "Made by `make docs` from the code; CI fails where it is not what the code says.",
        "",
        "- [openapi.json](openapi.json), OpenAPI 3.1: what clients may ask of the gateway, which serves it, too.",
        "  What they may rely on beside the forms stands in [protocol.md](../protocol.md).",
        "- [asyncapi.json](asyncapi.json), AsyncAPI 3.0: what the services say to each other over NATS. It is no",
        "  promise to anybody else, but for what [upgrading](../upgrading.md) relies on; any AsyncAPI tool reads it.",
        "",
        "## HTTP",
        "",
        "| | path | |",
        "|---|---|---|",
    )
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            yield f"| {method.upper()} | `{path}` | {operation['summary']} |"
    yield from (
        "",
        "## NATS",
        "",
        "Who says, hears and reads what is what the broker lets each service do; consumers stand in brackets.",
        "",
        "| subject | what | said by | heard by | kept in, read by |",
        "|---|---|---|---|---|",
    )
    for name, channel in asyncapi["channels"].items():
        if channel["address"] is None:
            continue
        kept = channel.get("x-jetstream", {})
        where = f"`{kept['stream']}`: {', '.join(kept['readBy']) or 'nobody'}" if kept else ""
        said, heard = _who(asyncapi, name, "send"), _who(asyncapi, name, "receive")
        yield f"| `{channel['address']}` | {channel['summary']} | {said or 'the broker'} | {heard} | {where} |"


def _who(asyncapi: dict[str, Any], channel: str, action: str) -> str:
    found = []
    for name, operation in asyncapi["operations"].items():
        if operation["action"] == action and operation["channel"]["$ref"] == f"#/channels/{channel}":
            consumer = operation.get("x-jetstream", {}).get("consumer")
            service = re.split(r"_(?:sends|hears|works_off)_", name)[0]
            found.append(f"{service} ({consumer})" if consumer else service)
    return ", ".join(found)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each, text in documents().items():
        (FOLDER / each).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{FOLDER / each}\n")
