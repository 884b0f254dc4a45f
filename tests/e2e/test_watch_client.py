"""The org's events come to every tab over one connection of the browser, whichever tab goes or freezes."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page

from support.browser import chromium
from support.pages import standing_still
from support.stack import Stack
from support.viewer import Api

SOON_S = 30.0
WATCH = """
async ([scope, times]) => {
  const { DecopilotClient, WatchClient } = await import("/web/client/index.js");
  window.heard = [];
  window.open = 0;
  const client = new DecopilotClient({
    url: location.origin,
    org: "local",
    fetch: (url, init) => {
      window.open += 1;
      init.signal.addEventListener("abort", () => (window.open -= 1), { once: true });
      return fetch(url, init);
    },
  });
  const watch = new WatchClient({ client, scope, ...times });
  window.leave = watch.subscribe(({ type, subject, data, id }) => window.heard.push({ type, subject, data, id }));
}
"""


@pytest.fixture
async def context(stack: Stack, token: str) -> AsyncIterator[BrowserContext]:
    async with chromium() as browser:
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(f"{stack.url}/?token={token}")
        await page.close()
        yield context


async def test_three_tabs_hear_everything_once_over_one_connection_though_the_one_that_has_it_is_closed(
    context: BrowserContext, stack: Stack, api: Api
) -> None:
    tabs = await _three(context, stack)
    assert [1, 0, 0] == [await _open(tab) for tab in tabs]
    first = await _say(api)
    await _until_heard(tabs, first)
    await tabs[0].close()
    others = tabs[1:]
    threads = [first, *[await _say(api) for _ in range(3)]]
    for thread in threads:
        await _until_heard(others, thread)
    assert 1 == sum([await _open(tab) for tab in others])
    assert [await _events(tab, threads) for tab in others] == [await _events(others[0], threads)] * 2
    for tab in others:
        heard = await _events(tab, threads)
        assert len(heard) == len(set(heard))
        assert [False, True] == await _connections(tab)


async def test_a_frozen_tab_loses_the_lead_and_hears_what_it_missed_when_it_thaws(
    context: BrowserContext, stack: Stack, api: Api
) -> None:
    # So impatient that a leader who is only slow would be taken for a frozen one.
    tabs = await _three(context, stack, silence_ms=1000, answer_ms=700)
    async with standing_still(tabs[0]):
        threads = [await _say(api)]
        await _until_heard(tabs[1:], threads[0])
        assert 1 == sum([await _open(tab) for tab in tabs[1:]])
    threads.append(await _say(api))
    for thread in threads:
        await _until_heard(tabs, thread)
    heard = [await _events(tab, threads) for tab in tabs]
    assert heard == [heard[1]] * 3
    assert len(heard[1]) == len(set(heard[1]))
    assert 1 == sum([await _open(tab) for tab in tabs])


async def _three(context: BrowserContext, stack: Stack, **times: int) -> list[Page]:
    scope, tabs = uuid.uuid4().hex, list[Page]()
    for _ in range(3):
        page = await context.new_page()
        # The chat itself would take of the six connections that a browser has for a host.
        await page.goto(f"{stack.url}/web/app.js")
        await page.evaluate(WATCH, [scope, times])
        await page.wait_for_function("() => window.heard.length > 0", timeout=SOON_S * 1000)
        tabs.append(page)
    return tabs


async def _say(api: Api) -> str:
    """Have something happen; returns the thread."""
    thread = f"watched-{uuid.uuid4().hex[:8]}"
    await api.post(thread, "/count 1 0")
    return thread


async def _until_heard(tabs: list[Page], thread: str) -> None:
    """Wait until each heard the last that there is of a thread: its run's end and its title come in either order."""
    ended = """(t) => ["decopilot.finish", "decopilot.thread.titled"].every((last) =>
      window.heard.some(({type, subject}) => type === last && subject === t))"""
    for tab in tabs:
        await tab.wait_for_function(ended, arg=thread, timeout=SOON_S * 1000)


async def _events(tab: Page, threads: list[str]) -> list[tuple[str, str, str]]:
    heard: list[dict[str, Any]] = await tab.evaluate("() => window.heard")
    return [
        (one["type"], one["subject"], one["id"] + str(one["data"])) for one in heard if one.get("subject") in threads
    ]


async def _connections(tab: Page) -> list[bool]:
    heard: list[dict[str, Any]] = await tab.evaluate("() => window.heard")
    return [one["data"]["resumed"] for one in heard if one["type"] == "connected"]


async def _open(tab: Page) -> int:
    count: int = await tab.evaluate("() => window.open")
    return count
