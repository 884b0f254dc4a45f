"""A stream ends when its token does, cleanly, and whoever has another token goes on where it ended."""

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.client import Client
from decopilot.log.store import Store
from support.gateways import ORG, Run, make_token, running_gateway, until

ATTACH, WATCH = f"/{ORG}/decopilot/attach/t1", f"/{ORG}/watch"


@pytest.mark.parametrize("path", [ATTACH, WATCH])
@pytest.mark.parametrize("leeway_s", [0, 1])
async def test_a_stream_ends_cleanly_when_its_token_does(
    own_broker: EmbeddedBroker, store: Store, path: str, leeway_s: int
) -> None:
    del store
    async with (
        asyncio.timeout(20),
        running_gateway(own_broker.url, keepalive_s=0.4, jwt_leeway_s=leeway_s) as gateway,
        aiohttp.ClientSession() as session,
    ):
        expires = int(time.time()) + 2
        headers = {"Authorization": f"Bearer {make_token(exp=expires)}"}
        async with (
            session.get(gateway.url + path, headers={"Authorization": f"Bearer {make_token()}"}) as other,
            session.get(gateway.url + path, headers=headers) as response,
        ):
            seen = await response.content.read()
            assert expires + leeway_s <= time.time() < expires + leeway_s + 1.5
            assert seen.endswith(b"data: [DONE]\n\n")
            # Whoever has a token goes on.
            while (await other.content.readuntil(b"\n\n")) != b": keepalive\n\n":
                pass
        async with session.get(gateway.url + path, headers=headers) as response:
            assert 401 == response.status


async def test_a_slow_reader_does_not_outlive_its_token_either(own_broker: EmbeddedBroker, store: Store) -> None:
    async with (
        asyncio.timeout(20),
        running_gateway(own_broker.url, keepalive_s=0.4, streams_per_user=1) as gateway,
        aiohttp.ClientSession() as session,
        Run(store, "t1") as run,
    ):
        await run.start()
        for _ in range(150):
            await run.write({"type": "text-delta", "id": "t", "delta": "x" * 200_000})
        expires = int(time.time()) + 2
        url = gateway.url + ATTACH
        async with session.get(url, headers={"Authorization": f"Bearer {make_token(exp=expires)}"}) as response:
            assert 200 == response.status
            while True:
                async with session.get(url, headers={"Authorization": f"Bearer {make_token()}"}) as next_one:
                    if next_one.status == 200:
                        break
                    assert (429, True) == (next_one.status, time.time() < expires + 10)
                await asyncio.sleep(0.05)
            assert time.time() >= expires
            # What it has yet to read is not kept for it: it comes again behind its cursor.
            with pytest.raises(aiohttp.ClientError):
                await response.read()


async def test_a_client_with_fresh_tokens_sees_a_run_whole_over_any_number_of_them(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    made: list[float] = []

    def token() -> str:
        made.append(time.time())
        return make_token(exp=int(time.time()) + 2)

    async with running_gateway(own_broker.url, keepalive_s=0.4) as gateway, Run(store, "t1") as run:
        await run.start()

        async def speak() -> None:
            for letter in "abcdefghij":
                await run.say(letter)
                await asyncio.sleep(0.5)
            await until(lambda: len(made) >= 3)
            await run.finish()

        async with asyncio.timeout(30), Client(gateway.url, token, ORG) as client, asyncio.TaskGroup() as group:
            group.create_task(speak())
            seen = [chunk async for chunk in _run(client)]
        text = "".join(str(chunk.get("delta", "")) for chunk in seen)
    assert "abcdefghij" == text


async def _run(client: Client) -> AsyncIterator[dict[str, object]]:
    async for event in client.attach("t1", cursor="0-0"):
        yield event.chunk
        if event.chunk["type"] == "finish":
            return
