"""A person is not left alone with what goes wrong: notices, silences, deleted threads, small screens."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Self

import pytest
from playwright.async_api import Browser, Locator, Page, Request, Route, expect

from support.browser import chromium
from support.stack import Stack
from support.viewer import Api

pytestmark = pytest.mark.browser

SOON_MS = 10_000
LONG_TITLE = "Everything that has to be thought of before the summer comes to its end this year"

Opener = Callable[..., Awaitable[Page]]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as launched:
        yield launched


@pytest.fixture
async def tab(browser: Browser, stack: Stack, token: str) -> AsyncIterator[Opener]:
    """Open the page as a new visitor; it may not complain."""
    complaints: list[str] = []

    async def open_tab(thread: str = "", *, is_phone: bool = False) -> Page:
        size = {"width": 390, "height": 780} if is_phone else {"width": 1200, "height": 800}
        context = await browser.new_context(
            viewport={"width": size["width"], "height": size["height"]},
            color_scheme="light",
            is_mobile=is_phone,
            has_touch=is_phone,
        )
        page = await context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(f"{stack.url}/?token={token}#{thread}")
        await expect(page.get_by_test_id("connection")).to_have_text("Live", timeout=SOON_MS)
        return page

    yield open_tab
    assert [] == complaints


async def _send(page: Page, text: str) -> None:
    await page.get_by_test_id("composer").fill(text)
    await page.get_by_test_id("composer").press("Enter")


def _answer(page: Page) -> Locator:
    return page.locator('[data-testid="message"][data-role="assistant"]').last


async def test_a_message_to_a_deleted_thread_goes_on_in_a_new_one(tab: Opener, api: Api, thread: str) -> None:
    await api.post(thread, "/count 1 0")
    page = await tab()
    status, _ = await api.call("DELETE", api.path(f"decopilot/threads/{thread}"))
    assert 202 == status
    # Nobody tells it of the deletion: it learns that when it sends.
    deaf = re.compile("/attach/|/watch$|/watch[?]")
    await page.route(deaf, _abort)
    await page.goto(f"{page.url}#{thread}")
    await page.reload()
    await page.get_by_test_id("composer").fill("/count 3 0")
    await expect(page.get_by_test_id("send")).to_be_enabled(timeout=SOON_MS)
    await page.get_by_test_id("composer").press("Enter")
    await expect(page.get_by_test_id("notice")).to_contain_text("That thread was deleted", timeout=SOON_MS)
    await expect(page).not_to_have_url(re.compile("#"))
    await expect(page.get_by_test_id("composer")).to_have_value("/count 3 0")
    await page.unroute(deaf)
    await page.get_by_test_id("composer").press("Enter")
    await expect(_answer(page)).to_contain_text("1 2 3", timeout=SOON_MS)
    await expect(page.get_by_test_id("notice")).to_be_hidden()
    await expect(page).to_have_url(re.compile("#thrd_"))


async def _abort(route: Route) -> None:
    await route.abort()


async def test_a_draft_outlives_the_thread_that_somebody_else_deletes(tab: Opener, api: Api, thread: str) -> None:
    await api.post(thread, "/count 1 0")
    page = await tab(thread)
    await page.get_by_test_id("composer").fill("half a thought")
    await api.call("DELETE", api.path(f"decopilot/threads/{thread}"))
    await expect(page.get_by_test_id("notice")).to_contain_text("That thread was deleted", timeout=SOON_MS)
    await expect(page.get_by_test_id("composer")).to_be_enabled()
    await expect(page.get_by_test_id("composer")).to_have_value("half a thought")
    await expect(page).not_to_have_url(re.compile("#"))


async def test_all_that_was_on_its_way_to_a_deleted_thread_is_kept(tab: Opener, thread: str) -> None:
    page = await tab(thread)
    is_said = asyncio.Event()

    async def refuse(route: Route) -> None:
        if route.request.method != "POST":
            await route.continue_()
            return
        await is_said.wait()
        await route.fulfill(status=404, json={"code": "thread_not_found", "detail": "There is no such thread."})

    await page.route(re.compile(f"/{thread}/messages$"), refuse)
    for text in ("one", "two"):
        await _send(page, text)
    is_said.set()
    await expect(page.get_by_test_id("composer")).to_have_value("one\ntwo", timeout=SOON_MS)
    await expect(page.get_by_test_id("notice")).to_contain_text("That thread was deleted")


POSTS = re.compile("/messages$")
OPEN = """async (thread) => {
  const { getSnapshot } = await import(document.querySelector('script[src$="/app.js"]').src);
  return getSnapshot().thread === thread;
}"""


class Post:
    """The server's side of what a page posts: `deal` has its way with each."""

    def __init__(self, page: Page, deal: Callable[[Route], Awaitable[None]]) -> None:
        self._page, self._deal = page, deal
        self.has_come = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._page.route(POSTS, self._route)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._page.unroute(POSTS, self._route)

    async def _route(self, route: Route) -> None:
        if route.request.method != "POST":
            await route.continue_()
            return
        await self._deal(route)
        self.has_come.set()


