"""The page tells how long chunks take until they are on the screen, where its operator wants to know."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Page, Request, expect

from decopilot.cli.broker import EmbeddedBroker
from decopilot.log.store import Store
from support.browser import chromium
from support.gateways import Run, make_token, running_gateway, until
from support.pages import SOON_MS, answer, standing_still, tabs

pytestmark = pytest.mark.browser

HELD_UP_MS = 500
FRAMES = 12
_WATCH = """async () => {
  const { listen } = await import(document.querySelector('script[src$="/app.js"]').src);
  globalThis.paints = [];
  listen({ onPaint: (paint) => globalThis.paints.push(paint) });
}"""
_LEAVE = "() => void dispatchEvent(new PageTransitionEvent('pagehide'))"


class Reports(list[dict[str, Any]]):
    """What a tab has reported."""

    def hear(self, request: Request) -> None:
        if request.url.endswith("/decopilot/paint"):
            self.append(json.loads(request.post_data or ""))


@asynccontextmanager
async def reading(broker: EmbeddedBroker, store: Store, sample: float) -> AsyncIterator[tuple[Page, Run, Reports]]:
    """Show a thread whose run has begun, to somebody with a gateway that dates such a share of all chunks."""
    async with (
        running_gateway(broker.url, paint_sample=sample) as gateway,
        Run(store, "t1") as run,
        chromium() as browser,
        tabs(browser, gateway.url, make_token()) as person,
    ):
        reports = Reports()
        person.context.on("request", reports.hear)
        await run.record_request()
        await run.open()
        await run.write({"type": "text-start", "id": "t"}, "begun ")
        page = await person.open(f"{gateway.url}/#t1")
        await expect(answer(page)).to_contain_text("begun", timeout=SOON_MS)
        yield page, run, reports


async def test_every_chunk_that_is_shown_is_reported_once_and_those_late_that_came_while_the_page_was_held_up(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    async with reading(own_broker, store, 1) as (page, run, reports):
        await page.evaluate(_WATCH)
        for number in range(FRAMES):
            await run.frame({"type": "text-delta", "id": "t", "delta": f"{number} "})
        await expect(answer(page)).to_contain_text(str(FRAMES - 1), timeout=SOON_MS)
        await page.wait_for_function("(many) => globalThis.paints.length === many", arg=FRAMES, timeout=SOON_MS)
        seen = await page.evaluate("globalThis.paints")
        assert [] == reports
        async with page.expect_response("**/decopilot/paint") as response:
            await page.evaluate(_LEAVE)
        assert 204 == (await response.value).status
        async with standing_still(page):
            await run.frame({"type": "text-delta", "id": "t", "delta": "late"})
            await asyncio.sleep(HELD_UP_MS / 1000)
        await page.wait_for_function("(many) => globalThis.paints.length > many", arg=FRAMES, timeout=SOON_MS)
        await page.evaluate(_LEAVE)
        await until(lambda: len(reports) > 1)
        report, late = reports
    assert ("t1", "run_1") == (report["threadId"], report["runId"])
    assert [FRAMES, 1] == [sum(one["chunks"] for one in told["paints"]) for told in reports]
    assert all(0 <= one["ms"] < 60_000 for one in report["paints"])
    assert late["paints"][0]["ms"] + late["errorMs"] >= HELD_UP_MS - 100
    assert {"run_1"} == {paint["runId"] for paint in seen}
    assert report["errorMs"] >= max(paint["error_ms"] for paint in seen)
    assert report["errorMs"] <= 1_000


async def test_a_page_reports_nothing_where_nobody_wants_to_know(own_broker: EmbeddedBroker, store: Store) -> None:
    async with reading(own_broker, store, 0) as (page, run, reports):
        await page.evaluate(_WATCH)
        await run.say("shown")
        await expect(answer(page)).to_contain_text("shown", timeout=SOON_MS)
        await page.evaluate(_LEAVE)
        # What follows on the same connection, and is there, shows that nothing went before it.
        await page.evaluate("() => fetch('/livez')")
        assert [] == await page.evaluate("globalThis.paints")
        assert [] == reports
