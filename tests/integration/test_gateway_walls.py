"""Walls: whoever sends slowly, much, too much or nothing costs the gateway little, and nobody else anything."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.log.store import Store
from decopilot_gateway import bodies, connections
from support.gateways import Gateway, gateway_process, make_token, running_gateway, until, whole_run
from support.rude import Line, Lines, resident_kib

MESSAGES = "/acme/decopilot/threads/t1/messages"
FILES = "/acme/decopilot/threads/t1/files"
GIB = 1 << 30
FLAT_KIB = 64 * 1024
"""So much a gateway may take for a body that it refuses; the body is sixteen times that, or more."""


@pytest.fixture
async def gateway(own_broker: EmbeddedBroker, store: Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    """A gateway whose patience is short."""
    del store
    monkeypatch.setattr(connections, "HEAD_S", 0.4)
    monkeypatch.setattr(connections, "IDLE_S", 1.5)
    monkeypatch.setattr(connections, "ANSWER_S", 0.4)
    monkeypatch.setattr(bodies, "BODY_LIMIT_S", 0.4)
    async with running_gateway(own_broker.url) as running, asyncio.timeout(30):
        yield running


@pytest.fixture
def provisioned(own_broker: EmbeddedBroker, store: Store) -> str:
    del store
    return own_broker.url


@pytest.fixture
async def lines() -> AsyncIterator[Lines]:
    async with Lines() as opened:
        yield opened


def post(path: str, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {make_token()}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


async def code_of(line: Line) -> tuple[bytes, str]:
    head, _, rest = (await line.head()).partition(b"\r\n")
    assert b"application/problem+json" in rest, head
    assert [b"Server: decopilot"] == [field for field in rest.split(b"\r\n") if field.lower().startswith(b"server:")]
    length = int(rest.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    return head.split()[1], json.loads(await line.reader.readexactly(length))["code"]


async def test_a_head_that_comes_byte_by_byte_is_cut_off_by_its_deadline(gateway: Gateway, lines: Lines) -> None:
    line = await lines.to(gateway.url)

    async def drip() -> None:
        while True:
            line.say(b"G" if not line.writer.is_closing() else b"")
            await asyncio.sleep(0.02)

    line.say(b"GET /livez HTTP/1.1\r\nHost: x\r\nX: ")
    dripping = asyncio.create_task(drip())
    assert (b"408", "request_too_slow") == await code_of(line)
    assert await line.ends()
    dripping.cancel()


async def test_so_is_a_second_one_on_a_connection_that_was_good_before(gateway: Gateway, lines: Lines) -> None:
    line = await lines.to(gateway.url)
    line.say(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200" in await line.head()
    line.say(b"GET /livez HTTP/1.1\r\n")
    assert b" 408 " in (await line.rest())


async def test_whoever_says_nothing_is_let_go_without_a_word_at_first_and_between_requests(
    gateway: Gateway, lines: Lines
) -> None:
    silent, idle = await lines.to(gateway.url), await lines.to(gateway.url)
    idle.say(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200" in await idle.head()
    assert b"" == await silent.rest()
    assert b'{"status": "ok"}' == await idle.rest()


async def test_a_body_that_comes_too_slowly_is_refused_and_nothing_is_appended(gateway: Gateway, lines: Lines) -> None:
    line = await lines.to(gateway.url)
    line.say(post(MESSAGES, "Content-Type: application/json", "Content-Length: 100"), b'{"messages"')
    assert (b"408", "body_too_slow") == await code_of(line)
    assert (404, "thread_not_found") == await _problem(gateway, "/acme/decopilot/threads/t1")


async def test_an_answer_that_nobody_reads_is_given_up(gateway: Gateway, lines: Lines) -> None:
    line = await lines.to(gateway.url)
    # More than sockets hold, and nothing of it is ever read.
    line.say(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 400)

    def is_cut() -> bool:
        line.say(b"\r\n")
        return line.writer.is_closing()

    await until(is_cut)


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 10_000), b"414", "uri_too_long"),
        (b"GET /livez?%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 100_000), b"414", "uri_too_long"),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n" % (b"a" * 20_000), b"431", "headers_too_large"),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n%s: a\r\n\r\n" % (b"a" * 20_000), b"431", "headers_too_large"),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n%s\r\n" % (b"X: a\r\n" * 1_000), b"431", "headers_too_large"),
        (b"no HTTP at all\r\n\r\n", b"400", "malformed_request"),
        (
            b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"400",
            "malformed_request",
        ),
        (
            b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"400",
            "malformed_request",
        ),
    ],
)
async def test_a_head_beyond_its_bounds_is_a_problem_and_ends_the_connection(
    gateway: Gateway, lines: Lines, request_: bytes, status: bytes, code: str
) -> None:
    line = await lines.to(gateway.url)
    line.say(request_)
    assert (status, code) == await code_of(line)
    assert await line.ends()


@pytest.mark.parametrize("to", [(MESSAGES, "application/json"), (FILES, "application/pdf")], ids=["message", "file"])
@pytest.mark.parametrize("form", ["announced", "chunked", "gzip", "deflate"])
async def test_a_gibibyte_is_refused_by_its_limit_and_never_held(
    provisioned: str, lines: Lines, tmp_path: Path, to: tuple[str, str], form: str
) -> None:
    path, kind = to
    async with (
        asyncio.timeout(60),
        gateway_process(provisioned, tmp_path) as gateway,
        asyncio.TaskGroup() as group,
    ):
        await until(partial(gateway.answers, 200))
        before = resident_kib(gateway.process.pid)
        line = await lines.to(gateway.url)
        if form == "announced":
            line.say(post(path, f"Content-Type: {kind}", f"Content-Length: {GIB}"))
        else:
            headers = () if form == "chunked" else (f"Content-Encoding: {form}",)
            line.say(post(path, f"Content-Type: {kind}", "Transfer-Encoding: chunked", *headers))
            group.create_task(_send_gibibyte(line, form))
        assert (b"413", "body_too_large") == await code_of(line)
        await line.close()
        assert resident_kib(gateway.process.pid) - before < FLAT_KIB
        assert (200, "") == await _problem(gateway, "/livez")


async def _send_gibibyte(line: Line, form: str) -> None:
    piece = b" " * (1 << 20)
    pack = {
        "chunked": None,
        "gzip": zlib.compressobj(1, zlib.DEFLATED, 31),
        "deflate": zlib.compressobj(1, zlib.DEFLATED, 15),
    }[form]
    for _ in range(GIB // len(piece)):
        data = piece if pack is None else pack.compress(piece)
        if data:
            line.say(b"%x\r\n" % len(data), data, b"\r\n")
        if line.writer.is_closing():
            return
        # `drain` alone does not let anybody read while there is room.
        await asyncio.sleep(0)
        with suppress(ConnectionError):
            await line.writer.drain()


async def test_a_small_body_may_still_be_compressed(gateway: Gateway, lines: Lines) -> None:
    line = await lines.to(gateway.url)
    body = gzip.compress(b'{"messages": []}')
    line.say(
        post(MESSAGES, "Content-Type: application/json", "Content-Encoding: gzip", f"Content-Length: {len(body)}"), body
    )
    assert (b"400", "invalid_body") == await code_of(line)


async def test_connections_that_only_wait_make_room_and_those_at_work_do_not(
    own_broker: EmbeddedBroker, store: Store, lines: Lines
) -> None:
    async with running_gateway(own_broker.url, connections=6) as gateway, asyncio.timeout(30):
        viewer = gateway.viewer("t1")
        async with viewer.attached() as chunks:
            held = [await lines.to(gateway.url) for _ in range(40)]
            for line in held:
                line.say(b"GET /livez HTTP/1.1\r\n")
            assert (404, "thread_not_found") == await _problem(gateway, "/acme/decopilot/threads/t1")
            assert sum([not await _is_open(line) for line in held]) >= 34
            await whole_run(store, "t1", "abc")
            async for chunk in chunks:
                if chunk["type"] == "finish":
                    break
        assert "abc" == viewer.text


async def test_those_whose_answers_nobody_reads_make_room_too(
    own_broker: EmbeddedBroker, store: Store, lines: Lines
) -> None:
    del store
    async with running_gateway(own_broker.url, connections=3) as gateway, asyncio.timeout(30):
        for _ in range(3):
            line = await lines.to(gateway.url)
            # More than sockets hold; what is asked for behind it is not worked at either.
            line.say(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 400)
            assert b"200" in await line.head()

        async def is_let_in() -> bool:
            try:
                return (await _problem(gateway, "/livez"))[0] == 200
            except aiohttp.ClientError:
                return False

        await until(is_let_in)


async def test_bodies_that_do_not_end_make_room_for_those_behind_them(
    provisioned: str, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "HELD_BYTES", 1 << 20)
    begun = post(MESSAGES, "Content-Type: application/json", "Content-Length: 1000000")
    async with running_gateway(provisioned) as gateway, asyncio.timeout(30):
        held = []
        for _ in range(4):
            held.append(await lines.to(gateway.url))
            held[-1].say(begun, b" " * 400_000)
            # So that the first is the one that came first.
            assert (200, "") == await _problem(gateway, "/livez")
        assert (b"408", "body_too_slow") == await code_of(held[0])
        assert (b"408", "body_too_slow") == await code_of(held[1])
        last = await lines.to(gateway.url)
        last.say(post(MESSAGES, "Content-Type: application/json", "Content-Length: 2"), b"{}")
        assert (b"400", "invalid_body") == await code_of(last)
        held[3].say(b" " * 600_000)
        assert (b"400", "invalid_json") == await code_of(held[3])


async def test_bodies_that_hardly_begin_take_room_as_well(
    provisioned: str, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "HELD_BYTES", 4 * bodies.LEAST_BYTES)
    async with running_gateway(provisioned) as gateway, asyncio.timeout(30):
        held = [await lines.to(gateway.url) for _ in range(5)]
        for line in held:
            line.say(post(MESSAGES, "Content-Type: application/json", "Content-Length: 100"), b"{")
        for told in asyncio.as_completed([code_of(line) for line in held]):
            assert (b"408", "body_too_slow") == await told
            break


async def test_where_every_connection_is_at_work_one_more_is_told_so(
    own_broker: EmbeddedBroker, store: Store, lines: Lines
) -> None:
    del store
    async with (
        running_gateway(own_broker.url, connections=3) as gateway,
        asyncio.timeout(30),
        AsyncExitStack() as open_,
    ):
        for _ in range(3):
            await open_.enter_async_context(gateway.viewer("t1").attached())
        line = await lines.to(gateway.url)
        assert (b"503", "too_many_connections") == await code_of(line)
        assert await line.ends()
        await open_.aclose()

        async def is_let_in() -> bool:
            try:
                return (await _problem(gateway, "/livez"))[0] == 200
            except aiohttp.ClientError:
                return False

        await until(is_let_in)


async def _is_open(line: Line) -> bool:
    try:
        async with asyncio.timeout(0.05):
            return not await line.ends()
    except TimeoutError:
        return True


async def _problem(gateway: Gateway, path: str) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {make_token()}"}
    async with aiohttp.ClientSession() as session, session.get(gateway.url + path, headers=headers) as response:
        return response.status, (await response.json(content_type=None)).get("code", "")
