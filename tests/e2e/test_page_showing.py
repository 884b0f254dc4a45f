"""A person sees all that an answer shows, finds threads again, and chooses who answers and how."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, FilePayload, Locator, Page, Request, expect

from support.browser import chromium
from support.stack import Stack, running_stack
from support.viewer import Api

pytestmark = pytest.mark.browser

SOON_MS = 15_000
CONFIGURATION = """\
[agents.show]
title = "Show"
agent = "support.showing_agent:show"

[tiers]
fast = "demo"
thinking = {model = "far:large", title = "Thorough"}

[providers.far]
base_url = "http://127.0.0.1:9/v1"

[roles]
member = ["demo"]
"""

Opener = Callable[..., Awaitable[Page]]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything as processes, with an agent that shows what the demo model can't."""
    folder = tmp_path_factory.mktemp("showing")
    (folder / "decopilot.toml").write_text(CONFIGURATION)
    told = {"DECOPILOT_CONFIG": str(folder / "decopilot.toml"), "PYTHONPATH": str(Path(__file__).parents[1])}
    with running_stack(folder, env=told) as running:
        yield running


@pytest.fixture(scope="module")
def token(stack: Stack) -> str:
    return stack.token(role="member")


@pytest.fixture
def api(stack: Stack, token: str) -> Api:
    return Api(stack.url, token)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as launched:
        yield launched


@pytest.fixture
async def tab(browser: Browser, stack: Stack, token: str) -> AsyncIterator[Opener]:
    """Open tabs of one person; none of them may complain, of the page's policy least of all."""
    context = await browser.new_context(
        viewport={"width": 1200, "height": 800}, color_scheme="light", permissions=["clipboard-read", "clipboard-write"]
    )
    complaints: list[str] = []

    async def open_tab(thread: str = "") -> Page:
        page = await context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "Security Policy" in said.text else None)
        await page.goto(f"{stack.url}/?token={token}#{thread}")
        await expect(page.get_by_test_id("connection")).to_have_text("Live", timeout=SOON_MS)
        return page

    yield open_tab
    assert [] == complaints


async def _send(page: Page, text: str) -> None:
    await page.get_by_test_id("composer").fill(text)
    await page.get_by_test_id("composer").press("Enter")


async def _show(page: Page, text: str) -> None:
    await page.get_by_test_id("agent").select_option("show")
    await _send(page, text)


def _answer(page: Page) -> Locator:
    return page.locator('[data-testid="message"][data-role="assistant"]').last


def _names(page: Page) -> Locator:
    return page.locator(".thread-title")


async def _end(page: Page) -> None:
    await expect(_answer(page)).to_have_attribute("data-streaming", "false", timeout=SOON_MS)
    await expect(page.get_by_test_id("stop")).to_be_hidden(timeout=SOON_MS)


async def _entitled(api: Api, thread: str, title: str, text: str = "/count 1 0") -> None:
    await api.post(thread, text)
    status, body = await api.call("PATCH", api.path(f"decopilot/threads/{thread}"), body={"title": title})
    assert 202 == status, body


async def test_how_far_a_tool_is_and_how_long_it_took_is_seen(tab: Opener) -> None:
    page = await tab()
    await _show(page, "copy 2")
    progress = page.get_by_test_id("progress")
    await expect(progress).to_contain_text("67 % · photos/2.jpg", timeout=SOON_MS)
    await expect(progress.get_by_role("progressbar")).to_have_js_property("value", 2)
    await _end(page)
    await expect(progress).to_be_hidden()
    await expect(page.locator(".tool-time")).to_have_text(re.compile(r"^\d+(\.\d)? s$"))
    await expect(page.get_by_test_id("tool")).to_contain_text('{"copied":3}')


async def test_what_was_used_is_told_of_an_answer_and_of_its_thread(tab: Opener) -> None:
    page = await tab()
    await _show(page, "write")
    await expect(_answer(page).get_by_test_id("usage")).to_have_text("1,240 tokens in · 96 out", timeout=SOON_MS)
    await expect(page.get_by_test_id("thread-usage")).to_have_text("1,240 tokens in · 96 out", timeout=SOON_MS)
    await page.reload()
    await expect(_answer(page).get_by_test_id("usage")).to_have_text("1,240 tokens in · 96 out", timeout=SOON_MS)


