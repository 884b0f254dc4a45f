"""A person decides while the page reads what was so before: what was decided stays decided, in every tab."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Page, Request, Response, Route, expect

from support.gateways import until
from support.meddling import Meddler
from support.pages import SOON_MS, Tabs, answer, assert_in_step, send
from support.viewer import Api

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

HISTORY = re.compile(r"/messages$")
RESET = {"type": "data-thread-reset", "data": {"cursor": "0-0", "reason": "expired"}, "transient": True}


async def _ask(page: Page, what: str) -> None:
    if what == "approval":
        await page.get_by_test_id("ask-first").check()
        await send(page, "/delete milk")
    else:
        await send(page, "/ask Which city?")
    await expect(page.get_by_test_id("ask")).to_be_visible(timeout=SOON_MS)


async def _decide(page: Page, what: str) -> None:
    if what == "approval":
        await page.get_by_test_id("approve").click(timeout=SOON_MS)
    else:
        await page.get_by_test_id("answer").fill("Lisbon")
        await page.get_by_test_id("answer").press("Enter")


SAID = {"approval": "I have deleted", "question": "You answered: Lisbon"}


@pytest.mark.parametrize("what", SAID)
async def test_what_one_tab_decides_after_a_reload_closes_the_form_of_the_other(
    person: Tabs, api: Api, what: str
) -> None:
    first = await person.open()
    await _ask(first, what)
    second = await person.open(first.url)
    await expect(second.get_by_test_id("ask")).to_be_visible(timeout=SOON_MS)
    await assert_in_step(api, first, second)
    await first.reload()
    await _decide(first, what)
    for page in (first, second):
        await expect(answer(page)).to_contain_text(SAID[what], timeout=SOON_MS)
        await expect(page.get_by_test_id("ask")).to_have_count(0)
    assert 2 == len(await assert_in_step(api, first, second))


@pytest.mark.parametrize("why", ["reset", "catching up"])
@pytest.mark.parametrize("what", SAID)
async def test_a_history_from_before_that_comes_after_the_decision_does_not_undo_it(
    distant: Tabs, meddler: Meddler, api: Api, what: str, why: str
) -> None:
    first = await distant.open()
    await _ask(first, what)
    second = await distant.open(first.url)
    await expect(second.get_by_test_id("ask")).to_be_visible(timeout=SOON_MS)
    async with _late_history(first) as asked:
        if why == "reset":
            await meddler.say("attach", RESET)
        else:
            # Who can't go on watching where it was may have missed what was decided.
            await meddler.say("watch", {"resumed": False}, name="connected")
        await asyncio.wait_for(asked.wait(), SOON_MS / 1000)
        async with first.expect_response(_is_decision) as accepted:
            await _decide(first, what)
        assert 202 == (await accepted.value).status
        if why == "catching up":
            # Its own stream tells what came of it, before the history does.
            await expect(answer(first)).to_contain_text(SAID[what], timeout=SOON_MS)
        await expect(answer(second)).to_contain_text(SAID[what], timeout=SOON_MS)
    assert 2 == len(await assert_in_step(api, first, second))
    for page in (first, second):
        await expect(answer(page)).to_contain_text(SAID[what])
        await expect(page.get_by_test_id("ask")).to_have_count(0)


async def test_a_decision_that_is_made_while_another_tab_reads_the_history_reaches_it(
    distant: Tabs, meddler: Meddler, api: Api
) -> None:
    first = await distant.open()
    await _ask(first, "approval")
    second = await distant.open(first.url)
    await expect(second.get_by_test_id("ask")).to_be_visible(timeout=SOON_MS)
    async with _late_history(first) as asked:
        await meddler.say("attach", RESET)
        await asyncio.wait_for(asked.wait(), SOON_MS / 1000)
        await until(lambda: meddler.streams("attach") == 2)
        await _decide(second, "approval")
        await expect(answer(second)).to_contain_text(SAID["approval"], timeout=SOON_MS)
    assert 2 == len(await assert_in_step(api, first, second))


def _is_decision(response: Response) -> bool:
    return response.request.method == "POST" and response.url.endswith("/interactions")


@asynccontextmanager
async def _late_history(page: Page) -> AsyncIterator[asyncio.Event]:
    """Let histories that are read from now on come as they were then, but only when this ends.

    Yields what is set when one has been read.
    """
    asked, comes = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        if not _reads(route.request) or comes.is_set():
            await route.continue_()
            return
        response = await route.fetch()
        asked.set()
        await comes.wait()
        await route.fulfill(response=response)

    await page.route(HISTORY, hold)
    try:
        yield asked
    finally:
        comes.set()
        await page.unroute_all(behavior="wait")


def _reads(request: Request) -> bool:
    return request.method == "GET"
