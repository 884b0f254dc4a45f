"""A person looks into runs: the inspector of the page, over what the log holds."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page, Route, expect

from decopilot.contracts.ids import OrgId, RunId, ThreadId
from support import eventlog
from support.browser import chromium
from support.stack import Stack, running_stack
from support.viewer import Api

pytestmark = pytest.mark.browser

SOON_MS = 20_000
"""What the broker, a runner and the page need at most for what they do at once."""
TRACES = "https://traces.test/trace/{trace_id}"
ROWS_MAX = 80
"""As many rows of a list as its height and some more above and below can hold."""

Opener = Callable[..., Awaitable[Page]]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two runners, and chunks that stay for as long as somebody may look at them."""
    folder = tmp_path_factory.mktemp("inspected")
    told = {
        "DECOPILOT_DEMO_DIR": str(folder),
        "DECOPILOT_PURGE_GRACE_S": "3600",
        "DECOPILOT_TRACE_URL": TRACES,
        # Nobody listens: what is wanted is that the runs have traces.
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
    }
    with running_stack(folder, "--scale", "runner=2", env=told) as running:
        yield running


@pytest.fixture(scope="module")
def token(stack: Stack) -> str:
    return stack.token()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as launched:
        yield launched


@pytest.fixture
async def tab(browser: Browser, stack: Stack, token: str) -> AsyncIterator[Opener]:
    """Open tabs; none of them may complain."""
    complaints: list[str] = []

    async def open_tab(address: str = "", *, of: Stack = stack, with_: str = token, **context: Any) -> Page:  # noqa: ANN401  a context's options
        page = await browser.new_page(**{"viewport": {"width": 1280, "height": 860}, "color_scheme": "light"} | context)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
        await page.goto(f"{of.url}/?token={with_}")
        if address:
            await page.goto(f"{of.url}/#{address}")
        return page

    yield open_tab
    assert [] == complaints


async def asked(api: Api, thread: str, text: str, **more: str) -> str:
    """Ask something, and wait until it was answered; returns the run."""
    status, body = await api.post(thread, text, **more)
    assert status in {200, 202}, body
    await api.settled(thread, deadline_s=120)
    return str(body["runId"])


async def inspected(api: Api, thread: str, run: str) -> dict[str, Any]:
    status, body = await api.get(f"decopilot/threads/{thread}/runs/{run}")
    assert 200 == status, body
    found: dict[str, Any] = body
    return found


def marks(page: Page, state: str) -> Locator:
    return page.locator(f'[data-testid="mark"][data-state="{state}"]')


def lane(page: Page, name: str) -> Locator:
    return page.get_by_test_id("timeline").get_by_role("group", name=name, exact=True).get_by_test_id("mark")


async def read(page: Page) -> None:
    """Wait until the run that is shown was read to its end."""
    await expect(page.get_by_test_id("run")).to_have_attribute("aria-busy", "false", timeout=SOON_MS)


async def test_a_run_with_tools_is_shown_with_its_times_its_lanes_and_its_chunks(
    tab: Opener, api: Api, thread: str
) -> None:
    run = await asked(api, thread, "/steps 2")
    told = await inspected(api, thread, run)
    page = await tab(thread)
    answer = page.locator('[data-testid="message"][data-role="assistant"]').last
    await answer.hover(timeout=SOON_MS)
    await answer.get_by_test_id("inspect").click()
    await expect(page.get_by_test_id("run-row")).to_have_count(1, timeout=SOON_MS)
    await expect(page).to_have_url(re.compile(f"#{thread}/runs/{run}$"))
    await read(page)
    await expect(page.get_by_test_id("run").get_by_test_id("run-status")).to_have_text("Completed")
    facts = page.get_by_test_id("run-facts")
    for fact in ("demo", "smart", "default", "me", f"{told['usage']['inputTokens']} in", told["traceId"]):
        await expect(facts).to_contain_text(fact)
    link = page.get_by_test_id("trace-link")
    await expect(link).to_have_attribute("href", TRACES.replace("{trace_id}", told["traceId"]))
    await expect(page.get_by_test_id("stages").locator("li.reached")).to_have_count(5)
    await expect(lane(page, "Events")).to_have_count(len(told["events"]))
    await expect(lane(page, "Attempts")).to_have_text(["Attempt 1"])
    await expect(lane(page, "Steps")).to_have_text(["1", "2", "3"])
    await expect(lane(page, "Tools")).to_have_text(["get_weather"] * 2)
    await expect(page.get_by_test_id("chunk-count")).to_have_text(f"{told['chunks']} chunks")
    await expect(page.get_by_test_id("void-legend")).to_be_hidden()
    await page.get_by_text("The timeline as a table").click()
    rows = page.get_by_test_id("timeline-table").locator("tbody tr")
    await expect(rows).to_have_count(len(told["events"]) + 1 + 3 + 2)
    await expect(rows.first).to_contain_text("Event: Requested")