async def _keep_answer(route: Route) -> None:
    """The server takes it, and the page never hears of that."""
    await route.fetch()


async def _refuse(route: Route) -> None:
    await route.fulfill(status=429, json={"code": "too_many_messages", "detail": "Too many messages."})


async def _lose(page: Page, text: str) -> list[Route]:
    """Send a text, and leave the page before the server hears of it; returns what was posted."""
    posted: list[Route] = []

    async def keep_back(route: Route) -> None:
        posted.append(route)

    async with Post(page, keep_back) as post:
        await _send(page, text)
        await asyncio.wait_for(post.has_come.wait(), SOON_MS / 1000)
        await page.reload()
        await expect(page.get_by_test_id("composer")).to_have_value(text, timeout=SOON_MS)
    return posted


async def _questions(api: Api, thread: str) -> list[str]:
    _, history = await api.call("GET", api.path(f"decopilot/threads/{thread}/messages"))
    return [message["parts"][0]["text"] for message in history["messages"] if message["role"] == "user"]


async def test_what_was_being_sent_outlives_a_reload_and_is_there_once(tab: Opener, api: Api, thread: str) -> None:
    page = await tab(thread)
    composer, texts = page.get_by_test_id("composer"), ["/count 2 0", "/count 3 0", "/count 4 0"]
    async with Post(page, _keep_answer) as post:
        # The second one waits for the first one's answer.
        for text in texts:
            await _send(page, text)
        await composer.fill("and then")
        await asyncio.wait_for(post.has_come.wait(), SOON_MS / 1000)
        for _ in range(2):
            await page.reload()
            await expect(composer).to_have_value("/count 3 0\n/count 4 0\nand then", timeout=SOON_MS)
            await expect(_answer(page)).to_contain_text("1 2", timeout=SOON_MS)
            assert ["/count 2 0"] == await _questions(api, thread)
    await composer.press("Enter")
    for is_read_anew in (False, True):
        await expect(page.locator('[data-testid="message"][data-role="user"]')).to_contain_text(
            [*texts, "and then"], timeout=SOON_MS
        )
        await expect(composer).to_have_value("")
        await expect(page.get_by_test_id("notice")).to_be_hidden()
        if not is_read_anew:
            await expect(page.get_by_test_id("stop")).to_be_hidden(timeout=SOON_MS)
            await page.reload()
    assert [*texts, "and then"] == await _questions(api, thread)


async def test_a_message_whose_fate_is_not_known_keeps_its_id_over_a_reload(tab: Opener, thread: str) -> None:
    page = await tab(thread)
    composer = page.get_by_test_id("composer")
    ids: list[str] = []
    page.on("request", lambda request: ids.extend(_ids_in(request)))
    await _lose(page, "/count 2 0")
    await expect(page.get_by_test_id("notice")).to_contain_text("has not arrived", timeout=SOON_MS)
    async with Post(page, _refuse):
        await composer.press("Enter")
        await expect(page.get_by_test_id("notice")).to_contain_text("Too many messages", timeout=SOON_MS)
    await page.reload()
    await expect(composer).to_have_value("/count 2 0", timeout=SOON_MS)
    await expect(page.get_by_test_id("send")).to_be_enabled(timeout=SOON_MS)
    await composer.press("Enter")
    await expect(_answer(page)).to_contain_text("1 2", timeout=SOON_MS)
    assert (3, 1) == (len(ids), len(set(ids)))