async def test_code_is_coloured_and_an_answer_is_copied_whole(tab: Opener) -> None:
    page = await tab()
    await _show(page, "write")
    code = _answer(page).locator("code[data-language=js]")
    await expect(code.locator(".hljs-keyword").first).to_have_text("const", timeout=SOON_MS)
    await expect(code).to_contain_text('await chat.sendMessage("Where to in May?");')
    await _answer(page).get_by_test_id("copy").click()
    copied = await page.evaluate("() => navigator.clipboard.readText()")
    assert copied.startswith("Here is how a page follows a thread:\n\n```js\n")


async def test_a_search_shows_what_it_finds_and_its_sources(tab: Opener) -> None:
    page = await tab()
    await _show(page, "search tides")
    card = page.get_by_test_id("web-search")
    await expect(card).to_contain_text("tides", timeout=SOON_MS)
    await expect(card.locator("strong")).to_have_text("six", timeout=SOON_MS)
    await _end(page)
    await expect(card).to_contain_text("2 sources")
    sources = _answer(page).locator(":scope > [data-testid=sources] a")
    await expect(sources).to_have_text(["Tide tables", "The harbour master"])
    await expect(sources.first).to_have_attribute("rel", "noopener noreferrer")


async def test_several_approvals_are_accepted_at_once(tab: Opener) -> None:
    page = await tab()
    await _show(page, "tidy")
    card = page.get_by_test_id("ask")
    await expect(card).to_contain_text("1 of 3", timeout=SOON_MS)
    await expect(card.get_by_test_id("arguments")).to_contain_text('"draft-1.md"')
    await card.get_by_test_id("ask-on").click()
    await expect(card.get_by_test_id("arguments")).to_contain_text('"draft-2.md"')
    await page.get_by_test_id("reason").fill("still needed")
    await page.get_by_test_id("deny").click()
    await expect(page.get_by_test_id("accept-all")).to_have_text("Accept all 2", timeout=SOON_MS)
    await page.get_by_test_id("accept-all").click()
    await expect(_answer(page)).to_contain_text("2 of 3 are deleted.", timeout=SOON_MS)
    await expect(page.get_by_test_id("ask")).to_have_count(0)
    await expect(page.get_by_test_id("tool").nth(1)).to_contain_text("Denied: still needed")


async def test_questions_come_one_by_one_and_are_answered_by_number_keys(tab: Opener) -> None:
    page = await tab()
    await _show(page, "ask")
    card = page.get_by_test_id("ask")
    await expect(card).to_contain_text("Which city is it to be?", timeout=SOON_MS)
    await expect(card).to_contain_text("1 of 2")
    await expect(page.locator("#announcer")).to_contain_text("Question: Which city is it to be?")
    await page.keyboard.press("2")
    await expect(card).to_contain_text("Is a night train fine?", timeout=SOON_MS)
    await expect(card).to_contain_text("2 of 2")
    # In the empty message box a number is the choice as well; behind a text it is text.
    await page.get_by_test_id("composer").press_sequentially("no 1")
    await expect(page.get_by_test_id("composer")).to_have_value("no 1")
    await page.get_by_test_id("composer").fill("")
    await page.get_by_test_id("composer").press("1")
    await expect(_answer(page)).to_contain_text("You said: Porto, yes.", timeout=SOON_MS)
    await expect(page.get_by_test_id("composer")).to_be_focused()


async def test_a_letter_typed_at_a_card_goes_into_the_message(tab: Opener) -> None:
    page = await tab()
    await _show(page, "tidy")
    await expect(page.get_by_test_id("ask")).to_be_visible(timeout=SOON_MS)
    await page.keyboard.type("no, wait")
    await expect(page.get_by_test_id("composer")).to_have_value("no, wait")


async def test_an_answer_at_its_limit_goes_on(tab: Opener) -> None:
    page = await tab()
    await _send(page, "/length")
    card = page.get_by_test_id("warning-card")
    await expect(card).to_contain_text("Response incomplete", timeout=SOON_MS)
    await card.get_by_test_id("continue").click()
    await expect(page.locator(".bubble")).to_have_text(["/length", "Please continue."], timeout=SOON_MS)
    await _end(page)
    await expect(page.get_by_test_id("continue")).to_have_count(0)


async def test_a_failed_answer_is_made_anew_in_its_place(tab: Opener) -> None:
    page = await tab()
    await _send(page, "/fail 3")
    await expect(page.get_by_test_id("error-card")).to_be_visible(timeout=SOON_MS)
    first = await _answer(page).get_attribute("data-message-id")
    await page.get_by_test_id("again").click()
    await expect(page.locator(f'[data-message-id="{first}"]')).to_have_count(0, timeout=SOON_MS)
    await expect(page.get_by_test_id("error-card")).to_be_visible(timeout=SOON_MS)
    await expect(page.get_by_test_id("message")).to_have_count(2)
    await page.get_by_test_id("dismiss-card").click()
    await expect(page.get_by_test_id("error-card")).to_have_count(0)


