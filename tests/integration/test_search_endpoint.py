"""`web_search` at a search endpoint: a real HTTP server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from decopilot.contracts.configuration import Configuration, Search
from decopilot.kit.configuration import MissingVariableError
from decopilot_runner.default_agent import search_endpoint
from decopilot_runner.default_agent.search_endpoint import ANSWER_BYTES, SearchEndpoint, SearchFailedError
from support.demo import demo_agent
from support.driven import Driven, calls_of, of
from support.stack import free_port

RESULTS = {"results": [{"url": "https://a.org", "title": "A", "content": "about a"}, {"url": "https://b.org"}]}
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    """Serve; yields the address that a configuration names."""
    app, port = web.Application(), free_port()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}/search?q={{query}}&format=json"
    finally:
        await runner.cleanup()


async def test_what_an_endpoint_finds_is_told_as_progress_sources_and_output() -> None:
    asked: list[tuple[str, str, str | None]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.query["q"], request.query["format"], request.headers.get("Authorization")))
        return web.json_response(RESULTS)

    async with serving(answer) as url:
        configuration = Configuration.model_validate({"search": {"url": url}})
        run = Driven(demo_agent(delay_ms=0, configuration=configuration), "/search cats & dogs? 100% #ü/../x")
        assert "completed" == (await run.attempt()).status

    assert [("cats & dogs? 100% #ü/../x", "json", None)] == asked
    text = "A\nhttps://a.org\nabout a\n\nhttps://b.org\nhttps://b.org"
    assert [{"text": text}] == [chunk["data"] for chunk in of(run.chunks, "data-web-search")]
    assert ["https://a.org", "https://b.org"] == [chunk["url"] for chunk in of(run.chunks, "source-url")]
    assert text == calls_of(run.message)[0]["output"]["text"]
    assert "I found 2: A, https://b.org." == run.message.text


async def test_keys_are_sent_and_one_that_is_missing_is_named_when_the_agent_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[tuple[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        heard.append((request.headers["Authorization"], request.headers["X-Subscription-Token"]))
        return web.json_response([])

    async with serving(answer) as url:
        search = Search(url=url, api_key_env="SEARCH_KEY", headers_env={"X-Subscription-Token": "SEARCH_TOKEN"})
        monkeypatch.setenv("SEARCH_KEY", "key")
        with pytest.raises(MissingVariableError, match="SEARCH_TOKEN"):
            demo_agent(configuration=Configuration(search=search))
        monkeypatch.setenv("SEARCH_TOKEN", "token")
        assert [] == await SearchEndpoint(search).search("cats")
    assert [("Bearer key", "token")] == heard


async def redirected(_: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "http://169.254.169.254/"})


async def failed(_: web.Request) -> web.Response:
    return web.Response(status=500, text="secret")


async def no_json(_: web.Request) -> web.Response:
    return web.Response(text="<html>secret")


async def no_list(_: web.Request) -> web.Response:
    return web.json_response({"error": "secret"})


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(ANSWER_BYTES // (1 << 16) + 2):
        await response.write(b" " * (1 << 16))
    return response


async def broken(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b"[")
    assert request.transport is not None
    request.transport.close()
    return response


async def silent(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (redirected, "The search endpoint answered with status 302."),
        (failed, "The search endpoint answered with status 500."),
        (no_json, search_endpoint.NO_RESULTS),
        (no_list, search_endpoint.NO_RESULTS),
        (endless, search_endpoint.TOO_LARGE),
        (broken, search_endpoint.NOT_REACHED),
        (silent, search_endpoint.NOT_REACHED),
    ],
)
async def test_an_endpoint_that_fails_fails_the_call_with_a_text_of_ours(
    answer: Answer, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if answer is silent:
        monkeypatch.setattr(search_endpoint, "TIMEOUT_S", 0.1)
    async with serving(answer) as url:
        configuration = Configuration.model_validate({"search": {"url": url}})
        run = Driven(demo_agent(delay_ms=0, configuration=configuration), "/search cats")
        assert "completed" == (await run.attempt()).status
    assert told == calls_of(run.message)[0]["errorText"]
    assert "The web could not be searched." == run.message.text


async def test_an_endpoint_that_is_not_there_is_told_so() -> None:
    endpoint = SearchEndpoint(Search(url=f"http://127.0.0.1:{free_port()}/{{query}}"))
    with pytest.raises(SearchFailedError, match="could not be reached"):
        await endpoint.search("cats")
