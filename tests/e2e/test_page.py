"""A person sees it: the page in a real browser."""

import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect

from support.browser import chromium
from support.stack import Stack
from support.viewer import Api

pytestmark = pytest.mark.browser

QUESTION = "What does a durable run promise me?"


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as launched:
        yield launched


async def _open(browser: Browser, stack: Stack, token: str) -> tuple[Page, list[str]]:
    context = await browser.new_context(viewport={"width": 1200, "height": 800}, color_scheme="light")
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: complaints.append(message.text) if "Content Security Policy" in message.text else None,
    )
    await page.goto(f"{stack.url}/?token={token}")
    return page, complaints


async def test_the_link_lets_in_and_a_chat_streams_its_answer(browser: Browser, stack: Stack, api: Api) -> None:
    page, complaints = await _open(browser, stack, api.token)
    assert "token" not in page.url
    await page.get_by_test_id("composer").fill(QUESTION)
    await page.get_by_test_id("send").click()
    answer = page.locator('[data-testid="message"][data-role="assistant"]').last
    await expect(answer).to_be_visible(timeout=10_000)
    await expect(page.locator('[data-streaming="true"]')).to_have_count(0, timeout=30_000)
    thread = page.url.partition("#")[2]
    await api.settled(thread)
    messages, _ = await api.messages(thread)
    assert [QUESTION] == [part["text"] for part in messages[0]["parts"]]
    await expect(answer).to_have_attribute("data-message-id", messages[-1]["id"])
    await expect(page.get_by_test_id("thread-list")).to_contain_text("Done", timeout=10_000)
    assert [] == complaints


async def test_the_list_tells_how_each_thread_stands_beside_an_answer_that_waits(
    browser: Browser, stack: Stack
) -> None:
    api = Api(stack.url, stack.token(org="acme", user="ada"), org="acme")
    said = {"Packing list": "/count 40 0", "Call the landlord": "/hang", "Read the minutes": "/count 100000 50"}
    threads = {title: f"list-{number}" for number, title in enumerate((*said, "Weekend in Porto"))}
    page, complaints = await _open(browser, stack, api.token)
    for title, text in said.items():
        await api.post(threads[title], text)
        await _entitle(api, threads[title], title)
        row = page.locator(f'[data-thread-id="{threads[title]}"]')
        await expect(row).to_contain_text("Done" if title == "Packing list" else "Running", timeout=10_000)
    await api.call("POST", api.path(f"decopilot/cancel/{threads['Call the landlord']}"))
    trip = threads["Weekend in Porto"]
    await page.goto(f"{stack.url}#{trip}")
    await expect(page.get_by_test_id("unknown-thread")).to_be_visible(timeout=10_000)
    await page.get_by_test_id("composer").fill("/weather Porto")
    await page.get_by_test_id("composer").press("Enter")
    await expect(page.locator("main")).to_contain_text("In Porto it is", timeout=10_000)
    await expect(page.get_by_test_id("stop")).to_be_hidden(timeout=10_000)
    await _entitle(api, trip, "Weekend in Porto")
    await page.get_by_test_id("ask-first").check()
    await page.get_by_test_id("composer").fill("/delete old shopping list")
    await page.get_by_test_id("composer").press("Enter")
    await expect(page.get_by_test_id("approve")).to_be_visible(timeout=10_000)
    listed = ["Weekend in Porto", "Call the landlord", "Read the minutes", "Packing list"]
    await expect(page.locator(".thread-title")).to_have_text(listed, timeout=10_000)
    standing = ["Needs review", "Stopped", "Running", "Done"]
    await expect(page.locator(".thread-status")).to_have_text(standing, timeout=10_000)
    await api.call("POST", api.path(f"decopilot/cancel/{threads['Read the minutes']}"))
    assert [] == complaints


async def _entitle(api: Api, thread: str, title: str) -> None:
    status, body = await api.call("PATCH", api.path(f"decopilot/threads/{thread}"), body={"title": title})
    assert 202 == status, body


async def test_a_second_tab_sees_question_and_answer_live_and_neither_twice(
    browser: Browser, stack: Stack, token: str
) -> None:
    first, _ = await _open(browser, stack, token)
    await first.get_by_test_id("composer").fill("/count 3 0")
    await first.get_by_test_id("send").click()
    await expect(first.locator('[data-testid="message"]')).to_have_count(2, timeout=10_000)
    await expect(first).to_have_url(re.compile("#"))
    second, complaints = await _open(browser, stack, token)
    await second.goto(first.url)
    await expect(second.locator('[data-testid="message"]')).to_have_count(2, timeout=10_000)
    await expect(first.get_by_test_id("send")).to_be_visible()
    await first.get_by_test_id("composer").fill("/count 40 25")
    await expect(first.get_by_test_id("send")).to_be_enabled(timeout=10_000)
    await first.get_by_test_id("send").click()
    for page in (first, second):
        answer = page.locator('[data-testid="message"][data-role="assistant"]').last
        await expect(page.locator('[data-testid="message"]')).to_have_count(4, timeout=10_000)
        await expect(page.locator('[data-streaming="true"]')).to_have_count(0, timeout=20_000)
        await expect(answer).to_contain_text(" ".join(map(str, range(1, 41))))
    assert [] == complaints


async def test_why_an_answer_failed_is_there_after_a_reload_too(browser: Browser, stack: Stack, token: str) -> None:
    page, _ = await _open(browser, stack, token)
    await page.get_by_test_id("composer").fill("/fail 5")
    await page.get_by_test_id("send").click()
    chat = page.locator("main")
    await expect(chat).to_contain_text("Something went wrong", timeout=10_000)
    await page.reload()
    await expect(page.locator('[data-testid="message"]')).to_have_count(2, timeout=10_000)
    await expect(chat).to_contain_text("Something went wrong")
    await expect(chat).to_contain_text("not available")


async def test_without_a_token_the_page_tells_how_to_get_in(browser: Browser, stack: Stack) -> None:
    page = await browser.new_page()
    response = await page.goto(stack.url)
    assert response is not None
    assert 401 == response.status
    await expect(page.locator("body")).to_contain_text("decopilot token")
