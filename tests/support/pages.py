"""Tabs of the page, what they show and hold of a thread, and whether that is what the thread's history says."""

import asyncio
import difflib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect

from support.viewer import Api

SOON_MS = 10_000
"""What the broker, a runner and the page need at most for what they do at once."""
OUTAGE = re.compile(r"Failed to load resource: (net::ERR_|.*status of 50[234])")
"""What Chromium itself says of a network that is away."""
GONE = re.compile(r"Failed to load resource: .*status of 404")
"""What it says of a thread that is deleted while it is asked for."""

_LOOKS = {
    "output-available": "done",
    "output-error": "failed",
    "output-denied": "stopped",
    "approval-requested": "waiting",
    "input-available": "waiting",
}
"""How a tool looks at rest."""

_SHOWN = """() => [...document.querySelectorAll('[data-testid="message"]')].map((message) => {
  const wordsOf = (text) => {
    const copy = text.cloneNode(true);
    for (const button of copy.querySelectorAll("button")) button.remove();
    return copy.textContent;
  };
  const isOwn = (text) => !text.closest(".reasoning, .tool, .ask");
  const texts = [...message.querySelectorAll(".bubble, .markdown")].filter(isOwn);
  const tools = [...message.querySelectorAll('[data-testid="tool"]')];
  return {
    id: message.dataset.messageId,
    role: message.dataset.role,
    text: texts.map(wordsOf).join(" "),
    tools: tools.map((tool) => [tool.dataset.tool, tool.querySelector("[data-look]").dataset.look]),
  };
})"""
_QUEUED = """() => [...document.querySelectorAll('[data-testid="queued"]')].map((row) => row.dataset.messageId)"""
_HELD = """async () => {
  const { getSnapshot } = await import(document.querySelector('script[src$="/app.js"]').src);
  const { messages, pending, queue, status, isActive, sending } = getSnapshot();
  return JSON.parse(JSON.stringify({
    messages,
    pending: pending.map(({ kind, id }) => ({ kind, id })),
    queue: queue.map(({ messageId }) => messageId),
    isActive,
    isSending: sending.size > 0,
  }));
}"""
_VIOLATIONS = """addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
  console.error(`Content Security Policy: ${violatedDirective} ${blockedURI}`));"""
_WATCH_TEXT = """(selector) => {
  const texts = (globalThis.textsShown = []);
  const look = () => {
    const text = [...document.querySelectorAll(selector)].at(-1)?.textContent ?? "";
    if (texts.at(-1) !== text) texts.push(text);
  };
  look();
  new MutationObserver(look).observe(document.getElementById("messages"), {
    subtree: true, childList: true, characterData: true,
  });
}"""


@dataclass  # Playwright wraps its methods in attributes of its own
class Tabs:
    """Tabs of one person in one browser; none of them may complain."""

    context: BrowserContext
    url: str
    forgiven: list[re.Pattern[str]] = field(default_factory=list)
    _complaints: list[str] = field(default_factory=list)

    @property
    def complaints(self) -> list[str]:
        """Errors that a tab threw or wrote to its console, but for those that the test forgives."""
        return [one for one in self._complaints if not any(pattern.search(one) for pattern in self.forgiven)]

    async def open(self, url: str = "") -> Page:
        """Open a tab, connected; without a URL at a thread of its own."""
        page = await self.context.new_page()
        page.on("pageerror", lambda error: self._complaints.append(str(error)))
        page.on("console", self._hear)
        await page.goto(url or self.url)
        await expect(page.get_by_test_id("connection")).to_have_text("Live", timeout=SOON_MS)
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._complaints.append(f"{message.text} ({message.location['url']})")


@asynccontextmanager
async def standing_still(page: Page) -> AsyncIterator[None]:
    """Have a tab stand still, with all that it holds, from its next task on: it is stopped in a debugger."""
    debugger = await page.context.new_cdp_session(page)
    paused = asyncio.Event()
    debugger.on("Debugger.paused", lambda _: paused.set())
    await debugger.send("Debugger.enable")
    await debugger.send("Debugger.pause")
    await asyncio.wait_for(paused.wait(), SOON_MS / 1000)
    yield
    await debugger.send("Debugger.disable")


