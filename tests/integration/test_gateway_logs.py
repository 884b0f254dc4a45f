"""Logs: nobody who reads them learns a secret, and nobody who is logged writes a line."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.log.store import Store
from support.gateways import ORG, SECRET, gateway_process, make_token, until


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /?token=%s HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /?token=%s\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\x00\r\n\r\n",
        (
            b"POST /acme/decopilot/threads/t1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
            b"Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
        ),
        b"GET /acme/decopilot/threads HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n",
        b"GET /acme/decopilot/threads?x=%%0a{%%22event%%22:%%22forged%%22}%%0a HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n",
    ],
)
async def test_no_secret_reaches_the_logs_and_every_line_of_them_is_ours(
    own_broker: EmbeddedBroker, store: Store, tmp_path: Path, request_: bytes
) -> None:
    async with gateway_process(own_broker.url, tmp_path) as gateway:
        await until(lambda: gateway.answers(200))
        await store.js.delete_stream(subjects.EVENTS_STREAM)  # so that asking fails, and is logged
        token = gateway.api.token.encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
        writer.write(request_ % token)
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(b"HTTP/1.")
        writer.close()
        assert 0 == await gateway.end()
        written = gateway.log.read_bytes()
    assert token not in written
    assert SECRET.encode() not in written
    assert written
    assert all(line.startswith(b'{"') and line.endswith(b"}") for line in written.splitlines())


async def test_why_a_token_is_refused_is_logged_once_a_request(
    own_broker: EmbeddedBroker, store: Store, tmp_path: Path
) -> None:
    del store
    forged = make_token(secret="x" * 32)
    refused = ("bad_signature", forged), ("no_orgs", make_token(orgs=None)), ("expired", make_token(exp=1))
    paths = f"/{ORG}/decopilot/threads", f"/{ORG}/decopilot/attach/t1", f"/{ORG}/watch", f"/?token={forged}"
    async with gateway_process(own_broker.url, tmp_path) as gateway, aiohttp.ClientSession() as session:
        await until(lambda: gateway.answers(200))
        for path in paths:
            for _, token in refused:
                async with session.get(gateway.url + path, headers={"Authorization": f"Bearer {token}"}) as got:
                    assert 401 == got.status
        assert 0 == await gateway.end()
        written = gateway.log.read_text()
    logged = [line for line in map(json.loads, written.splitlines()) if line["event"] == "token_refused"]
    assert [reason for reason, _ in refused] * 3 + ["bad_signature"] * 3 == [line["reason"] for line in logged]
    assert ["info"] * 12 == [line["level"] for line in logged]
    assert {"HS256"} == {line["alg"] for line in logged}
    assert not any(token in written for _, token in refused)
