"""Private threads as people meet them: made by a lock in the page, and to all others not there."""

import asyncio
import re
from contextlib import suppress

import pytest
from playwright.async_api import Browser, expect

from support.pages import GONE, SOON_MS, send, tabs, thread_of
from support.stack import Stack
from support.viewer import Api, Viewer


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="module")
async def test_a_thread_begun_behind_the_lock_is_in_nobody_elses_list_until_that_is_opened(
    browser: Browser, stack: Stack
) -> None:
    ann, bob = (stack.token(user=user, role="member") for user in ("ann", "bob"))
    async with tabs(browser, stack.url, ann) as anns, tabs(browser, stack.url, bob) as bobs:
        bobs.forgiven.append(GONE)
        hers, his = await anns.open(), await bobs.open()
        lock = hers.get_by_test_id("privacy")
        await expect(lock).to_have_attribute("aria-pressed", "false")
        await lock.click()
        await send(hers, "/count 3 0")
        await expect(hers.get_by_test_id("message")).to_have_count(2, timeout=SOON_MS)
        thread = thread_of(hers)
        mine = hers.locator(f'[data-testid="thread"][data-thread-id="{thread}"]')
        yours = his.locator(f'[data-testid="thread"][data-thread-id="{thread}"]')
        await expect(mine.get_by_test_id("thread-lock")).to_be_visible(timeout=SOON_MS)
        # A thread of the org's that is told of later is there: so would this one be.
        _, _ = await Api(stack.url, ann).post(f"{thread}-org", "/count 1 0")
        later = his.locator(f'[data-testid="thread"][data-thread-id="{thread}-org"]')
        await expect(later).to_be_visible(timeout=SOON_MS)
        await expect(yours).to_have_count(0)
        await his.evaluate(f"location.hash = '{thread}'")
        await expect(his.get_by_test_id("unknown-thread")).to_be_visible(timeout=SOON_MS)
        await lock.click()
        await expect(yours).to_be_visible(timeout=SOON_MS)
        await expect(mine.get_by_test_id("thread-lock")).to_be_hidden()
        await lock.click()
        await expect(yours).to_have_count(0, timeout=SOON_MS)
        await hers.reload()
        await expect(lock).to_have_attribute("aria-pressed", "true", timeout=SOON_MS)
        await expect(lock).to_have_attribute("aria-label", re.compile("Private"))


async def test_a_stranger_who_waits_on_a_threads_id_gets_nothing_of_what_is_begun_there_privately(
    stack: Stack, thread: str
) -> None:
    ann, bob = (stack.token(user=user, role="member") for user in ("ann", "bob"))
    his, hers = Viewer(stack.url, bob, thread), Viewer(stack.url, ann, thread)

    async def watch() -> None:
        async with his.attached() as chunks:
            answered.set()
            async for _ in chunks:
                pass

    answered = asyncio.Event()
    watching = asyncio.create_task(watch())
    try:
        async with asyncio.timeout(60):
            await answered.wait()
            async with hers.attached() as chunks:
                api = Api(stack.url, ann)
                status, _ = await api.post(thread, "/count 20 10", visibility="private")
                assert 202 == status
                async for chunk in chunks:
                    if chunk["type"] == "finish":
                        break
            await api.settled(thread)
            assert hers.text.endswith("20")
            answer = await api.call("PATCH", api.path(f"decopilot/threads/{thread}"), body={"visibility": "org"})
            assert (202, "org") == (answer[0], answer[1]["status"])
            await api.post(thread, "/count 2 0")
            while not his.text.endswith("2"):
                assert not watching.done()
                await asyncio.sleep(0.02)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    assert "1 2" == his.text
    assert 1 == sum(chunk["type"] == "start" for chunk in his.chunks)
