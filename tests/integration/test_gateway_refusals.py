"""Refusals: every bad request gets a problem document with a stable code, is never our fault, and changes nothing."""

import asyncio
import json
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.problems import PROBLEMS
from decopilot.kit.settings import Settings
from decopilot.log.store import Store
from decopilot_command.app import build as build_command
from support.brokers import as_user
from support.gateways import Gateway, make_token, running_gateway
from support.services import running
from support.stack import free_port

MESSAGES = "/acme/decopilot/threads/t1/messages"
INTERACTIONS = "/acme/decopilot/threads/t1/interactions"
CANCEL = "/acme/decopilot/cancel/t1"
BODIES = [("POST", MESSAGES), ("POST", INTERACTIONS), ("POST", CANCEL), ("PATCH", "/acme/decopilot/threads/t1")]
GOOD = {"messages": [{"role": "user", "parts": [{"type": "text", "text": "hello"}]}]}
LIMIT = 64 * 1024
BAD_IDS = ["a.b", "*", ">", "a b", "a%20b", "a%2Fb", "%2e%2e", "ü", "日本", "%00", "%0a", "%ff", "a" * 65, "a;b", "a$"]


@pytest.mark.parametrize("id_", BAD_IDS)
async def test_what_is_no_id_is_refused_wherever_an_id_stands(
    own_broker: EmbeddedBroker, store: Store, id_: str
) -> None:
    async with running_gateway(own_broker.url) as gateway:
        for method, path in (
            ("GET", f"/acme/decopilot/attach/{id_}"),
            ("GET", f"/acme/decopilot/threads/{id_}"),
            ("GET", f"/acme/decopilot/threads/{id_}/messages"),
            ("POST", f"/acme/decopilot/threads/{id_}/messages"),
            ("POST", f"/acme/decopilot/threads/{id_}/interactions"),
            ("GET", f"/acme/decopilot/threads/{id_}/queue"),
            ("DELETE", f"/acme/decopilot/threads/{id_}/queue/m1"),
            ("DELETE", f"/acme/decopilot/threads/t1/queue/{id_}"),
            ("PATCH", f"/acme/decopilot/threads/{id_}"),
            ("DELETE", f"/acme/decopilot/threads/{id_}"),
            ("POST", f"/acme/decopilot/cancel/{id_}"),
            ("POST", f"/{id_}/decopilot/cancel/t1"),
            ("GET", f"/{id_}/watch"),
            ("GET", f"/{id_}/decopilot/threads"),
        ):
            status, problem = await _call(gateway, method, path, json.dumps(GOOD).encode())
            assert (status, problem["code"]) in {(400, "invalid_id"), (404, "not_found")}, path
    assert 0 == await _events(store)


@pytest.mark.parametrize(
    ("method", "path", "refusal"),
    [
        ("GET", "/nothing/here", (404, "not_found")),
        ("POST", "/acme/decopilot/stream", (404, "not_found")),
        ("POST", "/acme/decopilot/runtime/stream", (404, "not_found")),
        ("GET", "/acme/decopilot/threads/", (404, "not_found")),
        ("GET", "//acme/decopilot/threads", (404, "not_found")),
        ("DELETE", "/livez", (405, "method_not_allowed")),
        ("PUT", MESSAGES, (405, "method_not_allowed")),
        ("POST", "/acme/watch", (405, "method_not_allowed")),
        ("HEAD", "/acme/watch", (405, "method_not_allowed")),
        ("GET", "/acme/decopilot/threads?limit=0", (400, "invalid_query")),
        ("GET", "/acme/decopilot/threads?limit=1001", (400, "invalid_query")),
        ("GET", "/acme/decopilot/threads?limit=%D9%A3", (400, "invalid_query")),
        ("GET", "/acme/decopilot/threads/unknown", (404, "thread_not_found")),
        ("GET", "/acme/decopilot/threads/unknown/messages", (404, "thread_not_found")),
        ("GET", "/acme/decopilot/threads/unknown/queue", (404, "thread_not_found")),
        ("PUT", "/acme/decopilot/threads/t1", (405, "method_not_allowed")),
        ("GET", "/acme/decopilot/cancel/t1", (405, "method_not_allowed")),
        ("GET", "/acme/decopilot/threads/t1/queue/m1", (405, "method_not_allowed")),
        ("POST", "/acme/decopilot/threads/t1/queue", (405, "method_not_allowed")),
        ("GET", "/elsewhere/decopilot/threads/unknown", (403, "forbidden")),
    ],
)
async def test_what_is_not_served_is_a_problem_of_the_table(
    own_broker: EmbeddedBroker, store: Store, method: str, path: str, refusal: tuple[int, str]
) -> None:
    del store
    status, code = refusal
    async with running_gateway(own_broker.url) as gateway, aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {make_token()}"}
        async with session.request(method, URL(gateway.url + path, encoded=True), headers=headers) as response:
            body = await response.read()
            assert (status, "application/problem+json") == (response.status, response.content_type)
            assert (status == 405) == ("Allow" in response.headers)
    if method != "HEAD":
        problem = json.loads(body)
        assert {"type", "title", "status", "code", "detail"} == problem.keys()
        assert (status, code, PROBLEMS[code].title) == (problem["status"], problem["code"], problem["title"])