async def test_the_timeline_and_the_chunks_are_reached_by_the_keys_alone(tab: Opener, api: Api, thread: str) -> None:
    run = await asked(api, thread, "/weather Oslo")
    page = await tab(f"{thread}/runs/{run}")
    await read(page)
    await page.get_by_test_id("timeline").get_by_role("button", name="Zoom in").press("Tab")
    detail = page.get_by_test_id("chart-detail")
    await expect(detail).to_contain_text("Requested")
    await page.keyboard.press("ArrowRight")
    await expect(detail).to_contain_text("Attempt 1 started")
    await page.keyboard.press("Enter")
    await expect(detail.locator("pre")).to_contain_text('"type": "run_started"')
    for shown in ("Attempt 1", "Step 1", "get_weather"):
        await page.keyboard.press("ArrowDown")
        await expect(detail.locator("strong")).to_have_text(shown)
    await detail.get_by_test_id("show-chunks").press("Enter")
    await expect(page.get_by_test_id("chunks")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("chunk-json")).to_contain_text('"type": "tool-input-start"', timeout=SOON_MS)
    await page.keyboard.press("Home")
    await expect(page.get_by_test_id("chunk-json")).to_contain_text('"type": "start"')
    await page.keyboard.press("End")
    await expect(page.get_by_test_id("chunk-json")).to_contain_text('"type": "finish"')


async def test_escape_closes_it_where_it_was_opened_and_going_back_and_reloading_say_what_is_shown(
    tab: Opener, api: Api, thread: str
) -> None:
    await asked(api, thread, "/count 3 0")
    second = await asked(api, thread, "/count 4 0")
    page = await tab(thread)
    answer = page.locator('[data-testid="message"][data-role="assistant"]').first
    await expect(answer).to_contain_text("1 2 3", timeout=SOON_MS)
    await answer.hover()
    await answer.get_by_test_id("inspect").press("Enter")
    await expect(page.get_by_test_id("run-row")).to_have_count(2, timeout=SOON_MS)
    await expect(page.get_by_test_id("run-row").nth(1)).to_have_attribute("aria-current", "true")
    await page.get_by_test_id("run-row").first.click()
    await expect(page).to_have_url(re.compile(f"/runs/{second}$"))
    await read(page)
    await page.keyboard.press("Escape")
    await expect(page.get_by_test_id("inspector")).to_be_hidden()
    await expect(page).to_have_url(re.compile(f"#{thread}$"))
    await expect(answer.get_by_test_id("inspect")).to_be_focused()
    await answer.get_by_test_id("inspect").press("Enter")
    await expect(page).to_have_url(re.compile("/runs/"), timeout=SOON_MS)
    shown = page.url
    await page.reload()
    await expect(page.get_by_test_id("run-row").nth(1)).to_have_attribute("aria-current", "true", timeout=SOON_MS)
    assert shown == page.url
    await page.get_by_test_id("close-inspector").click()
    await expect(page.get_by_test_id("inspector")).to_be_hidden()
    await expect(answer).to_contain_text("1 2 3", timeout=SOON_MS)