def _ids_in(request: Request) -> list[str]:
    if request.method != "POST" or POSTS.search(request.url) is None:
        return []
    return [message["id"] for message in json.loads(request.post_data or "{}")["messages"]]


async def test_what_was_lost_on_its_way_leaves_the_box_when_it_arrives(tab: Opener, api: Api, thread: str) -> None:
    page = await tab(thread)
    (posted,) = await _lose(page, "/count 2 0")
    body = posted.request.post_data_json
    status, _ = await api.call("POST", api.path(f"decopilot/threads/{thread}/messages"), body=body)
    assert 202 == status
    await expect(_answer(page)).to_contain_text("1 2", timeout=SOON_MS)
    await expect(page.get_by_test_id("composer")).to_have_value("")
    await expect(page.get_by_test_id("notice")).to_be_hidden()


async def test_files_are_given_back_with_their_message_and_go_when_it_has_arrived(
    tab: Opener, api: Api, thread: str
) -> None:
    page = await tab(thread)
    attached = page.locator("#attached li:not(.uploading)")
    await page.locator("#files").set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"one"})
    await expect(attached).to_contain_text(["a.txt"], timeout=SOON_MS)
    await _lose(page, "/count 2 0")
    await expect(attached).to_contain_text(["a.txt"], timeout=SOON_MS)
    async with Post(page, _keep_answer) as post:
        await page.get_by_test_id("composer").press("Enter")
        await asyncio.wait_for(post.has_come.wait(), SOON_MS / 1000)
        await page.reload()
    await expect(_answer(page)).to_contain_text("1 2", timeout=SOON_MS)
    await expect(page.get_by_test_id("composer")).to_have_value("")
    await expect(attached).to_have_count(0)
    _, history = await api.call("GET", api.path(f"decopilot/threads/{thread}/messages"))
    kinds = [
        [part["type"] for part in message["parts"]] for message in history["messages"] if message["role"] == "user"
    ]
    assert [["text", "file"]] == kinds


async def test_what_was_to_be_private_is_so_behind_a_refusal_and_a_reload(tab: Opener, api: Api) -> None:
    page = await tab()
    await page.get_by_test_id("privacy").click()
    await _lose(page, "/count 2 0")
    await page.get_by_test_id("composer").press("Enter")
    await expect(_answer(page)).to_contain_text("1 2", timeout=SOON_MS)
    _, told = await api.call("GET", api.path(f"decopilot/threads/{page.url.partition('#')[2]}"))
    assert "private" == told["visibility"]


@pytest.mark.parametrize("is_away", [False, True])
async def test_what_is_refused_when_its_thread_was_left_is_given_back_in_order(
    tab: Opener, thread: str, *, is_away: bool
) -> None:
    page = await tab(thread)
    composer = page.get_by_test_id("composer")
    may_refuse = asyncio.Event()

    async def refuse(route: Route) -> None:
        await may_refuse.wait()
        await _refuse(route)

    async with Post(page, refuse):
        for text in ("one", "two"):
            await _send(page, text)
        await _open(page, "elsewhere")
        if is_away:
            may_refuse.set()
            await expect(page.get_by_test_id("notice")).to_contain_text("another chat", timeout=SOON_MS)
            await page.get_by_role("button", name="Show", exact=True).click()
        await _open(page, thread)
        if not is_away:
            await expect(page.get_by_test_id("message")).to_contain_text("one")
            may_refuse.set()
        for _ in range(2):
            await expect(composer).to_have_value("one\ntwo", timeout=SOON_MS)
            await expect(page.get_by_test_id("message")).to_have_count(0)
            await page.reload()


async def _open(page: Page, thread: str) -> None:
    """Go to another thread within the page."""
    await page.evaluate("(thread) => (location.hash = thread)", thread)
    await page.wait_for_function(OPEN, arg=thread, timeout=SOON_MS)