@pytest.mark.parametrize(
    ("body", "headers", "refusal"),
    [
        (b"x" * (LIMIT + 1), {}, (413, "body_too_large")),
        ("chunked", {}, (413, "body_too_large")),
        (b"{}", {"Content-Type": "text/plain"}, (415, "unsupported_media_type")),
        (b"{}", {"Content-Type": ""}, (415, "unsupported_media_type")),
        (b"no gzip", {"Content-Encoding": "gzip"}, (400, "invalid_body")),
        (json.dumps(GOOD).encode("utf-16"), {}, (400, "invalid_json")),
        (b"[" * 10_000, {}, (400, "invalid_json")),
        (b'{"messages":[{"role":"user","parts":[{"type":"text","x":1e400}]}]}', {}, (400, "invalid_body")),
        (b'{"messages":[{"role":"user","parts":[{"type":"x"}],"metadata":{"x":-1e400}}]}', {}, (400, "invalid_body")),
    ],
)  # fmt: skip
async def test_a_body_that_is_not_what_it_should_be_is_refused_wherever_one_is_read(
    own_broker: EmbeddedBroker, store: Store, body: bytes | str, headers: dict[str, str], refusal: tuple[int, str]
) -> None:
    async with running_gateway(own_broker.url, body_limit_bytes=LIMIT) as gateway:
        # What is wrong in a message is nothing to the others.
        is_about_messages = isinstance(body, bytes) and body.startswith(b'{"messages"')
        for method, path in BODIES[:1] if is_about_messages else BODIES:
            sent = _chunked() if isinstance(body, str) else body
            assert refusal == await _post(gateway, sent, headers, method=method, path=path), path
        # The connection, or at least the gateway, is good for the next one.
        assert (400, "invalid_body") == await _post(gateway, b"{}", {})
    assert 0 == await _events(store)


@pytest.mark.parametrize(
    "more", [{"thread_id": "other"}, {"thread_id": ""}, {"thread_id": "t1", "memory": {"thread_id": "other"}}]
)
async def test_another_thread_in_the_body_is_refused_wherever_it_is_named(
    own_broker: EmbeddedBroker, store: Store, more: dict[str, object]
) -> None:
    async with running_gateway(own_broker.url) as gateway:
        assert (400, "thread_mismatch") == await _post(gateway, json.dumps(GOOD | more).encode(), {})
    assert 0 == await _events(store)


_NAMES = [*GOOD, "role", "parts", "type", "id", "tier", "thread_id", "onConflict", "state", "approval", "approved"]
_NAMES += ["resolutions", "approvalId", "toolCallId", "output", "errorText", "runId", "title"]
_WORDS = st.sampled_from(["assistant", "user", "tool-x", "approval-responded", "output-available", "output-error"])
_JSON = st.recursive(
    _WORDS
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner),
    max_leaves=8,
)
_STEPS = ["acme", "decopilot", "threads", "t1", "messages", "attach", "watch", "web", "..", "", "\0", "a/b"]
_STEPS += ["cancel", "queue", "interactions"]
_PATHS = st.lists(
    st.sampled_from(_STEPS) | st.text(st.characters(codec="utf-8"), max_size=5),
    min_size=1,
    max_size=6,
)


async def test_whatever_is_sent_is_never_our_fault_and_appends_nothing(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    port = free_port()
    command = build_command(as_user(Settings(nats_url=own_broker.url, health_port=port), "command"))
    # What is good is refused by `command`, because a viewer sends it.
    viewer = make_token(orgs={"acme": "viewer"})
    async with running(command, port), running_gateway(own_broker.url) as gateway:
        loop = asyncio.get_running_loop()

        def run(coroutine: Any) -> Any:  # noqa: ANN401  whatever it returns
            return asyncio.run_coroutine_threadsafe(coroutine, loop).result(10)

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.sampled_from(BODIES), _JSON | st.binary(max_size=30))
        def bodies(where: tuple[str, str], body: object) -> None:
            method, path = where
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            status, code = run(_post(gateway, sent, {"Authorization": f"Bearer {viewer}"}, method=method, path=path))
            refused = {(400, "invalid_body"), (400, "invalid_json"), (400, "thread_mismatch"), (403, "forbidden")}
            assert (status, code) in refused

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]), _PATHS)
        def paths(method: str, parts: list[str]) -> None:
            url = URL(gateway.url + "".join(f"/{quote(part, safe='')}" for part in parts), encoded=True)
            assert run(_status(method, url, viewer)) < 500, url

        await asyncio.to_thread(bodies)
        await asyncio.to_thread(paths)
    assert 0 == await _events(store)


async def _call(gateway: Gateway, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {make_token()}", "Content-Type": "application/json"}
    data = body if method in {"POST", "PATCH"} else None
    url = URL(gateway.url + path, encoded="%" in path)
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, data=data, headers=headers) as response,
    ):
        return response.status, await response.json(content_type="application/problem+json")


async def _post(
    gateway: Gateway,
    body: Any,  # noqa: ANN401  bytes or chunks
    headers: dict[str, str],
    *,
    method: str = "POST",
    path: str = MESSAGES,
) -> tuple[int, str]:
    sent = {"Authorization": f"Bearer {make_token()}", "Content-Type": "application/json"} | headers
    async with (
        aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as session,
        session.request(method, gateway.url + path, data=body, headers=sent, compress=False) as response,
    ):
        return response.status, (await response.json(content_type="application/problem+json"))["code"]


async def _status(method: str, url: URL, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers) as response:
        return response.status


async def _chunked() -> Any:  # noqa: ANN401  an async generator
    for _ in range(LIMIT // 1024 + 1):
        yield b"x" * 1024


async def _events(store: Store) -> int:
    info = await store.js.stream_info(subjects.EVENTS_STREAM)
    return int(info.state.messages)