@asynccontextmanager
async def tabs(browser: Browser, url: str, token: str, **context: Any) -> AsyncIterator[Tabs]:  # noqa: ANN401  Playwright's own
    """Let a person in, in a browser without any past."""
    size = {"width": 1200, "height": 800}
    options = {"viewport": size, "color_scheme": "light"} | context
    opened = await browser.new_context(**options)
    try:
        await opened.add_init_script(_VIOLATIONS)
        door = await opened.new_page()
        await door.goto(f"{url}/?token={token}")
        # Two connections a tab, and a browser has six for a host.
        await door.close()
        person = Tabs(opened, url)
        yield person
        assert [] == person.complaints, person.complaints
    finally:
        await opened.close()


def thread_of(page: Page) -> str:
    """Read which thread a tab shows."""
    return page.url.partition("#")[2]


def answer(page: Page) -> Locator:
    """Find the last answer."""
    return page.locator('[data-testid="message"][data-role="assistant"]').last


async def send(page: Page, text: str, key: str = "Enter") -> None:
    """Write a message and send it."""
    await page.get_by_test_id("composer").fill(text)
    await page.get_by_test_id("composer").press(key)


async def watch_text(page: Page) -> None:
    """Note from now on every text that the last answer shows."""
    await page.evaluate(_WATCH_TEXT, '[data-testid="message"][data-role="assistant"] .markdown')


async def texts_shown(page: Page) -> list[str]:
    """Read what was noted."""
    shown: list[str] = await page.evaluate("globalThis.textsShown")
    return shown


async def assert_in_step(api: Api, *pages: Page, deadline_s: float = 20) -> list[dict[str, Any]]:
    """Wait until nothing is active, and until every tab shows and holds the thread as the server has it.

    That is: the same messages with every part of them, the same decisions to be made, the same queue. Returns the
    messages.
    """
    thread = thread_of(pages[0])
    assert {thread} == {thread_of(page) for page in pages}
    loop = asyncio.get_running_loop()
    deadline = loop.time() + deadline_s
    await api.settled(thread, deadline_s=deadline_s)
    while True:
        told = await _told(api, thread)
        seen = [await _seen(page) for page in pages]
        if all(one == (told, _drawn(told)) for one in seen):
            messages: list[dict[str, Any]] = told["messages"]
            return messages
        if loop.time() > deadline:
            break
        await asyncio.sleep(0.05)
    for number, (held, shown) in enumerate(seen, 1):
        assert "" == _difference(told, held), f"tab {number} holds something else:\n{_difference(told, held)}"
        drawn = _drawn(told)
        assert "" == _difference(drawn, shown), f"tab {number} shows something else:\n{_difference(drawn, shown)}"
    msg = "what the server has changes on and on"
    raise AssertionError(msg)


def _difference(wanted: object, got: object) -> str:
    server, tab = (json.dumps(one, indent=1, sort_keys=True).splitlines() for one in (wanted, got))
    return "\n".join(difflib.unified_diff(server, tab, "server", "tab", lineterm=""))


async def _told(api: Api, thread: str) -> dict[str, Any]:
    status, history = await api.get(f"decopilot/threads/{thread}/messages")
    assert 200 == status, history
    status, line = await api.get(f"decopilot/threads/{thread}/queue")
    assert 200 == status, line
    return {
        "messages": history["messages"],
        "pending": [{"kind": one["kind"], "id": one["id"]} for one in history["pending"]],
        "queue": [queued["messageId"] for queued in line["queue"]],
        "isActive": history["status"] == "in_progress",
        "isSending": False,
    }


async def _seen(page: Page) -> tuple[dict[str, Any], dict[str, Any]]:
    held = await page.evaluate(_HELD)
    messages = await page.evaluate(_SHOWN)
    for message in messages:
        message["text"] = _words(message["text"])
    return held, {"messages": messages, "queue": await page.evaluate(_QUEUED)}


def _drawn(told: dict[str, Any]) -> dict[str, Any]:
    """Tell what a tab shows that holds this: of texts the words, for Markdown is drawn and not written."""
    return {"messages": [_drawn_message(message) for message in told["messages"]], "queue": told["queue"]}


def _drawn_message(message: dict[str, Any]) -> dict[str, Any]:
    parts = message["parts"]
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    tools = [
        [part.get("toolName", part["type"].removeprefix("tool-")), _LOOKS.get(part["state"], part["state"])]
        for part in parts
        if "toolCallId" in part
    ]
    return {"id": message["id"], "role": message["role"], "text": _words(text), "tools": tools}


def _words(text: str) -> str:
    # Where a block begins is no text in a tab.
    return "".join(re.findall(r"\w+", text))