async def test_a_run_that_waits_for_a_person_and_the_one_that_goes_on_lead_to_each_other(
    tab: Opener, api: Api, thread: str
) -> None:
    first = await asked(api, thread, "/delete milk", toolApprovalLevel="readonly")
    page = await tab(f"{thread}/runs/{first}")
    await read(page)
    await expect(page.get_by_test_id("run").get_by_test_id("run-status")).to_have_text("Waits for a person")
    await expect(lane(page, "Tools")).to_have_attribute("data-state", "waiting")
    (pending,) = (await api.settled(thread))["pending"]
    fact = {"approvalId": pending["id"], "approved": True}
    url = api.path(f"decopilot/threads/{thread}/interactions")
    status, body = await api.call("POST", url, body={"resolutions": [fact]})
    assert 202 == status, body
    await api.settled(thread)
    await page.get_by_test_id("inspector").get_by_role("button", name="Refresh").click()
    await expect(page.get_by_test_id("run-row")).to_have_count(2, timeout=SOON_MS)
    await page.get_by_test_id("run-row").first.click()
    await read(page)
    await expect(lane(page, "Tools")).to_have_text(["delete_note"])
    await expect(lane(page, "Tools")).to_have_attribute("data-state", "done")
    await page.get_by_test_id("run-facts").get_by_role("button", name=first).click()
    await expect(page).to_have_url(re.compile(f"/runs/{first}$"))


async def test_a_killed_runners_attempt_ends_and_what_it_left_is_struck_through(
    tab: Opener, api: Api, thread: str
) -> None:
    status, body = await api.post(thread, "/count 20000 20")
    assert status in {200, 202}
    run = body["runId"]
    page = await tab(f"{thread}/runs/{run}")
    await expect(lane(page, "Attempts")).to_have_attribute("data-state", "running", timeout=SOON_MS)
    await expect(page.get_by_test_id("chunk").filter(has_text="text-delta").first).to_be_visible(timeout=SOON_MS)
    events = (await inspected(api, thread, run))["events"]
    runner = next(event["runner_id"] for event in events if "runner_id" in event)
    os.kill(int(runner.rpartition("-")[2]), signal.SIGKILL)
    # Nobody reloads: it is read on.
    await expect(lane(page, "Attempts")).to_have_count(2, timeout=60_000)
    await expect(lane(page, "Attempts").first).to_have_attribute("data-state", "died")
    await expect(page.get_by_test_id("void-legend")).to_be_visible(timeout=SOON_MS)
    await expect(page.get_by_test_id("chunk-kind")).to_contain_text("data-run-rewind (1)")
    # The attempt that took over has said something, too.
    before = await page.get_by_test_id("chunk-count").text_content()
    await expect(page.get_by_test_id("chunk-count")).not_to_have_text(str(before), timeout=SOON_MS)
    url = api.path(f"decopilot/cancel/{thread}")
    status, body = await api.call("POST", url, body={"runId": run})
    assert 202 == status, body
    ended = page.get_by_test_id("run").get_by_test_id("run-status")
    await expect(ended).to_have_text("Stopped", timeout=SOON_MS)
    await expect(ended).to_have_attribute("data-status", "stopped")
    await read(page)
    told = await inspected(api, thread, run)
    gone = sum(frame["voidChunks"] for frame in told["frames"])
    assert gone > 0
    await page.get_by_test_id("chunk-kind").select_option("(void)")
    await expect(page.get_by_test_id("chunk-count")).to_have_text(f"{gone} chunk{'s' if gone > 1 else ''}")
    rows = page.get_by_test_id("chunk")
    await expect(rows.first).to_have_class(re.compile("void"), timeout=SOON_MS)
    lines = "them => them.map(it => getComputedStyle(it).textDecorationLine)"
    assert {"line-through"} == set(await rows.locator(".chunk-type").evaluate_all(lines))
    await page.get_by_test_id("chunk-kind").select_option("text-delta")
    await page.get_by_test_id("chunks").press("End")
    await expect(rows.last).not_to_have_class(re.compile("void"), timeout=SOON_MS)


