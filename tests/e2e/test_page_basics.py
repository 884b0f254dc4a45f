"""The page as a browser and its tools judge it: light to load, strict, quiet, and usable by everybody."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from support.axe_core import faults_of
from support.pages import SOON_MS, Tabs, send, tabs, thread_of
from support.stack import Stack
from support.viewer import Api

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

BLOCKING = 6
"""Files that the first paint waits for; each is named by the document, so they come side by side."""
BLOCKING_BYTES = 64 << 10
REQUESTS = 90
"""Until the page stands; modules are many small files, as nothing is built."""
BYTES = 1 << 20
LOOKS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 780}, "is_mobile": True, "has_touch": True},
}
LOADED = """() => performance.getEntriesByType("resource").map(
  ({ name, initiatorType, renderBlockingStatus, decodedBodySize }) =>
    ({ name, initiatorType, renderBlockingStatus, decodedBodySize }))"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def threads(stack: Stack, token: str) -> dict[str, str]:
    """Threads in the states that a person meets."""
    api = Api(stack.url, token)
    said = {
        "talk": ("/think about it", "/weather Oslo", "Tell me [more](https://example.com) about `it`"),
        "approval": ("/delete milk",),
        "question": ("/ask Which city?",),
        "plan": ("/plan buy milk",),
        "failed": ("/fail 3",),
        "incomplete": ("/length",),
        "line": ("/hang", "/count 3 0", "/count 4 0"),
    }
    for name, texts in said.items():
        for text in texts:
            mode = {"mode": "plan"} if name == "plan" else {}
            status, body = await api.post(f"basics-{name}", text, toolApprovalLevel="readonly", **mode)
            assert 202 == status, body
    for name in said:
        if name != "line":
            await api.settled(f"basics-{name}")
    return {name: f"basics-{name}" for name in said}


@pytest_asyncio.fixture(loop_scope="module")
async def opened(
    browser: Browser, stack: Stack, token: str, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Tabs, Page]]:
    """A page in one of the looks, which holds still."""
    async with tabs(browser, stack.url, token, reduced_motion="reduce", **LOOKS[request.param]) as person:
        yield person, await person.open()


async def test_the_first_paint_waits_for_little_and_for_nothing_in_a_row(person: Tabs) -> None:
    page = await person.open()
    await expect(page.locator("#welcome")).to_be_visible(timeout=SOON_MS)
    loaded = await page.evaluate(LOADED)
    blocking = [one for one in loaded if one["renderBlockingStatus"] == "blocking"]
    # A style sheet that another one imports would come a whole way later.
    assert {"link", "script"} >= {one["initiatorType"] for one in blocking}
    assert 1 <= len(blocking) <= BLOCKING
    assert sum(one["decodedBodySize"] for one in blocking) <= BLOCKING_BYTES
    assert len(loaded) <= REQUESTS
    assert sum(one["decodedBodySize"] for one in loaded) <= BYTES
    # Nothing comes from elsewhere.
    assert {person.url} == {"/".join(one["name"].split("/")[:3]) for one in loaded}


async def test_the_policy_lets_no_inline_code_in_and_a_breach_of_it_is_noticed(person: Tabs) -> None:
    page = await person.open()
    response = await page.reload()
    assert response is not None
    policy = (await response.all_headers())["content-security-policy"]
    assert "unsafe" not in policy
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= set(policy.split("; "))
    assert [] == person.complaints
    await page.evaluate("document.body.append(Object.assign(document.createElement('style'), {textContent: 'p {}'}))")
    await page.evaluate("new Promise((resolve) => setTimeout(resolve))")
    assert any("Content Security Policy: style-src" in one for one in person.complaints)
    person.forgiven.append(re.compile("Content Security Policy"))