async def test_the_agent_and_the_tier_are_chosen_and_remembered(tab: Opener) -> None:
    page = await tab()
    await expect(page.get_by_test_id("agent").locator("option")).to_have_text(["default", "Show"], timeout=SOON_MS)
    thorough = page.get_by_test_id("tier").locator("option[value=thinking]")
    await expect(thorough).to_have_text("Thinking: Thorough (not for your role)")
    await expect(thorough).to_be_disabled()
    await expect(page.get_by_test_id("search-first")).to_be_hidden()
    await page.get_by_test_id("agent").select_option("show")
    await page.get_by_test_id("tier").select_option("fast")
    await page.get_by_test_id("plan-first").check()
    async with page.expect_request(_is_post) as posted:
        await _send(page, "write")
    body = json.loads((await posted.value).post_data or "")
    assert ({"id": "show"}, "fast", "plan") == (body["agent"], body["tier"], body["mode"])
    await expect(_answer(page)).to_contain_text("Here is how", timeout=SOON_MS)
    await page.reload()
    await expect(page.get_by_test_id("agent")).to_have_value("show", timeout=SOON_MS)
    await expect(page.get_by_test_id("tier")).to_have_value("fast")


def _is_post(request: Request) -> bool:
    return request.method == "POST" and request.url.endswith("/messages")


async def test_threads_are_found_by_their_titles_and_how_they_stand(tab: Opener, api: Api) -> None:
    for thread, title, text in (
        ("find-1", "Boat to Capri", "/count 1 0"),
        ("find-2", "Boat repair", "/ask When?"),
        ("find-3", "Tax return", "/fail 1"),
    ):
        await _entitled(api, thread, title, text)
    page = await tab()
    await expect(_names(page).filter(has_text="Tax return")).to_be_visible(timeout=SOON_MS)
    await page.locator("body").press("Control+k")
    await expect(page.get_by_test_id("search")).to_be_focused()
    await page.keyboard.type("boat")
    await expect(_names(page)).to_have_text([re.compile("^Boat"), re.compile("^Boat")], timeout=SOON_MS)
    await page.get_by_test_id("filter-review").click()
    await expect(_names(page)).to_have_text(["Boat repair"], timeout=SOON_MS)
    await api.call("POST", api.path("decopilot/cancel/find-2"))
    await expect(page.get_by_test_id("no-threads")).to_have_text("No thread is called “boat”.", timeout=SOON_MS)
    await page.get_by_test_id("filter-failed").click()
    await page.get_by_test_id("search").press("Escape")
    await expect(_names(page).filter(has_text="Tax return")).to_be_visible(timeout=SOON_MS)
    # What somebody stopped has not failed.
    await expect(_names(page).filter(has_text="Boat repair")).to_have_count(0)


async def test_a_thread_is_archived_and_taken_back_in_every_tab(tab: Opener, api: Api) -> None:
    await _entitled(api, "aside", "Old plans")
    first, second = await tab(), await tab()
    for page in (first, second):
        await expect(_names(page).filter(has_text="Old plans")).to_be_visible(timeout=SOON_MS)
    row = first.locator(".thread-row", has=first.locator('[data-thread-id="aside"]'))
    await first.evaluate("location.hash = 'aside'")
    await row.hover()
    await row.get_by_test_id("archive-thread").click()
    for page in (first, second):
        await expect(_names(page).filter(has_text="Old plans")).to_have_count(0, timeout=SOON_MS)
    # Another Enter must not put the next one aside.
    assert not await first.evaluate("document.activeElement.matches('[data-testid=\"archive-thread\"]')")
    await expect(first.get_by_test_id("archived")).to_be_visible()
    await expect(first.get_by_test_id("notice")).to_contain_text("Archived.")
    await first.get_by_test_id("notice-act").click()
    await expect(first.get_by_test_id("archived")).to_be_hidden(timeout=SOON_MS)
    await expect(_names(first).filter(has_text="Old plans")).to_be_visible(timeout=SOON_MS)
    await row.get_by_test_id("archive-thread").press("Enter")
    await expect(_names(first).filter(has_text="Old plans")).to_have_count(0, timeout=SOON_MS)
    await first.get_by_test_id("filter-archived").click()
    await expect(_names(first)).to_have_text(["Old plans"], timeout=SOON_MS)
    await row.hover()
    await row.get_by_test_id("archive-thread").click()
    await expect(_names(first)).to_have_count(0, timeout=SOON_MS)
    await expect(_names(second).filter(has_text="Old plans")).to_be_visible(timeout=SOON_MS)