async def test_the_chunks_of_an_old_run_are_said_to_be_gone_and_their_message_stands_there(
    tab: Opener, tmp_path: Path, thread: str
) -> None:
    with running_stack(tmp_path, env={"DECOPILOT_PURGE_GRACE_S": "0"}) as stack:
        api = Api(stack.url, stack.token())
        run = await asked(api, thread, "/weather Oslo")
        async with asyncio.timeout(30):
            while not (await inspected(api, thread, run))["chunksGone"]:
                await asyncio.sleep(0.1)
        page = await tab(f"{thread}/runs/{run}", of=stack, with_=api.token)
        await read(page)
        await expect(page.get_by_test_id("chunks-gone")).to_contain_text("chunks are gone")
        await expect(page.get_by_test_id("chunks-gone")).to_contain_text("the frame that closes the run")
        message = page.get_by_test_id("stored-message")
        await expect(message.locator("summary")).to_contain_text(
            ["step-start", "tool-get_weather", "step-start", "text"]
        )
        await message.locator("summary").nth(1).click()
        await expect(message.locator("details").nth(1).locator("pre")).to_contain_text('"city": "Oslo"')
        await expect(page.get_by_test_id("stages")).to_contain_text("chunks are gone")
        await expect(lane(page, "Steps")).to_have_count(2)
        await expect(page.get_by_test_id("run-facts")).not_to_contain_text("Trace")
        await expect(page.get_by_test_id("chunk")).not_to_have_count(0, timeout=SOON_MS)


async def test_a_run_of_twenty_thousand_chunks_is_scrolled_to_its_end_with_few_rows_and_chunks_that_go_meanwhile(
    tab: Opener, api: Api, stack: Stack, thread: str
) -> None:
    run = await asked(api, thread, "/count 20000 0")
    page = await tab(f"{thread}/runs/{run}")
    told = (await api.get(f"decopilot/threads/{thread}/runs"))[1]["runs"][0]
    assert "completed" == told["status"]
    await expect(page.get_by_test_id("run")).to_have_attribute("aria-busy", "false", timeout=60_000)
    await expect(page.get_by_test_id("chunk-count")).to_have_text(re.compile("^20,0[0-9]{2} chunks$"))
    assert await page.get_by_test_id("inspector").locator("*").count() < 1_500
    chunks, rows = page.get_by_test_id("chunks"), page.get_by_test_id("chunk")
    await chunks.press("End")
    await expect(rows.last.locator(".chunk-type")).to_have_text("finish", timeout=SOON_MS)
    assert await rows.count() < ROWS_MAX
    await chunks.evaluate("list => { list.scrollTop = list.scrollHeight / 2; }")
    # The last row was the end's, and what is not read yet is shown as such.
    await expect(rows.last.locator(".chunk-type")).to_have_text("text-delta", timeout=SOON_MS)
    await expect(chunks.locator(".loading")).to_have_count(0, timeout=SOON_MS)
    # Each number is said once, in its order: what stands where is told by the frames alone.
    said = [json.loads(text)["delta"] for text in await rows.locator(".chunk-text").all_text_contents()]
    assert [f" {number}" for number in range(int(said[0]), int(said[0]) + len(said))] == said
    assert await rows.count() < ROWS_MAX
    async with eventlog.chunk_log(stack) as log:
        await log.purge(OrgId("local"), ThreadId(thread), RunId(run))
    await chunks.evaluate("list => { list.scrollTop = list.scrollHeight / 4; }")
    await expect(page.get_by_test_id("chunks-gone")).to_contain_text("chunks are gone", timeout=SOON_MS)
    await expect(page.get_by_test_id("stored-message")).to_contain_text("1 2 3")


