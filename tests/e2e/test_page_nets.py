"""A person in a train: the page over networks, gateways and laptops that go away, and streams that are meddled with."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from support.freezing import freeze
from support.gateways import until
from support.meddling import Event, Meddler, Passes
from support.pages import OUTAGE, SOON_MS, Tabs, answer, assert_in_step, send, standing_still, tabs, thread_of
from support.stack import Stack, running_stack
from support.viewer import Api

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

OFFLINE_S = 5
LATE_S = 3
WHOLE = " ".join(map(str, range(1, 201)))


async def _count(page: Page) -> None:
    """Have an answer written that takes some four seconds; returns when it has begun."""
    await send(page, "/count 200 20")
    await expect(answer(page)).to_contain_text("10 11", timeout=SOON_MS)


async def test_five_seconds_without_a_network_in_mid_answer_leave_no_trace(
    distant: Tabs, meddler: Meddler, api: Api
) -> None:
    distant.forgiven.append(OUTAGE)
    first = await distant.open()
    await _count(first)
    second = await distant.open(first.url)
    await distant.context.set_offline(True)
    # Chromium's own switch leaves alone what is open already.
    meddler.cut("watch", "attach")
    for page in (first, second):
        await expect(page.get_by_test_id("connection")).to_have_text("Offline")
    await asyncio.sleep(OFFLINE_S)
    await distant.context.set_offline(False)
    for page in (first, second):
        await expect(answer(page)).to_contain_text(WHOLE, timeout=30_000)
    assert 2 == len(await assert_in_step(api, first, second))


async def test_a_gateway_that_is_killed_in_mid_answer_is_not_missed(person: Tabs, api: Api, stack: Stack) -> None:
    person.forgiven.append(OUTAGE)
    first = await person.open()
    await _count(first)
    second = await person.open(first.url)
    killed = stack.kill("gateway")
    for page in (first, second):
        await expect(page.get_by_test_id("connection")).not_to_have_text("Live", timeout=SOON_MS)
    stack.wait_ready("gateway", not_pid=killed)
    for page in (first, second):
        await expect(answer(page)).to_contain_text(WHOLE, timeout=30_000)
        await expect(page.get_by_test_id("connection")).to_have_text("Live", timeout=SOON_MS)
    await send(second, "/count 3 0")
    await expect(first.get_by_test_id("message")).to_have_count(4, timeout=SOON_MS)
    assert 4 == len(await assert_in_step(api, first, second))


async def test_a_tab_that_sleeps_while_its_connections_die_and_another_run_goes_by_wakes_up_in_step(
    distant: Tabs, meddler: Meddler, api: Api
) -> None:
    distant.forgiven.append(OUTAGE)
    first = await distant.open()
    await _count(first)
    second = await distant.open(first.url)
    async with standing_still(first):
        meddler.cut("watch", "attach")
        await api.settled(thread_of(first))
        await expect(second.get_by_test_id("connection")).to_have_text("Live", timeout=SOON_MS)
        await send(second, "/weather Oslo")
        await expect(answer(second)).to_contain_text("In Oslo it is", timeout=SOON_MS)
    assert 4 == len(await assert_in_step(api, first, second))


async def test_a_laptop_that_sleeps_while_chunks_pile_up_wakes_up_in_step(
    browser: Browser, person: Tabs, api: Api
) -> None:
    first = await person.open()
    await _count(first)
    second = await person.open(first.url)
    async with _asleep(browser):
        await api.settled(thread_of(first))
        await api.post(thread_of(first), "/count 2000 0")
        await api.settled(thread_of(first))
    assert 4 == len(await assert_in_step(api, first, second))
    await expect(answer(second)).to_contain_text("1999 2000")


@asynccontextmanager
async def _asleep(browser: Browser) -> AsyncIterator[None]:
    """Let no tab do anything."""
    devtools = await browser.new_browser_cdp_session()
    told = await devtools.send("SystemInfo.getProcessInfo")
    renderers = [int(process["id"]) for process in told["processInfo"] if process["type"] == "renderer"]
    assert renderers
    for pid in renderers:
        freeze(pid)
    try:
        yield
    finally:
        for pid in renderers:
            os.kill(pid, signal.SIGCONT)


async def late(event: Event) -> bool:
    """Let the word that a run has ended come late."""
    if event.name == "decopilot.finish":
        await asyncio.sleep(LATE_S)
    return True


async def lost(event: Event) -> bool:
    """Let it not come."""
    return event.name != "decopilot.finish"


@pytest.mark.parametrize("passes", [late, lost])
async def test_the_next_message_sent_at_once_has_its_own_answer_whenever_the_end_is_told(
    distant: Tabs, meddler: Meddler, api: Api, passes: Passes
) -> None:
    meddler.passes = passes
    first = await distant.open()
    await send(first, "/count 5 0")
    await expect(answer(first)).to_contain_text("4 5", timeout=SOON_MS)
    second = await distant.open(first.url)
    await send(first, "/count 6 0")
    await expect(answer(first)).to_contain_text("5 6", timeout=SOON_MS)
    await send(first, "/count 7 0")
    for page in (first, second):
        await expect(answer(page)).to_contain_text("6 7", timeout=SOON_MS)
    assert 6 == len(await assert_in_step(api, first, second))
    if passes is late:
        # Of both tabs one watches for both.
        await until(lambda: len(_ends(meddler, thread_of(first))) == 3)
        assert 6 == len(await assert_in_step(api, first, second))


async def test_an_end_that_is_told_ahead_of_the_last_chunks_does_not_end_the_answer(
    distant: Tabs, meddler: Meddler, api: Api
) -> None:
    first = await distant.open()
    await send(first, "/count 5 0")
    await expect(answer(first)).to_contain_text("4 5", timeout=SOON_MS)
    second = await distant.open(first.url)
    await assert_in_step(api, first, second)
    released = asyncio.Event()

    async def held(event: Event) -> bool:
        if event.stream == "attach" and event.data.get("delta") == " 6":
            await released.wait()
        return True

    thread = thread_of(first)
    # The first one's end may be told later than it is.
    await until(lambda: len(_ends(meddler, thread)) == 1)
    meddler.passes = held
    await send(first, "/count 6 10")
    await until(lambda: len(_ends(meddler, thread)) == 2)
    async with first.expect_response(lambda response: response.request.method == "POST") as accepted:
        await send(first, "/count 7 0")
    assert "in_progress" == (await (await accepted.value).json())["status"]
    released.set()
    for page in (first, second):
        await expect(answer(page)).to_contain_text("6 7", timeout=SOON_MS)
    assert 6 == len(await assert_in_step(api, first, second))


def _ends(meddler: Meddler, thread: str) -> list[Event]:
    ends = [event for event in meddler.passed if event.name == "decopilot.finish"]
    return [event for event in ends if event.data["subject"] == thread]


async def test_a_message_that_could_not_be_sent_is_given_back_and_sent_again_is_one_run(person: Tabs, api: Api) -> None:
    person.forgiven.append(OUTAGE)
    first = await person.open()
    await send(first, "/count 3 0")
    await expect(answer(first)).to_contain_text("2 3", timeout=SOON_MS)
    second = await person.open(first.url)
    await person.context.set_offline(True)
    await send(first, "/count 4 0")
    await expect(first.get_by_test_id("composer")).to_have_value("/count 4 0", timeout=SOON_MS)
    await expect(first.get_by_test_id("notice")).to_contain_text("can't be reached")
    await expect(first.get_by_test_id("message")).to_have_count(2)
    await person.context.set_offline(False)
    await first.get_by_test_id("composer").press("Enter")
    for page in (first, second):
        await expect(answer(page)).to_contain_text("3 4", timeout=SOON_MS)
    assert 4 == len(await assert_in_step(api, first, second))
    await expect(first.get_by_test_id("composer")).to_have_value("")


async def test_a_message_whose_acceptance_was_lost_on_the_way_appears_once(
    distant: Tabs, meddler: Meddler, api: Api
) -> None:
    distant.forgiven.append(OUTAGE)
    first = await distant.open()
    await send(first, "/count 3 0")
    await expect(answer(first)).to_contain_text("2 3", timeout=SOON_MS)
    second = await distant.open(first.url)
    meddler.loses = lambda method, path: method == "POST" and path.endswith("/messages")
    await send(first, "/count 4 0")
    for page in (first, second):
        await expect(answer(page)).to_contain_text("3 4", timeout=SOON_MS)
        await expect(page.get_by_test_id("message")).to_have_count(4)
    await until(lambda: meddler.lost > 0)
    await expect(first.get_by_test_id("composer")).to_have_value("", timeout=SOON_MS)
    await expect(first.get_by_test_id("notice")).to_be_hidden()
    assert 4 == len(await assert_in_step(api, first, second))


async def test_a_message_whose_acceptance_was_lost_and_that_nothing_tells_of_is_one_run_when_sent_again(
    distant: Tabs, meddler: Meddler, api: Api
) -> None:
    distant.forgiven.append(OUTAGE)
    first = await distant.open()
    await send(first, "/count 3 0")
    await expect(answer(first)).to_contain_text("2 3", timeout=SOON_MS)
    second = await distant.open(first.url)
    released = asyncio.Event()

    async def held(_event: Event) -> bool:
        await released.wait()
        return True

    meddler.passes = held
    meddler.loses = lambda method, path: method == "POST" and path.endswith("/messages")
    await send(first, "/count 4 0")
    await expect(first.get_by_test_id("composer")).to_have_value("/count 4 0", timeout=SOON_MS)
    meddler.loses = lambda _method, _path: False
    await first.get_by_test_id("composer").press("Enter")
    await expect(first.get_by_test_id("composer")).to_have_value("")
    released.set()
    for page in (first, second):
        await expect(answer(page)).to_contain_text("3 4", timeout=SOON_MS)
    assert 4 == len(await assert_in_step(api, first, second))


async def test_streams_that_come_in_small_pieces_and_are_cut_again_and_again_lose_nothing(
    distant: Tabs, meddler: Meddler, api: Api
) -> None:
    distant.forgiven.append(OUTAGE)
    first = await distant.open()
    await send(first, "/count 3 0")
    await expect(answer(first)).to_contain_text("2 3", timeout=SOON_MS)
    second = await distant.open(first.url)
    meddler.cut_after_bytes = 20_011
    await send(first, "/count 900 3")
    for page in (first, second):
        await expect(answer(page)).to_contain_text("899 900", timeout=40_000)
    assert 4 == len(await assert_in_step(api, first, second))
    assert meddler.cuts >= 4


async def test_of_all_tabs_one_watches_and_another_takes_over_when_it_goes(
    distant: Tabs, meddler: Meddler, api: Api
) -> None:
    leader = await distant.open()
    others = [await distant.open() for _ in range(3)]
    await until(lambda: meddler.streams("watch") == 1)
    for page in (leader, others[0]):
        await page.close()
    await send(others[1], "/count 3 0")
    await others[1].wait_for_url("**#*")
    # What another tab does is heard of by watching alone.
    row = others[2].locator(f'[data-thread-id="{thread_of(others[1])}"]')
    await expect(row).to_contain_text("Done", timeout=SOON_MS)
    await until(lambda: meddler.streams("watch") == 1)
    await assert_in_step(api, others[1])


async def test_a_tab_too_many_is_told_so_and_let_in_when_another_has_gone(browser: Browser, tmp_path: Path) -> None:
    limited = {"DECOPILOT_STREAMS_PER_USER": "3"}
    with running_stack(tmp_path, env=limited) as stack:
        async with tabs(browser, stack.url, stack.token()) as person:
            person.forgiven.append(re.compile("status of 429"))
            first, second = await person.open(), await person.open()
            third = await person.context.new_page()
            await third.goto(first.url)
            await expect(third.get_by_test_id("lost")).to_contain_text("Too many streams", timeout=SOON_MS)
            await second.close()
            await third.get_by_test_id("reconnect").click()
            await expect(third.get_by_test_id("connection")).to_have_text("Live", timeout=SOON_MS)
            await expect(third.get_by_test_id("lost")).to_be_hidden()
