"""Admission: a stream too many is refused before it begins, told when to come back, and costs nobody else anything."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.log.store import Store
from support.gateways import ORG, Gateway, make_token, read_run, running_gateway, until, whole_run

ATTACH, WATCH = f"/{ORG}/decopilot/attach/t1", f"/{ORG}/watch"


class Crowd:
    """Streams that are held open."""

    def __init__(self, gateway: Gateway, stack: AsyncExitStack, session: aiohttp.ClientSession) -> None:
        self._gateway, self._stack, self._session = gateway, stack, session

    async def come(self, path: str = ATTACH, **claims: Any) -> aiohttp.ClientResponse:  # noqa: ANN401  any JSON
        headers = {"Authorization": f"Bearer {make_token(**claims)}"}
        return await self._stack.enter_async_context(self._session.get(self._gateway.url + path, headers=headers))


@pytest.mark.parametrize(
    ("limits", "same", "other"),
    [
        ({"streams_per_user": 3}, {}, {"sub": "bob"}),
        ({"streams_per_org": 3}, {"sub": "bob"}, {"orgs": {"else": "member"}}),
        ({"streams": 3}, {"sub": "eve", "orgs": {"else": "member"}}, None),
    ],
)
async def test_one_stream_too_many_is_refused_until_another_ends(
    own_broker: EmbeddedBroker,
    store: Store,
    limits: dict[str, int],
    same: dict[str, object],
    other: dict[str, object] | None,
) -> None:
    del store
    async with (
        asyncio.timeout(20),
        running_gateway(own_broker.url, **limits) as gateway,
        aiohttp.ClientSession() as http,
        AsyncExitStack() as stack,
    ):
        crowd = Crowd(gateway, stack, http)
        path = ATTACH if "orgs" not in same else "/else/watch"
        held = [await crowd.come(way) for way in (ATTACH, WATCH, ATTACH)]
        assert [200] * 3 == [one.status for one in held]
        refused = await crowd.come(path, **same)
        assert 429 == refused.status
        assert "too_many_streams" == (await refused.json(content_type="application/problem+json"))["code"]
        assert int(refused.headers["Retry-After"]) > 0
        if other is not None:
            org = "else" if "orgs" in other else ORG
            assert 200 == (await crowd.come(f"/{org}/watch", **other)).status
        held[1].close()

        async def is_let_in() -> bool:
            return (await crowd.come(path, **same)).status == 200

        await until(is_let_in)
        assert 429 == (await crowd.come(path, **same)).status


async def test_a_file_that_comes_or_goes_is_a_stream_as_long_as_it_does(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    del store
    files, is_inside, ends = f"/{ORG}/decopilot/threads/t1/files", asyncio.Event(), asyncio.Event()
    large_bytes = bytes(24 << 20)  # more than sockets hold

    async def slowly() -> AsyncIterator[bytes]:
        yield large_bytes
        is_inside.set()
        await ends.wait()

    async with (
        asyncio.timeout(20),
        running_gateway(own_broker.url, streams_per_user=1) as gateway,
        aiohttp.ClientSession(gateway.url, headers={"Authorization": f"Bearer {make_token()}"}) as http,
        asyncio.TaskGroup() as group,
    ):

        async def upload(data: bytes | io.BytesIO | AsyncIterator[bytes]) -> tuple[int, dict[str, Any]]:
            async with http.post(files, data=data, headers={"Content-Type": "application/pdf"}) as got:
                return got.status, await got.json(content_type=None)

        status, large = await upload(io.BytesIO(large_bytes))
        assert 201 == status
        going = await http.get(large["url"])
        assert 200 == going.status
        assert "too_many_streams" == (await upload(b"a"))[1]["code"]
        going.close()

        async def is_let_in() -> bool:
            return (await upload(b"a"))[0] == 201

        await until(is_let_in)
        coming = group.create_task(upload(slowly()))
        # A look that is quicker would be in its place.
        await is_inside.wait()

        async def is_refused() -> bool:
            async with http.get(large["url"], headers={"Range": "bytes=0-0"}) as got:
                return got.status == 429

        assert await is_refused()
        ends.set()
        assert 201 == (await coming)[0]
        assert not await is_refused()


async def test_who_was_refused_is_counted_nowhere_and_those_inside_miss_nothing(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    async with running_gateway(own_broker.url, streams_per_user=1) as gateway, asyncio.timeout(20):
        viewer = gateway.viewer("t1")
        async with viewer.attached() as chunks:
            for _ in range(20):
                status, _ = await gateway.api.get("decopilot/attach/t1")
                assert 429 == status
            assert 400 == (await gateway.api.get("decopilot/attach/t1?cursor=x"))[0]
            await whole_run(store, "t1", "abc")
            await read_run(chunks)
        assert "abc" == viewer.text

        async def is_let_in() -> bool:
            try:
                async with gateway.viewer("t1").attached():
                    return True
            except aiohttp.ClientResponseError:
                return False

        await until(is_let_in)