async def test_everything_of_a_run_is_saved_as_json(tab: Opener, api: Api, thread: str, tmp_path: Path) -> None:
    run = await asked(api, thread, "/count 1500 0")
    page = await tab(f"{thread}/runs/{run}")
    await read(page)
    async with page.expect_download() as downloading:
        await page.get_by_test_id("save-json").click()
    download = await downloading.value
    assert f"{run}.json" == download.suggested_filename
    await download.save_as(tmp_path / "run.json")
    saved = json.loads((tmp_path / "run.json").read_text())
    told = await inspected(api, thread, run)
    assert (thread, told["events"]) == (saved["threadId"], saved["events"])
    assert [*range(told["chunks"])] == [chunk["index"] for chunk in saved["chunkList"]]
    await expect(page.get_by_test_id("save-json")).to_have_text("Save as JSON")


HOSTILE = "<img src=x onerror=document.title='owned'>"


async def test_what_tools_and_the_log_say_stays_text(tab: Opener, api: Api, thread: str) -> None:
    run = await asked(api, thread, f"/note {HOSTILE}")
    page = await tab()

    async def deface(route: Route) -> None:
        response = await route.fetch()
        body = await response.json()
        text = json.dumps(body).replace('"note"', json.dumps(HOSTILE)).replace('"demo"', json.dumps(HOSTILE))
        told = json.loads(text)
        told["events"][0]["type"] = HOSTILE
        told["trace"] = {"id": HOSTILE, "url": "javascript:document.title='owned'"}
        await route.fulfill(json=told)

    await page.route(re.compile(f"/runs/{run}$"), deface)
    await page.goto(f"{api.url}/#{thread}/runs/{run}")
    await read(page)
    await expect(page.get_by_test_id("run-facts")).to_contain_text(HOSTILE)
    await expect(page.get_by_test_id("trace-link")).to_have_count(0)
    await expect(lane(page, "Tools")).to_have_text([HOSTILE])
    await lane(page, "Tools").click()
    await expect(page.get_by_test_id("chart-detail")).to_contain_text(HOSTILE)
    await page.get_by_test_id("chunk-kind").select_option("tool-output-available")
    await page.get_by_test_id("chunk").first.click()
    await expect(page.get_by_test_id("chunk-json")).to_contain_text(HOSTILE, timeout=SOON_MS)
    assert 0 == await page.get_by_test_id("inspector").locator("img").count()
    assert "owned" != await page.title()


async def test_a_run_of_another_org_and_one_that_never_was_are_not_shown(
    tab: Opener, api: Api, stack: Stack, thread: str
) -> None:
    run = await asked(api, thread, "/count 2 0")
    stranger = stack.token(org="elsewhere", user="eve")
    page = await tab(f"{thread}/runs/{run}", with_=stranger)
    await expect(page.get_by_test_id("run-error")).to_contain_text("There is no such thread", timeout=SOON_MS)
    await expect(page.get_by_test_id("chunk")).to_have_count(0)
    for path in (f"runs/{run}", f"runs/{run}/chunks", "runs"):
        status, _ = await Api(stack.url, stranger).get(f"decopilot/threads/{thread}/{path}")
        assert 403 == status
    mine = await tab(f"{thread}/runs/run_that_never_was")
    await expect(mine.get_by_test_id("run-error")).to_contain_text("no run", timeout=SOON_MS)
    await expect(mine.get_by_test_id("run-row")).to_have_count(1)


async def test_it_fits_a_phone(tab: Opener, api: Api, thread: str) -> None:
    run = await asked(api, thread, "/steps 2")
    page = await tab(f"{thread}/runs/{run}", viewport={"width": 360, "height": 700}, color_scheme="dark")
    await read(page)
    for selector in (".inspector", ".inspected", ".chunk-list"):
        wide = await page.locator(selector).evaluate("it => it.scrollWidth - it.clientWidth")
        assert [selector, 0] == [selector, wide]
    await page.get_by_test_id("timeline").get_by_role("button", name="Zoom in").click()
    wider = await page.locator(".chart-scroll").evaluate("it => it.scrollWidth > it.clientWidth")
    assert wider
