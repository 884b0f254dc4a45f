"""Health, and the connection that it speaks of: what nats-py is told, and what of it is replaced."""

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from structlog.testing import capture_logs

from decopilot.kit.connection import Lifeline, connecting
from decopilot.kit.health import livez, readyz
from decopilot.kit.settings import Settings

NAMES = st.text("!#$%&'*+-.^_`|~09AZaz", min_size=1, max_size=20)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
async def test_alive_is_not_ready(*, ready: bool, status: int) -> None:
    async def is_ready() -> bool:
        return ready

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz(is_ready))])
    async with TestClient(TestServer(app)) as client:
        assert 200 == (await client.get("/livez")).status
        assert status == (await client.get("/readyz")).status


@given(st.lists(st.tuples(NAMES, st.sampled_from((":", ": ", " : ", ":\t")), VALUES)))
def test_headers_are_read_as_nats_py_reads_them(fields: list[tuple[str, str, str]]) -> None:
    raw = "".join(f"{name}{colon}{value}\r\n" for name, colon, value in fields).encode() + b"\r\n"

    async def ours() -> dict[str, str]:
        async with connecting(Settings(), "test") as (client, _):
            return client._parse_header_lines(raw)  # noqa: SLF001  what was replaced

    assert Client._parse_header_lines(raw) == asyncio.run(ours())  # noqa: SLF001


async def test_an_outage_is_told_once_and_the_next_one_again() -> None:
    lifeline = Lifeline(Settings(), "test")
    with capture_logs() as logs:
        for _ in range(3):
            for _ in range(3):
                await lifeline.options["error_cb"](ConnectionRefusedError(111, "refused"))
            await lifeline.options["reconnected_cb"]()
    assert ["nats_error", "nats_reconnected"] * 3 == [entry["event"] for entry in logs]
