"""Attach tokens: good for one stream of one thread, for a while; renewed in it; of no use for anything else."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import aiohttp
import jwt
import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.client import Client
from decopilot.log.store import Store
from support.gateways import ORG, SECRET, Gateway, Run, make_token, running_gateway, until
from support.viewer import Api

ATTACH = f"/{ORG}/decopilot/attach"


async def issued(gateway: Gateway, thread: str = "t1", token: str | None = None) -> dict[str, Any]:
    """Ask for an attach token."""
    api = Api(gateway.url, token or make_token(), ORG)
    status, body = await api.call("POST", api.path(f"decopilot/threads/{thread}/attach-token"))
    assert 201 == status
    made: dict[str, Any] = body
    return made


async def refusal(url: str, **headers: str) -> tuple[int, str]:
    """Ask for a stream that is refused."""
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        return response.status, (await response.json(content_type="application/problem+json"))["code"]


@asynccontextmanager
async def streaming(url: str, **headers: str) -> AsyncIterator[AsyncIterator[tuple[str, dict[str, Any] | None]]]:
    """Read a stream: each event's id, and its chunk, None for `[DONE]`."""
    async with asyncio.timeout(20), aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        assert 200 == response.status

        async def events() -> AsyncIterator[tuple[str, dict[str, Any] | None]]:
            while raw := await response.content.readuntil(b"\n\n"):
                lines = raw.decode().splitlines()
                fields = dict(line.split(": ", 1) for line in lines if line and not line.startswith(":"))
                if "data" in fields:
                    data = fields["data"]
                    yield fields.get("id", ""), None if data == "[DONE]" else json.loads(data)

        yield events()


async def test_an_attach_token_begins_a_stream_without_any_other(own_broker: EmbeddedBroker, store: Store) -> None:
    async with running_gateway(own_broker.url) as gateway, Run(store, "t1") as run:
        made = await issued(gateway)
        assert 290 < datetime.fromisoformat(made["expiresAt"]).timestamp() - time.time() <= 300
        assert f"{ATTACH}/t1?token={made['token']}" == made["url"]
        await run.start("ab")
        async with streaming(gateway.url + made["url"]) as events:
            assert ["start", "text-start", "text-delta", "text-delta"] == [
                chunk["type"] for _, chunk in [await anext(events) for _ in range(4)] if chunk is not None
            ]
        async with Client(gateway.url, make_token(), ORG) as client:
            by_client = await client.attach_token("t1")
        async with streaming(by_client.url) as events:
            assert "start" == ((await anext(events))[1] or {})["type"]


@pytest.mark.parametrize(("public_url", "prefix"), [("https://chat.example", ""), ("https://chat.example", "/ai")])
async def test_its_address_is_where_browsers_find_the_gateway(
    own_broker: EmbeddedBroker, store: Store, public_url: str, prefix: str
) -> None:
    del store
    async with running_gateway(own_broker.url, public_url=public_url, path_prefix=prefix) as gateway:
        assert (await issued(gateway))["url"].startswith(f"{public_url}{prefix}{ATTACH}/t1?token=")


async def test_an_attach_token_is_of_no_use_for_anything_else(own_broker: EmbeddedBroker, store: Store) -> None:
    del store
    ordinary = make_token(orgs={ORG: "owner", "other": "owner"})
    async with running_gateway(own_broker.url) as gateway:
        url, token = gateway.url, (await issued(gateway, token=ordinary))["token"]
        assert (403, "forbidden") == await refusal(f"{url}{ATTACH}/t2?token={token}")
        assert (403, "forbidden") == await refusal(f"{url}/other/decopilot/attach/t1?token={token}")
        as_bearer = {"Authorization": f"Bearer {token}"}
        as_cookie = {"Cookie": f"decopilot_token_{url.rpartition(':')[2]}={token}"}
        for path in ("decopilot/attach/t1", "watch", "decopilot/threads", "decopilot/threads/t1", "decopilot/agents"):
            for headers in (as_bearer, as_cookie):
                assert (401, "unauthenticated") == await refusal(f"{url}/{ORG}/{path}", **headers)
            if "attach" not in path:
                assert (401, "unauthenticated") == await refusal(f"{url}/{ORG}/{path}?token={token}")
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{url}/?token={token}", allow_redirects=False) as page,
        ):
            assert (401, None) == (page.status, page.headers.get("Set-Cookie"))
        api = Api(url, token, ORG)
        for method, path in (("POST", "t1/messages"), ("POST", "t1/attach-token"), ("DELETE", "t1")):
            status, _ = await api.call(method, api.path(f"decopilot/threads/{path}?token={token}"), body={})
            assert 401 == status


