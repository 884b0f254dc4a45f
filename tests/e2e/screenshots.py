"""Take the pictures of the page that the documentation shows: `python tests/e2e/screenshots.py [FOLDER]`."""

import asyncio
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from PIL import Image
from playwright.async_api import Browser, Page, expect

from support.browser import chromium
from support.stack import Stack, running_stack
from support.viewer import Api

HERE = Path(__file__).parents[2]
SOON_MS = 30_000
LIMIT_BYTES = 120 * 1024
CONFIGURATION = """\
[agents.default]
title = "Assistant"

[agents.show]
title = "Librarian"
agent = "support.showing_agent:show"
"""
WIDE, PHONE = (1180, 760), (360, 740)
LISTED: Sequence[tuple[str, str]] = (
    ("Packing list", "/count 40 0"),
    ("Translate the contract", "/fail 3"),
    ("Call the landlord", "/hang"),
    ("Which train to Faro", "/ask Is a night train fine?"),
    ("Read the minutes", "/count 100000 60"),
)


async def main(folder: Path) -> None:
    """Take all of them."""
    with tempfile.TemporaryDirectory() as made:
        config = Path(made) / "decopilot.toml"
        config.write_text(CONFIGURATION)
        env = {"DECOPILOT_CONFIG": str(config), "PYTHONPATH": str(HERE / "tests")}
        with running_stack(Path(made), env=env) as stack:
            async with chromium() as browser:
                await _prepare(stack)
                for take in (_chat, _streaming, _question, _plan, _ends, _queue, _dark, _phone):
                    page = await take(browser, stack)
                    await page.wait_for_timeout(600)  # for what fades in
                    _keep(await page.screenshot(), folder / f"{take.__name__.removeprefix('_')}.png")
                    await page.context.close()


async def _prepare(stack: Stack) -> None:
    api = Api(stack.url, stack.token())
    for number, (title, text) in enumerate(LISTED):
        await api.post(f"listed-{number}", text, toolApprovalLevel="readonly")
        await _entitle(api, f"listed-{number}", title)
    await asyncio.sleep(2)
    await api.call("POST", api.path("decopilot/cancel/listed-2"))


async def _entitle(api: Api, thread: str, title: str) -> None:
    await api.call("PATCH", api.path(f"decopilot/threads/{thread}"), body={"title": title})


async def _open(
    browser: Browser, stack: Stack, thread: str, size: tuple[int, int] = WIDE, scheme: str = "light"
) -> Page:
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if scheme == "dark" else "light",
        has_touch=size == PHONE,
        is_mobile=size == PHONE,
    )
    page = await context.new_page()
    await page.goto(f"{stack.url}/?token={stack.token()}#{thread}")
    await expect(page.get_by_test_id("connection")).to_have_text("Live", timeout=SOON_MS)
    return page


async def _say(page: Page, text: str, agent: str = "default", key: str = "Enter") -> None:
    await page.get_by_test_id("agent").select_option(agent)
    await page.get_by_test_id("composer").fill(text)
    await page.get_by_test_id("composer").press(key)


async def _done(page: Page) -> None:
    await expect(page.get_by_test_id("stop")).to_be_hidden(timeout=SOON_MS)


async def _chat(browser: Browser, stack: Stack) -> Page:
    """A tool's answer and a call that waits for approval, beside the list: the picture in the README."""
    page = await _open(browser, stack, "trip")
    await _say(page, "/weather Porto")
    await expect(page.locator("main")).to_contain_text("In Porto it is", timeout=SOON_MS)
    await _done(page)
    await _entitle(Api(stack.url, stack.token()), "trip", "Weekend in Porto")
    await page.get_by_test_id("ask-first").check()
    await _say(page, "/delete old shopping list")
    await expect(page.get_by_test_id("approve")).to_be_visible(timeout=SOON_MS)
    return page


async def _streaming(browser: Browser, stack: Stack) -> Page:
    """Code, a table, and a tool that tells how far it is."""
    page = await _open(browser, stack, "photos")
    await _say(page, "write how a page follows a thread", "show")
    await _done(page)
    await _entitle(Api(stack.url, stack.token()), "photos", "Follow a thread")
    await _say(page, "copy 20", "show")
    await expect(page.get_by_test_id("progress")).to_be_visible(timeout=SOON_MS)
    await page.wait_for_timeout(2_200)
    return page


async def _question(browser: Browser, stack: Stack) -> Page:
    page = await _open(browser, stack, "tides")
    await _say(page, "search high water in Lisbon", "show")
    await _done(page)
    await _entitle(Api(stack.url, stack.token()), "tides", "High water in Lisbon")
    await _say(page, "ask me what you need to know", "show")
    await expect(page.get_by_test_id("option").first).to_be_visible(timeout=SOON_MS)
    return page


async def _plan(browser: Browser, stack: Stack) -> Page:
    page = await _open(browser, stack, "plan")
    await _say(page, "/think about the move")
    await _done(page)
    await _entitle(Api(stack.url, stack.token()), "plan", "The move")
    await page.get_by_test_id("plan-first").check()
    await _say(page, "/plan cancel the old contract")
    await expect(page.get_by_test_id("plan")).to_be_visible(timeout=SOON_MS)
    return page


async def _ends(browser: Browser, stack: Stack) -> Page:
    page = await _open(browser, stack, "ends")
    await _say(page, "/length")
    await _done(page)
    await _entitle(Api(stack.url, stack.token()), "ends", "Summary of the minutes")
    await _say(page, "/fail 5")
    await expect(page.get_by_test_id("error-card")).to_be_visible(timeout=SOON_MS)
    return page


async def _queue(browser: Browser, stack: Stack) -> Page:
    page = await _open(browser, stack, "queue")
    await _say(page, "/count 100000 40")
    await expect(page.get_by_test_id("stop")).to_be_visible(timeout=SOON_MS)
    await _entitle(Api(stack.url, stack.token()), "queue", "Count the boxes")
    for text in ("Then tell me which of them are heavy.", "And who carries them?"):
        await _say(page, text)
    await expect(page.get_by_test_id("queued")).to_have_count(2, timeout=SOON_MS)
    await page.get_by_test_id("composer").fill("Wait, count the bags first")
    return page


async def _dark(browser: Browser, stack: Stack) -> Page:
    page = await _open(browser, stack, "tidy", scheme="dark")
    await _say(page, "write how a page follows a thread", "show")
    await _done(page)
    await _entitle(Api(stack.url, stack.token()), "tidy", "Tidy up")
    await _say(page, "tidy up my drafts", "show")
    await expect(page.get_by_test_id("accept-all")).to_be_visible(timeout=SOON_MS)
    return page


async def _phone(browser: Browser, stack: Stack) -> Page:
    """The list as a drawer beside nothing: two pictures would not say more."""
    page = await _open(browser, stack, "trip", size=PHONE)
    await expect(page.get_by_test_id("approve")).to_be_visible(timeout=SOON_MS)
    return page


def _keep(shot: bytes, file: Path) -> None:
    """Store it, with fewer colours only if it has to be: small spots lose theirs."""
    picture = Image.open(io.BytesIO(shot)).convert("RGB")
    picture.save(file, optimize=True)
    for colours in (256, 128, 64):
        if file.stat().st_size <= LIMIT_BYTES:
            break
        picture.quantize(colours, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file} {file.stat().st_size // 1024} KiB")  # noqa: T201 - a command


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if sys.argv[1:] else HERE / "docs/images")))
