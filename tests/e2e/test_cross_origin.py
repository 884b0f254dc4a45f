"""A page of another origin, in a real Chromium: it chats by a bearer token where its origin is named, else never."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Browser

from decopilot_gateway.page import CLIENT
from support.stack import free_port, running_stack

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

_CHAT = """async ({url, token, thread}) => {
  const { DecopilotClient, ThreadChat, ApiError } = await import("/client/index.js");
  const client = new DecopilotClient({ url, org: "local", token });
  try {
    await client.getThreads();
  } catch (error) {
    return { refused: error instanceof ApiError && error.status };
  }
  const chat = new ThreadChat({ client, thread, fresh: true });
  const done = new Promise((resolve) => chat.listen({ onFinish: resolve }));
  const leave = chat.subscribe(() => {});
  await chat.sendMessage("/count 5 0");
  await done;
  const text = chat.getSnapshot().messages.at(-1).parts.map((part) => part.text ?? "").join("");
  leave();
  const unknown = await client.getThread("none").catch((error) => error.code);
  const byCookie = await fetch(new URL("/local/decopilot/threads", url), { credentials: "include" }).then(
    (response) => response.status, () => "blocked");
  return { text, unknown, byCookie };
}"""


@asynccontextmanager
async def elsewhere(port: int) -> AsyncIterator[str]:
    """Serve the library from an origin of its own."""
    app = web.Application()
    app.router.add_get("/", _page)
    app.router.add_static("/client", CLIENT)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def _page(_: web.Request) -> web.Response:
    return web.Response(text="<!doctype html><title>elsewhere</title>", content_type="text/html")


async def test_a_page_elsewhere_chats_where_its_origin_is_named_and_is_told_nothing_where_not(
    browser: Browser, tmp_path: Path
) -> None:
    named, stranger = free_port(), free_port()
    env = {"DECOPILOT_CORS_ORIGINS": f"http://127.0.0.1:{named}"}
    with running_stack(tmp_path, env=env) as stack:
        said: list[Any] = []
        for port in (named, stranger):
            async with elsewhere(port) as origin, await browser.new_context() as context:
                page = await context.new_page()
                # A cookie that the browser has for the gateway is of no use to the page.
                await page.goto(f"{stack.url}/?token={stack.token()}")
                await page.goto(origin)
                given = {"url": f"{stack.url}/", "token": stack.token(), "thread": "elsewhere"}
                said.append(await page.evaluate(_CHAT, given))
    friend, other = said
    assert friend["text"].split()
    assert ("thread_not_found", "blocked") == (friend["unknown"], friend["byCookie"])
    assert {"refused": 0} == other
