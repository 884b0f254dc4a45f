"""A person sees it, and has a say in it: the page over the whole life of a run."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from playwright.async_api import Browser, FilePayload, Locator, Page, Route, expect

from support.browser import chromium
from support.stack import Stack
from support.viewer import Api

pytestmark = pytest.mark.browser

SOON_MS = 10_000
"""What the broker, a runner and the page need at most for what they do at once."""

Opener = Callable[..., Awaitable[Page]]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as launched:
        yield launched


@pytest.fixture
async def tab(browser: Browser, stack: Stack, token: str) -> AsyncIterator[Opener]:
    """Open tabs of one person, each at an address of its own; none of them may complain."""
    context = await browser.new_context(viewport={"width": 1200, "height": 800}, color_scheme="light")
    complaints: list[str] = []
    door = await context.new_page()
    await door.goto(f"{stack.url}/?token={token}")
    # Two connections a tab, and a browser has six for a host.
    await door.close()

    async def open_tab(url: str = stack.url) -> Page:
        page = await context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(url)
        await expect(page.get_by_test_id("connection")).to_have_text("Live", timeout=SOON_MS)
        return page

    yield open_tab
    assert [] == complaints


async def _send(page: Page, text: str, key: str = "Enter") -> None:
    await page.get_by_test_id("composer").fill(text)
    await page.get_by_test_id("composer").press(key)


async def _run(page: Page, text: str) -> None:
    """Send a message, and wait until its answer is being written."""
    await _send(page, text)
    await expect(page.locator('[data-streaming="true"]')).to_have_count(1, timeout=SOON_MS)


async def _reload(page: Page) -> None:
    await page.reload()
    await expect(page.get_by_test_id("connection")).to_have_text("Live", timeout=SOON_MS)


def _messages(page: Page) -> Locator:
    return page.get_by_test_id("message")


def _answer(page: Page) -> Locator:
    return page.locator('[data-testid="message"][data-role="assistant"]').last


def _questions(page: Page) -> Locator:
    return page.locator('[data-testid="message"][data-role="user"] .bubble')


def _thread(page: Page) -> str:
    return page.url.partition("#")[2]


def _row(page: Page, thread: str) -> Locator:
    return page.locator(".thread-row", has=page.locator(f'[data-thread-id="{thread}"]'))


async def _ask_to_delete(page: Page, name: str) -> None:
    await page.get_by_test_id("ask-first").check()
    await _send(page, f"/delete {name}")
    await expect(page.get_by_test_id("approve")).to_be_visible(timeout=SOON_MS)


async def test_an_answer_is_stopped_by_its_button_in_every_tab_and_stays_stopped(tab: Opener, api: Api) -> None:
    first = await tab()
    await expect(first.get_by_test_id("stop")).to_be_hidden()
    await _run(first, "/count 2000 20")
    second = await tab(first.url)
    await expect(_answer(second)).to_contain_text("10 11", timeout=SOON_MS)
    await second.get_by_test_id("stop").click()
    for page in (first, second):
        await expect(page.get_by_test_id("stopped")).to_have_text("Stopped.", timeout=SOON_MS)
        await expect(page.get_by_test_id("stop")).to_be_hidden()
        await expect(_row(page, _thread(first)).locator(".thread-status")).to_have_text("Stopped", timeout=SOON_MS)
    messages, _ = await api.messages(_thread(first))
    assert "cancelled" == messages[-1]["metadata"]["failureReason"]
    await _reload(first)
    await expect(first.get_by_test_id("stopped")).to_have_text("Stopped.", timeout=SOON_MS)
    await expect(_messages(first)).to_have_count(2)
    await expect(_row(first, _thread(first)).locator(".thread-status")).to_have_text("Stopped")


async def test_escape_stops_an_answer_that_hangs_after_a_reload_too(tab: Opener) -> None:
    page = await tab()
    await _run(page, "/hang")
    await expect(_answer(page)).to_contain_text("and then", timeout=SOON_MS)
    await _reload(page)
    await expect(page.get_by_test_id("stop")).to_be_enabled(timeout=SOON_MS)
    await page.get_by_test_id("composer").press("Escape")
    await expect(page.get_by_test_id("stopped")).to_have_text("Stopped.", timeout=SOON_MS)
    await expect(_answer(page)).to_contain_text("and then")


async def test_a_tool_that_takes_its_time_is_stopped_with_its_answer(tab: Opener) -> None:
    page = await tab()
    await _run(page, "/slowtool 600")
    await expect(page.get_by_test_id("tool")).to_contain_text("Working", timeout=SOON_MS)
    await page.get_by_test_id("stop").click()
    await expect(page.get_by_test_id("stopped")).to_have_text("Stopped.", timeout=SOON_MS)
    await expect(page.get_by_test_id("tool")).not_to_contain_text("Working")


async def test_messages_wait_in_line_over_a_reload_and_come_in_their_order(tab: Opener) -> None:
    first = await tab()
    await _run(first, "/hang")
    second = await tab(first.url)
    await _send(first, "/count 3 0")
    await _send(first, "/count 4 0")
    # The second is sent behind the answer to the first.
    await expect(second.get_by_test_id("queued")).to_contain_text(["/count 3 0", "/count 4 0"], timeout=SOON_MS)
    await _reload(first)
    for page in (first, second):
        await expect(page.get_by_test_id("queued")).to_contain_text(["/count 3 0", "/count 4 0"], timeout=SOON_MS)
        await expect(_messages(page)).to_have_count(2)
    await first.get_by_test_id("stop").click()
    for page in (first, second):
        await expect(_messages(page)).to_have_count(6, timeout=SOON_MS)
        await expect(page.get_by_test_id("queued")).to_have_count(0)
        await expect(_questions(page)).to_have_text(["/hang", "/count 3 0", "/count 4 0"])
        await expect(_answer(page)).to_contain_text("1 2 3 4", timeout=SOON_MS)
        await expect(page.get_by_test_id("stop")).to_be_hidden(timeout=SOON_MS)


async def test_what_is_sent_before_the_thread_was_read_goes_out_when_it_has_been(
    tab: Opener, stack: Stack, api: Api
) -> None:
    await api.post("read-late", "/count 3 0")
    page = await tab()
    read = asyncio.Event()

    async def hold(route: Route) -> None:
        await read.wait()
        await route.continue_()

    await page.route(re.compile("/read-late/messages$"), hold)
    await page.goto(f"{stack.url}#read-late")
    await expect(page.locator("#loading")).to_be_visible(timeout=SOON_MS)
    await _send(page, "/count 4 0")
    await expect(page.get_by_test_id("composer")).to_have_value("/count 4 0")
    read.set()
    await expect(page.get_by_test_id("composer")).to_have_value("", timeout=SOON_MS)
    await expect(_answer(page)).to_contain_text("1 2 3 4", timeout=SOON_MS)
    await expect(_questions(page)).to_have_text(["/count 3 0", "/count 4 0"])


async def test_a_message_taken_back_has_its_files(tab: Opener) -> None:
    page = await tab()
    await _run(page, "/hang")
    file = FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"notes")
    await page.get_by_test_id("files").set_input_files([file])
    await expect(page.get_by_test_id("send")).to_be_disabled()  # nothing is written yet
    await expect(page.locator("#attached li:not(.uploading)")).to_contain_text(["notes.txt"], timeout=SOON_MS)
    await _send(page, "read these")
    await expect(page.locator("#attached li")).to_have_count(0)
    await page.get_by_test_id("take-back").click()
    await expect(page.get_by_test_id("composer")).to_have_value("read these")
    await expect(page.locator("#attached li")).to_contain_text(["notes.txt"])


async def test_a_message_in_line_can_be_taken_back(tab: Opener, api: Api) -> None:
    first = await tab()
    await _run(first, "/hang")
    second = await tab(first.url)
    await _send(first, "on second thoughts")
    await expect(second.get_by_test_id("queued")).to_have_count(1, timeout=SOON_MS)
    await first.get_by_test_id("take-back").click()
    for page in (first, second):
        await expect(page.get_by_test_id("queued")).to_have_count(0, timeout=SOON_MS)
    await expect(first.get_by_test_id("composer")).to_have_value("on second thoughts")
    status, body = await api.get(f"decopilot/threads/{_thread(first)}/queue")
    assert (200, []) == (status, body["queue"])
    await first.get_by_test_id("stop").click()
    await expect(first.get_by_test_id("stopped")).to_be_visible(timeout=SOON_MS)
    await expect(_messages(first)).to_have_count(2)


@pytest.mark.parametrize("by", ["keys", "button"])
async def test_an_interrupting_message_replaces_the_answer_and_goes_before_the_line(tab: Opener, by: str) -> None:
    page = await tab()
    await _run(page, "/hang")
    await _send(page, "/count 3 0")
    await expect(page.get_by_test_id("queued")).to_have_count(1)
    if by == "keys":
        await _send(page, "/count 5 0", "Control+Enter")
    else:
        await page.get_by_test_id("composer").fill("/count 5 0")
        await page.get_by_test_id("interrupt").click()
    await expect(page.get_by_test_id("stopped")).to_have_text("Replaced by a newer message.", timeout=SOON_MS)
    await expect(_questions(page)).to_have_text(["/hang", "/count 5 0", "/count 3 0"], timeout=SOON_MS)
    await expect(page.get_by_test_id("stop")).to_be_hidden(timeout=SOON_MS)
    await _reload(page)
    await expect(page.get_by_test_id("stopped")).to_have_text("Replaced by a newer message.", timeout=SOON_MS)


async def test_an_approval_in_one_tab_goes_on_in_both_with_the_same_answer(tab: Opener) -> None:
    first = await tab()
    await _ask_to_delete(first, "milk")
    second = await tab(first.url)
    await expect(_row(first, _thread(first))).to_contain_text("Needs review", timeout=SOON_MS)
    await expect(first.get_by_test_id("stop")).to_be_hidden()
    await second.get_by_test_id("approve").click(timeout=SOON_MS)
    for page in (first, second):
        await expect(_answer(page)).to_contain_text("I have deleted", timeout=SOON_MS)
        await expect(page.get_by_test_id("ask")).to_have_count(0)
        await expect(_messages(page)).to_have_count(2)
        await expect(page.get_by_test_id("tool")).to_have_count(1)
    await _reload(first)
    await expect(_answer(first)).to_contain_text("I have deleted", timeout=SOON_MS)
    await expect(_messages(first)).to_have_count(2)


async def test_a_denial_after_a_reload_says_why_in_both_tabs(tab: Opener) -> None:
    first = await tab()
    await _ask_to_delete(first, "bread")
    second = await tab(first.url)
    await _reload(first)
    await first.get_by_test_id("reason").fill("we are out of it")
    await first.get_by_test_id("deny").press("Enter")
    for page in (first, second):
        await expect(_answer(page)).to_contain_text("Nothing was deleted", timeout=SOON_MS)
        await expect(page.get_by_test_id("tool")).to_contain_text("Denied: we are out of it")
        await expect(page.get_by_test_id("ask")).to_have_count(0)


async def test_a_decision_that_came_too_late_is_told_what_was_decided(tab: Opener, api: Api) -> None:
    first = await tab()
    await _ask_to_delete(first, "eggs")
    second = await tab(first.url)

    async def block(route: Route) -> None:
        await route.abort()

    # It hears nothing any more, not from the other tab either, and decides by what it sees.
    await second.add_init_script("delete globalThis.BroadcastChannel")
    await second.route(re.compile("/attach/|/watch$|/watch[?]"), block)
    await second.reload()
    await expect(second.get_by_test_id("approve")).to_be_visible(timeout=SOON_MS)
    await first.get_by_test_id("approve").click()
    await expect(_answer(first)).to_contain_text("I have deleted", timeout=SOON_MS)
    await api.settled(_thread(first))
    await second.get_by_test_id("deny").click()
    await expect(second.get_by_test_id("notice")).to_contain_text("Decided elsewhere: approved", timeout=SOON_MS)
    await expect(second.get_by_test_id("ask")).to_have_count(0)
    await expect(_answer(second)).to_contain_text("I have deleted")


async def test_a_new_message_goes_on_without_what_was_pending(tab: Opener) -> None:
    first = await tab()
    await _ask_to_delete(first, "salt")
    second = await tab(first.url)
    await expect(second.get_by_test_id("approve")).to_be_visible(timeout=SOON_MS)
    await _send(first, "/count 3 0")
    for page in (first, second):
        await expect(_messages(page)).to_have_count(4, timeout=SOON_MS)
        await expect(page.get_by_test_id("tool")).to_contain_text("Denied", timeout=SOON_MS)
        await expect(page.get_by_test_id("ask")).to_have_count(0)
        await expect(_answer(page)).to_contain_text("1 2 3", timeout=SOON_MS)
    await _reload(first)
    await expect(first.get_by_test_id("tool")).to_contain_text("Denied", timeout=SOON_MS)
    await expect(first.get_by_test_id("ask")).to_have_count(0)


async def test_what_was_pending_and_is_dropped_elsewhere_is_asked_for_no_more(tab: Opener, api: Api) -> None:
    page = await tab()
    await _ask_to_delete(page, "pepper")
    status, _ = await api.call("POST", api.path(f"decopilot/cancel/{_thread(page)}"))
    assert 202 == status
    await expect(page.get_by_test_id("ask")).to_have_count(0, timeout=SOON_MS)
    await expect(page.get_by_test_id("tool")).to_contain_text("Denied")


async def test_a_question_is_answered_in_its_form_after_a_reload_too(tab: Opener) -> None:
    first = await tab()
    await _send(first, "/ask Which city?")
    await expect(first.get_by_test_id("answer")).to_be_visible(timeout=SOON_MS)
    second = await tab(first.url)
    await _reload(first)
    await expect(first.get_by_test_id("ask")).to_contain_text("Which city?", timeout=SOON_MS)
    await first.get_by_test_id("answer").fill("Lisbon")
    await first.get_by_test_id("answer").press("Enter")
    for page in (first, second):
        await expect(_answer(page)).to_contain_text("You answered", timeout=SOON_MS)
        await expect(_answer(page)).to_contain_text("Lisbon")
        await expect(_messages(page)).to_have_count(2)
        await expect(page.get_by_test_id("ask")).to_have_count(0)


async def test_a_plan_is_read_approved_and_carried_out_in_the_same_answer(tab: Opener) -> None:
    page = await tab()
    await page.get_by_test_id("plan-first").check()
    await _send(page, "/plan buy *milk*")
    await expect(page.get_by_test_id("plan").locator("li")).to_have_text("Note: buy milk", timeout=SOON_MS)
    await _reload(page)
    await page.get_by_test_id("approve").click(timeout=SOON_MS)
    await expect(_answer(page)).to_contain_text("As planned, I have noted", timeout=SOON_MS)
    await expect(_messages(page)).to_have_count(2)
    await expect(page.get_by_test_id("ask")).to_have_count(0)


async def test_a_line_behind_a_question_comes_after_its_answer(tab: Opener) -> None:
    page = await tab()
    await _send(page, "/slowtool 4")
    await expect(page.get_by_test_id("stop")).to_be_visible(timeout=SOON_MS)
    await _send(page, "/ask Which city?")
    await _send(page, "/count 3 0")
    await expect(page.get_by_test_id("answer")).to_be_visible(timeout=SOON_MS)
    await expect(page.get_by_test_id("queued")).to_contain_text("/count 3 0")
    await expect(page.get_by_test_id("stop")).to_be_hidden()
    await _reload(page)
    await expect(page.get_by_test_id("queued")).to_contain_text("/count 3 0", timeout=SOON_MS)
    await page.get_by_test_id("answer").fill("Oslo")
    await page.get_by_test_id("give-answer").click()
    await expect(_messages(page)).to_have_count(6, timeout=SOON_MS)
    await expect(_answer(page)).to_contain_text("1 2 3", timeout=SOON_MS)
    await expect(page.locator("main")).to_contain_text("You answered")


async def test_an_answer_whose_runner_is_killed_goes_on_in_its_place(tab: Opener, stack: Stack) -> None:
    page = await tab()
    await _run(page, "/count 150 20")
    await expect(_answer(page)).to_contain_text("20 21", timeout=SOON_MS)
    killed = stack.kill("runner")
    whole = " ".join(map(str, range(1, 151)))
    await expect(_answer(page).locator(".markdown")).to_have_text(whole, timeout=60_000)
    await expect(page.locator('[data-streaming="true"]')).to_have_count(0, timeout=SOON_MS)
    await expect(_messages(page)).to_have_count(2)
    stack.wait_ready("runner", not_pid=killed)


async def test_why_an_answer_ended_is_read_from_its_history(tab: Opener) -> None:
    told = {
        "cancelled": "Stopped.",
        "superseded": "Replaced by a newer message.",
        "timed_out": "The answer took too long",
        "crashed": "The answer was interrupted too often",
        "undeliverable": "Nobody took the message up in time",
        "error": "Something went wrong",
    }
    page = await tab()

    async def serve(route: Route) -> None:
        messages = [_failed(reason, "other" if reason in {"cancelled", "superseded"} else "error") for reason in told]
        await route.fulfill(json={"messages": messages, "cursor": "0-0", "status": "failed", "pending": []})

    async def serve_none(route: Route) -> None:
        await route.fulfill(json={"queue": []})

    await page.route(re.compile("/messages$"), serve)
    await page.route(re.compile("/queue$"), serve_none)
    await page.goto(f"{page.url}#told-in-history")
    for reason, text in told.items():
        await expect(page.locator(f'[data-message-id="{reason}"]')).to_contain_text(text, timeout=SOON_MS)
        doubt = page.locator(f'[data-message-id="{reason}"]').get_by_test_id("tool")
        await expect(doubt).to_contain_text("it may already have happened")
    await expect(page.get_by_test_id("error-card")).to_have_count(4)
    # A title that says it all is not said again in the server's words.
    await expect(page.get_by_test_id("error-card").get_by_text("Told.")).to_have_count(1)


def _failed(reason: str, finish_reason: str) -> dict[str, object]:
    call = {"type": "tool-note", "toolCallId": "c", "state": "output-error", "input": {}, "errorText": "No."}
    return {
        "id": reason,
        "role": "assistant",
        "parts": [call, {"type": "data-interrupted-call", "id": "c", "data": {"toolCallId": "c", "text": "?"}}],
        "metadata": {"finishReason": finish_reason, "failureReason": reason, "errorText": "Told."},
    }


async def test_a_thread_is_renamed_in_every_tab(tab: Opener) -> None:
    first = await tab()
    await _send(first, "/count 1 0")
    await expect(_answer(first)).to_contain_text("1", timeout=SOON_MS)
    thread = _thread(first)
    second = await tab(first.url)
    await _row(first, thread).hover()
    await _row(first, thread).get_by_test_id("rename-thread").click()
    await first.get_by_test_id("new-title").press("Escape")
    await expect(first.get_by_test_id("rename-dialog")).to_be_hidden()
    await _row(first, thread).get_by_test_id("rename-thread").press("Enter")
    await first.get_by_test_id("new-title").fill("Counting")
    await first.get_by_test_id("new-title").press("Enter")
    for page in (first, second):
        await expect(_row(page, thread)).to_contain_text("Counting", timeout=SOON_MS)
        await expect(page.locator("h1")).to_have_text("Counting")
    await _reload(first)
    await expect(first.locator("h1")).to_have_text("Counting", timeout=SOON_MS)


async def test_a_thread_is_deleted_after_a_question_and_gone_in_every_tab(tab: Opener, api: Api) -> None:
    first = await tab()
    await _run(first, "/hang")
    thread = _thread(first)
    second = await tab(first.url)
    await _row(first, thread).hover()
    await _row(first, thread).get_by_test_id("delete-thread").click()
    await first.get_by_test_id("delete-dialog").get_by_role("button", name="Cancel").click()
    await expect(first.locator('[data-streaming="true"]')).to_have_count(1)
    await _row(first, thread).get_by_test_id("delete-thread").click()
    await first.get_by_test_id("confirm-delete").click()
    await expect(first).not_to_have_url(re.compile(thread), timeout=SOON_MS)
    await expect(_messages(first)).to_have_count(0)
    await expect(second.get_by_test_id("notice")).to_contain_text("This thread was deleted", timeout=SOON_MS)
    await expect(second.get_by_test_id("composer")).to_be_disabled()
    for page in (first, second):
        await expect(_row(page, thread)).to_have_count(0, timeout=SOON_MS)
    await _reload_anyway(second)
    await expect(_messages(second)).to_have_count(0)
    status, _ = await api.get(f"decopilot/threads/{thread}")
    assert 404 == status


async def _reload_anyway(page: Page) -> None:
    await page.reload()
    await expect(page.locator("#loading")).to_be_hidden(timeout=SOON_MS)


async def test_a_file_that_is_attached_is_seen_by_the_model_and_shown_with_the_message(tab: Opener) -> None:
    page = await tab()
    pixel = b"\x89PNG\r\n\x1a\n" + bytes.fromhex(
        "0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360f8cf500f00048101803a5d5a4a"
        "0000000049454e44ae426082"
    )
    files = [
        FilePayload(name="pixel.png", mimeType="image/png", buffer=pixel),
        FilePayload(name="notes.md", mimeType="", buffer=b"# Notes"),
    ]
    await page.get_by_test_id("files").set_input_files(files)
    await expect(page.get_by_test_id("attached").locator("li:not(.uploading)")).to_have_count(2, timeout=SOON_MS)
    await page.get_by_role("button", name="Remove notes.md").click()
    await _send(page, "Look at this")
    await expect(_answer(page)).to_contain_text(f"I got a file of {len(pixel)} bytes", timeout=SOON_MS)
    await expect(page.get_by_test_id("attached")).to_be_hidden()
    for _ in range(2):
        shown = page.locator('[data-testid="message"][data-role="user"] img.file')
        await expect(shown).to_have_js_property("naturalWidth", 1)
        await expect(_questions(page)).to_have_text("Look at this")
        await _reload(page)
