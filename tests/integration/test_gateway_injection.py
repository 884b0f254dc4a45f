"""Injection: whatever stands in a field that reaches a stream, it stays in that field."""

import json
from typing import Any

import aiohttp
import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.log.store import Store
from support.gateways import ORG, Run, make_token, running_gateway

EVIL = '"}\n\ndata: {"type":"forged"}\n\nevent: forged\nid: 9-9\nretry: 1\r\n\r\r\x00\x1b[2J\u2028\u2029\ufeff</script>'


def events(body: str) -> list[dict[str, str]]:
    """Read events as the standard has it: a line ends with CR LF, LF or CR, and with nothing else."""
    found: list[dict[str, str]] = []
    for block in body.replace("\r\n", "\n").replace("\r", "\n").split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            found.append({name: rest for name, _, rest in (line.partition(": ") for line in lines)})
    return found


CHUNKS: list[dict[str, Any]] = [
    {"type": "text-start", "id": EVIL},
    {"type": "text-delta", "id": EVIL, "delta": EVIL},
    {"type": "text-end", "id": EVIL},
    {"type": "tool-input-start", "toolCallId": EVIL, "toolName": EVIL, "dynamic": True},
    {"type": "tool-input-delta", "toolCallId": EVIL, "inputTextDelta": EVIL},
    {"type": "tool-input-available", "toolCallId": EVIL, "toolName": EVIL, "dynamic": True, "input": {EVIL: EVIL}},
    {"type": "tool-output-available", "toolCallId": EVIL, "output": EVIL, "dynamic": True},
    {"type": "source-url", "sourceId": EVIL, "url": f"https://a.org/{EVIL}", "title": EVIL},
    {"type": f"data-{EVIL}", "id": EVIL, "data": {EVIL: [EVIL]}},
]


@pytest.mark.parametrize("query", ["cursor=0-0", "replay=compact", "replay=message"])
async def test_nothing_that_a_chunk_says_ends_its_event_or_begins_another(
    own_broker: EmbeddedBroker, store: Store, query: str
) -> None:
    async with running_gateway(own_broker.url) as gateway, Run(store, "t1") as run:
        await run.record_request()
        await run.start()
        await run.write(*CHUNKS)
        headers = {"Authorization": f"Bearer {make_token()}"}
        url = f"{gateway.url}/{ORG}/decopilot/attach/t1?{query}"
        body = ""
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
            async for piece in response.content.iter_any():
                body += piece.decode()
                if '"data-\\"}' in body and body.endswith("\n\n"):
                    break
    told = events(body)
    assert {"id", "data", "retry"} >= {name for event in told for name in event}
    assert {"1000"} == {event["retry"] for event in told if "retry" in event}
    assert "9-9" not in {event.get("id") for event in told}
    said = [json.loads(event["data"]) for event in told if "data" in event]
    assert "forged" not in {chunk["type"] for chunk in said}
    assert CHUNKS[-1] in said


async def test_what_a_watcher_asks_for_is_told_back_within_its_field(own_broker: EmbeddedBroker, store: Store) -> None:
    del store
    async with running_gateway(own_broker.url) as gateway, aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {make_token()}"}
        async with session.get(f"{gateway.url}/{ORG}/watch", params={"types": EVIL}, headers=headers) as response:
            body = ""
            while "connected" not in body or not body.endswith("\n\n"):
                body += (await response.content.readany()).decode()
    (told,) = (event for event in events(body) if "data" in event)
    assert "connected" == told["event"]
    assert [part.strip() for part in EVIL.split(",")] == json.loads(told["data"])["typePatterns"]
