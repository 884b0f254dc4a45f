"""The page of a chaos run is read in a browser as it is: light, dark, on a phone, from the disk."""

from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import Page

from decopilot.cli.chaos.reporting import page_of
from decopilot.cli.chaos.verdict import PROMISES
from support.browser import chromium
from support.chaos_outcome import made_up

VIOLATIONS = (("NO-GAP", "chaos-1/steady <img src=x onerror=alert(1)> misses " + 300 * "x"), ("RESUME", "run_1"))
PHONE, DESK = (360, 740), (1180, 900)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@pytest.mark.parametrize(("width", "height"), [PHONE, DESK])
async def test_the_page_of_a_chaos_run_is_whole_and_as_wide_as_its_window(
    tmp_path: Path, width: int, height: int
) -> None:
    file = tmp_path / "chaos.html"
    file.write_text(page_of(made_up(*VIOLATIONS)), encoding="utf-8")
    async with chromium() as browser:
        page = await browser.new_page(viewport={"width": width, "height": height})
        told: list[str] = []
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        await page.goto(file.as_uri())
        assert f"Broken: 2 promises of {len(PROMISES)}, 2 violations." == await page.inner_text("h1")
        assert len(VIOLATIONS) == await page.locator("#NO-GAP pre, #RESUME pre").count()
        assert 0 == await page.locator("img, script").count()
        assert width == await page.evaluate("document.documentElement.scrollWidth")
        colours = [await _paper(page, scheme) for scheme in SCHEMES]
        assert ["rgb(255, 255, 255)", "rgb(20, 23, 28)"] == colours
        assert [] == told


async def _paper(page: Page, scheme: Literal["light", "dark"]) -> str:
    await page.emulate_media(color_scheme=scheme)
    return str(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
