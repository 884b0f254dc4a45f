"""How soon a browser paints the page, and how soon one can write in it: `python tests/bench/first_paint.py`.

Every visit is a browser's first: nothing is cached.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from playwright.async_api import Browser

from support.browser import chromium
from support.stack import running_stack

VISITS = 5
_PAINT_MS = """() => new Promise((resolve) => {
  new PerformanceObserver((list) => {
    const paint = list.getEntriesByName("first-contentful-paint")[0];
    if (paint) resolve(paint.startTime);
  }).observe({ type: "paint", buffered: true });
})"""


async def visit(browser: Browser, url: str, token: str) -> tuple[float, float, int]:
    """Open the page as somebody new; returns the first contentful paint and when it was live (ms), and the requests."""
    context = await browser.new_context(viewport={"width": 1200, "height": 800})
    try:
        door = await context.new_page()
        # The link lets in and leads to the page; what is measured is the page.
        await context.request.get(f"{url}/?token={token}", max_redirects=0)
        await door.goto(url)
        paint_ms = await door.evaluate(_PAINT_MS)
        await door.locator('[data-testid="connection"][data-state="live"]').wait_for()
        live_ms = await door.evaluate("performance.now()")
        requests = await door.evaluate("performance.getEntriesByType('resource').length")
        return float(paint_ms), float(live_ms), int(requests)
    finally:
        await context.close()


async def main() -> None:
    """Visit, and print the medians."""
    with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder)) as stack:
        token = stack.token()
        async with chromium() as browser:
            await visit(browser, stack.url, token)
            visits = [await visit(browser, stack.url, token) for _ in range(VISITS)]
    paints, lives, requests = zip(*visits, strict=True)
    for what, times_ms in (("first contentful paint", paints), ("live", lives)):
        spread = f"{min(times_ms):.0f} to {max(times_ms):.0f}"
        print(f"{what}: {statistics.median(times_ms):.0f} ms ({spread})")  # noqa: T201
    print(f"{requests[0]} requests")  # noqa: T201


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    asyncio.run(main())
