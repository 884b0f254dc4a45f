"""Walls, as other users see them: somebody holds ten thousand connections, and everybody else chats on."""

import asyncio
import resource
from collections import Counter
from collections.abc import Iterator

import pytest

from support.rude import Line, Lines
from support.stack import Stack
from support.viewer import Api, Viewer

CONNECTIONS = 10_000
AT_ONCE = 200
STREAMS_PER_USER = 500
SPARE_FILES = 500


@pytest.fixture
def connections() -> Iterator[int]:
    """As many as this machine lets one process have."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield min(CONNECTIONS, hard - SPARE_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


@pytest.mark.timeout(240)
async def test_ten_thousand_connections_of_one_user_are_refused_by_the_limit_and_others_chat_on(
    stack: Stack, api: Api, thread: str, connections: int
) -> None:
    attach = (
        f"GET /local/decopilot/attach/{thread}-eves HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {stack.token(user='eve', role='member')}\r\n\r\n"
    ).encode()
    come = asyncio.Semaphore(AT_ONCE)
    async with Lines() as lines:

        async def attach_one() -> str:
            async with come:
                line: Line = await lines.to(stack.url)
                line.say(attach)
                return (await line.head())[9:12].decode()

        crowd = asyncio.gather(*(attach_one() for _ in range(connections)))
        turns = 0
        while not crowd.done() or turns < 2:
            turns += 1
            await _chat(api, f"{thread}-{turns}")
        assert {"200": STREAMS_PER_USER, "429": connections - STREAMS_PER_USER} == Counter(await crowd)
        # Now all of them are held.
        await _chat(api, f"{thread}-held")


async def _chat(api: Api, thread: str) -> None:
    async with asyncio.timeout(10):
        viewer = Viewer(api.url, api.token, thread)
        async with viewer.attached() as chunks:
            status, _ = await api.post(thread, "/count 5 0")
            assert 202 == status
            async for chunk in chunks:
                if chunk["type"] == "finish":
                    break
        assert viewer.text