async def test_an_address_of_no_thread_says_so_until_something_is_said_there(tab: Opener) -> None:
    page = await tab()
    await expect(page.locator("#welcome")).to_be_visible(timeout=SOON_MS)
    await expect(page.get_by_test_id("unknown-thread")).to_be_hidden()
    await page.evaluate("location.hash = 'nobody-knows-it'")
    await expect(page.get_by_test_id("unknown-thread")).to_be_visible(timeout=SOON_MS)
    await page.get_by_test_id("composer").fill("/count 2")
    await page.get_by_test_id("composer").press("Enter")
    await expect(_answer(page)).to_contain_text("1 2", timeout=SOON_MS)
    await expect(page.get_by_test_id("unknown-thread")).to_be_hidden()


async def test_a_small_screen_shows_the_welcome_from_its_beginning(tab: Opener) -> None:
    page = await tab()
    await page.set_viewport_size({"width": 390, "height": 500})
    await page.reload()
    await expect(page.locator("#welcome")).to_be_visible(timeout=SOON_MS)
    await expect(page.get_by_test_id("connection")).to_have_text("Live", timeout=SOON_MS)
    assert 0 == await page.locator("#scroller").evaluate("it => it.scrollTop")


async def test_a_long_list_is_shown_bit_by_bit(tab: Opener, api: Api) -> None:
    for number in range(52):
        await _entitled(api, f"many-{number}", f"Many {number}")
    # What still goes on would come to the top meanwhile.
    for number in range(52):
        await api.settled(f"many-{number}")
    page = await tab()
    async with page.expect_response(re.compile("q=many")):
        await page.get_by_test_id("search").fill("many")
    await expect(_names(page)).to_have_count(50, timeout=SOON_MS)
    await page.get_by_test_id("search").press("ArrowDown")
    await expect(page.get_by_test_id("thread").first).to_be_focused(timeout=SOON_MS)
    await page.get_by_test_id("more").click()
    await expect(_names(page)).to_have_count(52, timeout=SOON_MS)
    await expect(page.get_by_test_id("more")).to_be_hidden()


async def test_a_draft_outlives_a_reload(tab: Opener) -> None:
    page = await tab()
    await page.get_by_test_id("composer").fill("half a thought")
    await page.reload()
    await expect(page.get_by_test_id("composer")).to_have_value("half a thought", timeout=SOON_MS)
    await expect(page.get_by_test_id("connection")).to_have_text("Live", timeout=SOON_MS)
    await page.get_by_test_id("composer").press("Enter")
    await expect(_answer(page)).to_contain_text("You wrote", timeout=SOON_MS)
    await page.get_by_test_id("new-chat").click()
    await expect(page.get_by_test_id("composer")).to_have_value("")


async def test_a_theme_is_chosen_for_all_tabs_and_kept(tab: Opener) -> None:
    first, second = await tab(), await tab()
    light = await _background(first)
    await first.get_by_test_id("theme").click()
    assert light == await _background(first)
    await first.get_by_test_id("theme").click()
    for page in (first, second):
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert light != await _background(second)
    await first.reload()
    await expect(first.locator("html")).to_have_attribute("data-theme", "dark")
    await first.get_by_test_id("theme").click()
    await expect(second.locator("html")).not_to_have_attribute("data-theme", re.compile(".*"))


async def _background(page: Page) -> str:
    colour: str = await page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    return colour


async def test_a_file_that_is_dropped_goes_with_the_message(tab: Opener) -> None:
    page = await tab()
    await page.get_by_test_id("files").set_input_files([FilePayload(name="a.txt", mimeType="text/plain", buffer=b"a")])
    dropped = await page.evaluate_handle(
        """() => {
          const data = new DataTransfer();
          data.items.add(new File(["# Dropped"], "dropped.md", { type: "text/markdown" }));
          return data;
        }"""
    )
    await page.dispatch_event("body", "dragover", {"dataTransfer": dropped})
    await expect(page.get_by_test_id("drop")).to_be_visible()
    await page.dispatch_event("body", "drop", {"dataTransfer": dropped})
    await expect(page.get_by_test_id("drop")).to_be_hidden()
    names = page.get_by_test_id("attached").locator("li:not(.uploading) > span")
    await expect(names).to_have_text(["a.txt", "dropped.md"], timeout=SOON_MS)
    await _send(page, "Read these")
    await expect(_answer(page)).to_contain_text("I got a text of 9 characters", timeout=SOON_MS)