@pytest.mark.node
@pytest.mark.parametrize("opened", LOOKS, indirect=True)
async def test_nobody_is_left_out_in_any_state_and_nothing_complains(
    opened: tuple[Tabs, Page], threads: dict[str, str]
) -> None:
    person, page = opened
    found: dict[str, list[str]] = {}

    async def judge(state: str) -> None:
        if faults := await faults_of(page):
            found[state] = faults

    await expect(page.locator("#welcome")).to_be_visible(timeout=SOON_MS)
    await judge("empty")
    states: dict[str, Callable[[], Awaitable[None]]] = {
        "talk": lambda: expect(page.locator("pre code")).to_have_count(1, timeout=SOON_MS),
        "approval": lambda: expect(page.get_by_test_id("ask")).to_be_visible(timeout=SOON_MS),
        "question": lambda: expect(page.get_by_test_id("answer")).to_be_visible(timeout=SOON_MS),
        "plan": lambda: expect(page.get_by_test_id("plan")).to_be_visible(timeout=SOON_MS),
        "failed": lambda: expect(page.get_by_test_id("error-card")).to_be_visible(timeout=SOON_MS),
        "incomplete": lambda: expect(page.get_by_test_id("warning-card")).to_be_visible(timeout=SOON_MS),
        "line": lambda: expect(page.get_by_test_id("queued")).to_have_count(2, timeout=SOON_MS),
    }
    for state, stands in states.items():
        await page.goto(f"{person.url}/#{threads[state]}")
        await expect(page.locator("#loading")).to_be_hidden(timeout=SOON_MS)
        await stands()
        if state == "talk":
            for fold in await page.locator("main details").all():
                await fold.evaluate("(details) => (details.open = true)")
        await judge(state)
    await page.goto(f"{person.url}/#{threads['talk']}")
    if not await page.get_by_test_id("new-chat").is_visible():
        await page.get_by_role("button", name="Threads").click()
        await judge("menu")
    await page.locator(".thread-row", has=page.locator(f'[data-thread-id="{threads["talk"]}"]')).hover()
    await judge("row")
    for name in ("rename", "delete"):
        await page.locator(f"#{name}").evaluate("(dialog) => dialog.showModal()")
        await judge(name)
        await page.keyboard.press("Escape")
    assert {} == found


@pytest.mark.node
async def test_what_leaves_people_out_is_found(person: Tabs) -> None:
    page = await person.open()
    assert [] == await faults_of(page)
    bare = "for (const name of ['aria-label', 'placeholder']) document.getElementById('composer').removeAttribute(name)"
    await page.evaluate(bare)
    assert ["label"] == [fault.partition(":")[0] for fault in await faults_of(page)]


async def test_a_tour_of_all_that_can_be_done_leaves_the_console_empty(person: Tabs, api: Api) -> None:
    page = await person.open()
    await send(page, "/weather Oslo")
    await expect(page.locator("main")).to_contain_text("In Oslo it is", timeout=SOON_MS)
    await send(page, "Show me `code` and **more**")
    await expect(page.locator("pre code")).to_have_count(1, timeout=SOON_MS)
    await api.settled(thread_of(page))
    await page.get_by_test_id("ask-first").check()
    await send(page, "/delete milk")
    await expect(page.get_by_test_id("ask")).to_be_visible(timeout=SOON_MS)
    await api.settled(thread_of(page))
    await page.get_by_test_id("deny").click()
    await expect(page.locator("main")).to_contain_text("Nothing was deleted", timeout=SOON_MS)
    await send(page, "/fail 2")
    await expect(page.get_by_test_id("error-card")).to_be_visible(timeout=SOON_MS)
    await page.reload()
    await expect(page.get_by_test_id("error-card")).to_be_visible(timeout=SOON_MS)
    await page.get_by_test_id("new-chat").click()
    await expect(page.locator("#welcome")).to_be_visible(timeout=SOON_MS)
    await page.go_back()
    await expect(page.get_by_test_id("error-card")).to_be_visible(timeout=SOON_MS)