async def test_what_is_sent_again_before_its_thread_is_read_waits_for_that_and_keeps_its_id(
    tab: Opener, thread: str
) -> None:
    page = await tab(thread)
    composer = page.get_by_test_id("composer")
    ids: list[str] = []
    page.on("request", lambda request: ids.extend(_ids_in(request)))
    await _lose(page, "/count 2 0")
    is_read = asyncio.Event()

    async def read(route: Route) -> None:
        if route.request.method == "GET":
            await is_read.wait()
        await route.continue_()

    await page.route(POSTS, read)
    await page.reload()
    await expect(composer).to_have_value("/count 2 0", timeout=SOON_MS)
    await composer.press("Enter")
    is_read.set()
    await expect(_answer(page)).to_contain_text("1 2", timeout=SOON_MS)
    await expect(composer).to_have_value("")
    assert (2, 1) == (len(ids), len(set(ids)))


async def test_that_the_server_could_not_be_reached_is_told_until_it_is(tab: Opener) -> None:
    page = await tab()
    await page.context.set_offline(True)
    await _send(page, "are you there")
    await expect(page.get_by_test_id("notice")).to_contain_text("can't be reached", timeout=SOON_MS)
    await page.context.set_offline(False)
    await expect(page.get_by_test_id("notice")).to_be_hidden(timeout=SOON_MS)
    await expect(page.get_by_test_id("composer")).to_have_value("are you there")


async def test_that_the_queue_is_full_is_told_until_it_moves_on(tab: Opener, api: Api, thread: str) -> None:
    await api.post(thread, "/hang")
    status = 202
    while status == 202:
        status, body = await api.post(thread, "/count 1 0")
    assert (429, "queue_full") == (status, body["code"])
    page = await tab(thread)
    await expect(page.get_by_test_id("queued").first).to_be_visible(timeout=SOON_MS)
    await _send(page, "one more")
    await expect(page.get_by_test_id("notice")).to_contain_text("At most", timeout=SOON_MS)
    await page.get_by_test_id("stop").click()
    await expect(page.get_by_test_id("notice")).to_be_hidden(timeout=SOON_MS)


async def test_an_answer_that_stands_still_is_said_to_go_on_until_it_does(tab: Opener) -> None:
    page = await tab()
    await _send(page, "/count 2 4500")
    await expect(_answer(page)).to_contain_text("1", timeout=SOON_MS)
    height = await _height(page)
    await expect(page.get_by_test_id("silent")).to_have_text("Still working…", timeout=SOON_MS)
    assert height == await _height(page)
    await expect(_answer(page)).to_contain_text("1 2", timeout=SOON_MS)
    await expect(page.get_by_test_id("silent")).to_be_empty()


async def _height(page: Page) -> int:
    height: int = await page.locator("#messages").evaluate("(messages) => messages.scrollHeight")
    return height


async def test_a_long_title_ends_before_the_buttons_on_a_touch_screen(tab: Opener, api: Api, thread: str) -> None:
    await api.post(thread, "/count 1 0")
    renamed = {"title": LONG_TITLE}
    status, _ = await api.call("PATCH", api.path(f"decopilot/threads/{thread}"), body=renamed)
    assert 202 == status
    page = await tab(thread, is_phone=True)
    await page.get_by_role("button", name="Threads").click()
    row = page.locator(".thread-row", has=page.locator(f'[data-thread-id="{thread}"]'))
    await expect(row.locator(".thread-title")).to_have_text(LONG_TITLE, timeout=SOON_MS)
    await expect(row.get_by_test_id("rename-thread")).to_be_in_viewport()
    end = await row.locator(".thread-title").evaluate(
        "(title) => title.getBoundingClientRect().right - parseFloat(getComputedStyle(title).paddingRight)"
    )
    actions = await row.locator(".thread-actions").bounding_box()
    assert actions is not None
    assert end <= actions["x"]


async def test_both_decisions_stand_side_by_side_on_a_small_screen(tab: Opener) -> None:
    page = await tab(is_phone=True)
    await page.get_by_test_id("ask-first").check()
    await _send(page, "/delete milk")
    approve, deny = [await _box(page.get_by_test_id(name)) for name in ("approve", "deny")]
    assert approve["y"] == deny["y"]
    await page.get_by_test_id("deny").click()
    await expect(_answer(page)).to_contain_text("Nothing was deleted", timeout=SOON_MS)


async def _box(button: Locator) -> dict[str, float]:
    await expect(button).to_be_visible(timeout=SOON_MS)
    box = await button.bounding_box()
    assert box is not None
    return {"x": box["x"], "y": box["y"]}
