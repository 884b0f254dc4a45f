"""A person sees it: titles that come by themselves, answers made anew, and chats that go on from an earlier place."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from support.browser import chromium
from support.stack import Stack

pytestmark = pytest.mark.browser

SOON_MS = 10_000
"""What the broker, a runner and the page need at most for what they do at once."""


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as launched:
        yield launched


@pytest.fixture
async def tab(browser: Browser, stack: Stack, token: str) -> AsyncIterator[Callable[[str], Awaitable[Page]]]:
    """Open tabs of one person; none of them may complain."""
    context = await browser.new_context(viewport={"width": 1200, "height": 800})
    complaints: list[str] = []
    door = await context.new_page()
    await door.goto(f"{stack.url}/?token={token}")
    await door.close()

    async def open_tab(url: str = stack.url) -> Page:
        page = await context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(url)
        await expect(page.get_by_test_id("connection")).to_have_text("Live", timeout=SOON_MS)
        return page

    yield open_tab
    assert [] == complaints


async def _say(page: Page, text: str, answer: str) -> None:
    await page.get_by_test_id("composer").fill(text)
    await page.get_by_test_id("composer").press("Enter")
    await expect(_answers(page).last).to_contain_text(answer, timeout=SOON_MS)
    await expect(page.locator('[data-streaming="true"]')).to_have_count(0, timeout=SOON_MS)


def _answers(page: Page) -> Locator:
    return page.locator('[data-testid="message"][data-role="assistant"]')


def _messages(page: Page) -> Locator:
    return page.get_by_test_id("message")


async def test_titles_other_answers_and_forks_are_seen_in_every_tab(tab: Callable[..., Awaitable[Page]]) -> None:
    mine = await tab()
    await _say(mine, "/count 3", "1 2 3")
    passive = await tab(mine.url)
    for page in (mine, passive):
        # What the model made of it, not the message's own words.
        await expect(page.locator("#title")).to_have_text("Count 3", timeout=SOON_MS)
    await _say(mine, "/count 4", "1 2 3 4")
    for page in (mine, passive):
        await expect(_messages(page)).to_have_count(4, timeout=SOON_MS)
    first = await _answers(mine).first.get_attribute("data-message-id")
    await _answers(mine).first.hover()
    await _answers(mine).first.get_by_test_id("regenerate").click()
    # Two messages stand behind it: nobody loses them by a slip of the hand.
    await expect(mine.get_by_test_id("regenerate-dialog")).to_contain_text("2 messages behind it leave the thread")
    await mine.keyboard.press("Escape")
    await expect(_messages(mine)).to_have_count(4)
    await _answers(mine).first.hover()
    await _answers(mine).first.get_by_test_id("regenerate").click()
    await mine.get_by_test_id("confirm-regenerate").click()
    for page in (mine, passive):
        await expect(page.locator(f'[data-message-id="{first}"]')).to_have_count(0, timeout=SOON_MS)
        await expect(_messages(page)).to_have_count(2, timeout=SOON_MS)
        await expect(_answers(page)).to_contain_text("1 2 3", timeout=SOON_MS)
        await expect(page.locator('[data-streaming="true"]')).to_have_count(0, timeout=SOON_MS)
    source = mine.url
    await _answers(mine).hover()
    await _answers(mine).get_by_test_id("fork").click()
    await expect(mine.locator("#title")).to_have_text("Fork of Count 3", timeout=SOON_MS)
    assert source != mine.url
    await expect(_messages(mine)).to_have_count(2, timeout=SOON_MS)
    await _say(mine, "/count 5", "1 2 3 4 5")
    await expect(_messages(mine)).to_have_count(4)
    await expect(_messages(passive)).to_have_count(2)
    # The list of the other tab has both.
    await expect(passive.get_by_test_id("thread").filter(has_text="Fork of Count 3")).to_have_count(1, timeout=SOON_MS)
    await passive.reload()
    await expect(_messages(passive)).to_have_count(2, timeout=SOON_MS)
