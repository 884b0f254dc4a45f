"""A real Chromium: Debian's package, driven by Playwright."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, async_playwright

CANDIDATES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking")


def executable() -> str:
    """Find Chromium; without it the test is NOT RUN on a developer's machine, and fails in CI."""
    found = next((path for name in CANDIDATES if (path := shutil.which(name))), None)
    if found is None or os.environ.get("DECOPILOT_BROWSER_TESTS") == "skip":
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing: sudo apt-get install -y chromium")
        pytest.skip("NOT RUN: Chromium is missing: sudo apt-get install -y chromium")
    return found


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Launch a browser."""
    path = executable()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            await browser.close()