async def test_what_is_no_attach_token_of_ours_begins_no_stream(own_broker: EmbeddedBroker, store: Store) -> None:
    del store
    async with running_gateway(own_broker.url, attach_token_s=1) as gateway:
        url, ordinary = f"{gateway.url}{ATTACH}/t1?token=", make_token()
        token = (await issued(gateway))["token"]
        header, _, signature = token.split(".")
        said = jwt.decode(token, options={"verify_signature": False})
        changed = jwt.utils.base64url_encode(json.dumps(said | {"exp": 4e9}).encode()).decode()
        bad = {
            "an ordinary one": ordinary,
            "none at all": "",
            "its words changed": f"{header}.{changed}.{signature}",
            "unsigned": jwt.encode(said, "", "none"),
            "signed with the secret itself": jwt.encode(said, SECRET, "HS256"),
            "cut short": token[:-2],
            "two of them": f"{token}&token={token}",
            "huge": "x" * 7_000,
        }
        for name, given in bad.items():
            assert (401, "unauthenticated") == await refusal(url + given), name
            # A good one beside it makes it no better.
            assert (401, "unauthenticated") == await refusal(url + given, Authorization=f"Bearer {ordinary}"), name
        await until(lambda: time.time() >= said["exp"])
        assert (401, "unauthenticated") == await refusal(url + token)


async def test_a_stream_brings_the_next_token_in_time_without_moving_its_cursor(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    async with running_gateway(own_broker.url, attach_token_s=2, keepalive_s=0.4) as gateway, Run(store, "t1") as run:
        made = await issued(gateway)
        await run.start("a")
        ids, renewals, text, cursor = [], [], "", ""
        async with streaming(gateway.url + made["url"]) as events:
            async for id_, chunk in events:
                assert chunk is not None
                if chunk["type"] == "data-attach-token":
                    renewals.append(chunk)
                    assert "" == id_
                    if len(renewals) == 2:
                        await run.say("b")
                        await run.finish()
                    continue
                ids.append(id_)
                cursor, text = id_, text + chunk.get("delta", "")
                if chunk["type"] == "finish":
                    break
        assert "ab" == text
        assert len(ids) == len(set(ids))
        for renewal in renewals:
            assert renewal["transient"] is True
            assert {"token", "expiresAt"} == renewal["data"].keys()
        first, second = (datetime.fromisoformat(one["data"]["expiresAt"]) for one in renewals[:2])
        assert datetime.fromisoformat(made["expiresAt"]) < first < second
        # The first token is over; the newest goes on behind the last chunk.
        await until(lambda: time.time() >= datetime.fromisoformat(made["expiresAt"]).timestamp())
        assert (401, "unauthenticated") == await refusal(gateway.url + made["url"])
        again = await issued(gateway)
        async with (
            streaming(f"{gateway.url}{again['url']}", **{"Last-Event-ID": cursor}) as events,
            Run(store, "t1", 2, previous=int(cursor.partition("-")[0])) as later,
        ):
            await later.start("c")
            assert "start" == next(c["type"] for _, c in [await anext(events)] if c is not None)


async def test_renewals_end_with_the_token_that_the_first_one_was_made_from(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    del store
    async with running_gateway(own_broker.url, attach_token_s=2, keepalive_s=0.4) as gateway:
        expires = int(time.time()) + 4
        made = await issued(gateway, token=make_token(exp=expires))
        said: list[float] = []
        async with streaming(gateway.url + made["url"]) as events:
            async for _, chunk in events:
                if chunk is None:
                    break
                said.append(datetime.fromisoformat(chunk["data"]["expiresAt"]).timestamp())
        assert time.time() >= expires
        assert expires == said[-1] == max(said)
        # And none is made that outlives its maker.
        short = await issued(gateway, token=make_token(exp=int(time.time()) + 2))
        assert datetime.fromisoformat(short["expiresAt"]).timestamp() <= time.time() + 2


async def test_the_cookie_gets_an_attach_token_for_pages_of_our_own_only(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    del store
    async with running_gateway(own_broker.url) as gateway, aiohttp.ClientSession() as session:
        cookie = {"Cookie": f"decopilot_token_{gateway.url.rpartition(':')[2]}={make_token()}"}
        url = f"{gateway.url}/{ORG}/decopilot/threads/t1/attach-token"
        for headers, status in (
            ({"Origin": gateway.url}, 201),
            ({"Sec-Fetch-Site": "same-origin"}, 201),
            ({"Origin": "https://evil.example"}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({}, 403),
        ):
            async with session.post(url, headers=cookie | headers) as response:
                assert status == response.status, headers
