"""A person with several tabs: each shows and holds of a thread what the server has, whatever happened meanwhile."""

import re

import pytest
from playwright.async_api import expect

from support.pages import (
    GONE,
    SOON_MS,
    Tabs,
    answer,
    assert_in_step,
    send,
    texts_shown,
    thread_of,
    watch_text,
)
from support.stack import Stack
from support.viewer import Api

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


async def test_tabs_that_come_or_are_loaded_anew_in_mid_answer_stay_in_step(person: Tabs, api: Api) -> None:
    first = await person.open()
    await send(first, "/count 150 20")
    await expect(answer(first)).to_contain_text("10 11", timeout=SOON_MS)
    second = await person.open(first.url)
    await expect(answer(second)).to_contain_text("20 21", timeout=SOON_MS)
    await first.reload()
    await expect(answer(first)).to_contain_text("30 31", timeout=SOON_MS)
    await second.reload()
    messages = await assert_in_step(api, first, second)
    assert 2 == len(messages)
    for number, page in enumerate((second, first), 1):
        await send(page, f"/steps {number}")
        done = "1 call was done" if number == 1 else "2 calls were done"
        await expect(answer(page)).to_contain_text(done, timeout=SOON_MS)
        assert 2 + 2 * number == len(await assert_in_step(api, first, second))


async def test_reasoning_and_tools_are_the_same_in_both_tabs(person: Tabs, api: Api) -> None:
    first = await person.open()
    await send(first, "/think about it")
    await expect(answer(first)).to_contain_text("there are two sides", timeout=SOON_MS)
    second = await person.open(first.url)
    await send(second, "/weather Lisbon")
    await expect(answer(second)).to_contain_text("In Lisbon it is", timeout=SOON_MS)
    await send(first, "/tool no_such_tool")
    await expect(first.get_by_test_id("message")).to_have_count(6, timeout=SOON_MS)
    messages = await assert_in_step(api, first, second)
    assert "reasoning" in {part["type"] for part in messages[1]["parts"]}


async def test_a_line_is_the_same_in_both_tabs_whoever_takes_back_or_interrupts(person: Tabs, api: Api) -> None:
    first = await person.open()
    await send(first, "/hang")
    await expect(answer(first)).to_contain_text("and then", timeout=SOON_MS)
    second = await person.open(first.url)
    for text in ("/count 3 0", "/count 4 0", "/count 5 0"):
        await send(first, text)
    lines = [page.get_by_test_id("queued") for page in (first, second)]
    for line in lines:
        await expect(line).to_contain_text(["/count 3 0", "/count 4 0", "/count 5 0"], timeout=SOON_MS)
    # What one tab sent the other may take back.
    await second.get_by_test_id("queued").nth(1).get_by_test_id("take-back").click()
    await expect(second.get_by_test_id("composer")).to_have_value("/count 4 0")
    for line in lines:
        await expect(line).to_contain_text(["/count 3 0", "/count 5 0"], timeout=SOON_MS)
        await expect(line).to_have_count(2)
    await send(second, "/count 6 0", "Control+Enter")
    for page in (first, second):
        await expect(page.get_by_test_id("message")).to_have_count(8, timeout=SOON_MS)
        await expect(page.get_by_test_id("stopped")).to_have_text("Replaced by a newer message.")
    messages = await assert_in_step(api, first, second)
    said = [message["parts"][0]["text"] for message in messages if message["role"] == "user"]
    assert ["/hang", "/count 6 0", "/count 3 0", "/count 5 0"] == said


async def test_stopping_in_one_tab_leaves_both_with_what_was_written(person: Tabs, api: Api) -> None:
    first = await person.open()
    await send(first, "/count 2000 10")
    await expect(answer(first)).to_contain_text("10 11", timeout=SOON_MS)
    second = await person.open(first.url)
    await second.get_by_test_id("stop").click(timeout=SOON_MS)
    for page in (first, second):
        await expect(page.get_by_test_id("stopped")).to_have_text("Stopped.", timeout=SOON_MS)
    messages = await assert_in_step(api, first, second)
    assert messages[-1]["parts"][-1]["text"].startswith("1 2 3")


async def test_what_is_wrong_with_an_answer_is_told_in_both_tabs_and_gone_on_from(person: Tabs, api: Api) -> None:
    first = await person.open()
    await send(first, "/fail 4")
    await expect(first.get_by_test_id("error-card")).to_contain_text("not available", timeout=SOON_MS)
    second = await person.open(first.url)
    await expect(second.get_by_test_id("error-card")).to_contain_text("not available")
    await assert_in_step(api, first, second)
    await send(second, "/length")
    for page in (first, second):
        card = page.get_by_test_id("warning-card")
        await expect(card).to_contain_text("reached its length limit", timeout=SOON_MS)
    await second.reload()
    await assert_in_step(api, first, second)
    await second.get_by_test_id("warning-card").get_by_role("button", name="Continue").click(timeout=SOON_MS)
    for page in (first, second):
        await expect(page.get_by_test_id("message")).to_have_count(6, timeout=SOON_MS)
        await expect(answer(page)).to_contain_text("I am the demo model", timeout=SOON_MS)
    messages = await assert_in_step(api, first, second)
    assert "Please continue." == messages[-2]["parts"][0]["text"]


async def test_an_answer_never_blanks_in_any_tab_while_another_runner_takes_over(
    person: Tabs, api: Api, stack: Stack
) -> None:
    first = await person.open()
    await send(first, "/count 1 0")
    await expect(answer(first)).to_contain_text("1", timeout=SOON_MS)
    second = await person.open(first.url)
    await assert_in_step(api, first, second)
    await send(first, "/count 150 20")
    for page in (first, second):
        await expect(answer(page)).to_contain_text("5 6", timeout=SOON_MS)
        await watch_text(page)
    killed = stack.kill("runner")
    whole = " ".join(map(str, range(1, 151)))
    for page in (first, second):
        await expect(answer(page)).to_contain_text(whole, timeout=60_000)
    messages = await assert_in_step(api, first, second)
    assert [4, whole] == [len(messages), messages[-1]["parts"][-1]["text"]]
    for page in (first, second):
        texts = await texts_shown(page)
        assert len(texts) >= 3
        # Never blank, and never anything but a beginning of the whole.
        assert [] == [text for text in texts if not text.strip() or not whole.startswith(text.strip())]
    stack.wait_ready("runner", not_pid=killed)


async def test_a_thread_that_is_deleted_in_one_tab_in_mid_answer_is_gone_in_the_other(person: Tabs, api: Api) -> None:
    person.forgiven.append(GONE)
    first = await person.open()
    await send(first, "/count 2000 10")
    await expect(answer(first)).to_contain_text("10 11", timeout=SOON_MS)
    second = await person.open(first.url)
    thread = thread_of(first)
    await expect(answer(second)).to_contain_text("20 21", timeout=SOON_MS)
    row = second.locator(".thread-row", has=second.locator(f'[data-thread-id="{thread}"]'))
    await row.hover()
    await row.get_by_test_id("delete-thread").click()
    await second.get_by_test_id("confirm-delete").click()
    await expect(second).not_to_have_url(re.compile(thread), timeout=SOON_MS)
    await expect(first.get_by_test_id("notice")).to_contain_text("deleted", timeout=SOON_MS)
    for page in (first, second):
        await expect(page.get_by_test_id("message")).to_have_count(0)
        await expect(page.locator(f'[data-thread-id="{thread}"]')).to_have_count(0, timeout=SOON_MS)
    status, _ = await api.get(f"decopilot/threads/{thread}/messages")
    assert 404 == status
