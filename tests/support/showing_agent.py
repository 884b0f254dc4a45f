"""An agent that does what the demo model can't: several approvals and questions at once, progress, sources, code.

Its directives are the first word of the user's message.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import Any

from decopilot.agent import AgentRequest
from decopilot.contracts.chunks import Chunk

CODE = """\
Here is how a page follows a thread:

```js
// Messages come and go; the store keeps them in step.
const chat = new ThreadChat({ client, thread: "trip" });
chat.subscribe(() => draw(chat.getSnapshot()));
await chat.sendMessage("Where to in May?");
```

| state | what it means |
|---|---|
| `live` | chunks come as they are made |
| `reconnecting` | it goes on behind its cursor |
"""
SOURCES = (("https://example.org/tides", "Tide tables"), ("https://www.example.com/harbour", "The harbour master"))
FILES = ("draft-1.md", "draft-2.md", "old notes.txt")
QUESTIONS: tuple[dict[str, Any], ...] = (
    {"prompt": "Which city is it to be?", "type": "choice", "options": ["Lisbon", "Porto", "Faro"]},
    {"prompt": "Is a night train fine?", "type": "confirm"},
)


async def show(request: AgentRequest) -> AsyncGenerator[Chunk, None]:
    """Show what the message asks for; gone on with, tell what was decided."""
    if request.partial is not None:
        async for chunk in _report(request.partial.parts):
            yield chunk
        return
    said = "".join(part.get("text", "") for part in request.history[-1].parts)
    for chunk in _usage(1_240, 12):
        yield chunk
    yield {"type": "start-step"}
    name, _, rest = said.partition(" ")
    async for chunk in _DOINGS.get(name, _write)(f"call_{request.run_id}", rest):
        yield chunk
    yield {"type": "finish-step"}
    for chunk in _usage(1_240, 96):
        yield chunk
    if name in {"tidy", "ask"}:
        yield {"type": "finish", "finishReason": "tool-calls"}


async def _write(_call: str, _rest: str) -> AsyncGenerator[Chunk, None]:
    for chunk in _text(CODE):
        yield chunk


async def _tidy(call: str, _rest: str) -> AsyncGenerator[Chunk, None]:
    for number, name in enumerate(FILES):
        called = {"toolCallId": f"{call}_{number}"}
        yield {"type": "tool-input-available", **called, "toolName": "delete_file", "input": {"name": name}}
        yield {"type": "tool-approval-request", **called, "approvalId": f"approval_{call}_{number}"}


async def _ask(call: str, _rest: str) -> AsyncGenerator[Chunk, None]:
    for number, question in enumerate(QUESTIONS):
        called = {"toolCallId": f"{call}_{number}"}
        yield {"type": "tool-input-available", **called, "toolName": "user_ask", "input": question}


async def _copy(call: str, seconds: str) -> AsyncGenerator[Chunk, None]:
    """Tell how far it is, and stand at two of three for a while."""
    yield {"type": "tool-input-available", "toolCallId": call, "toolName": "copy_files", "input": {"folder": "photos"}}
    for done in (1, 2):
        told = {"toolCallId": call, "progress": done, "total": 3, "message": f"photos/{done}.jpg"}
        yield {"type": "data-tool-progress", "data": told, "transient": True}
    await asyncio.sleep(float(seconds))
    yield {"type": "tool-output-available", "toolCallId": call, "output": {"copied": 3}}
    for chunk in _text("All three are copied."):
        yield chunk


async def _search(call: str, query: str) -> AsyncGenerator[Chunk, None]:
    yield {"type": "tool-input-available", "toolCallId": call, "toolName": "web_search", "input": {"query": query}}
    found = "High water is at **six** and at half past six."
    yield {"type": "data-web-search", "id": call, "data": {"text": found}}
    await asyncio.sleep(1)
    sources = [{"url": url, "title": title} for url, title in SOURCES]
    for number, source in enumerate(sources):
        yield {"type": "source-url", "sourceId": f"{call}_{number}", **source}
    yield {"type": "tool-output-available", "toolCallId": call, "output": {"text": found, "sources": sources}}
    for chunk in _text("The tide is in at six."):
        yield chunk


_DOINGS = {"tidy": _tidy, "ask": _ask, "copy": _copy, "search": _search}


async def _report(parts: list[dict[str, Any]]) -> AsyncGenerator[Chunk, None]:
    for part in parts:
        if part.get("state") == "approval-responded":
            yield {"type": "tool-output-available", "toolCallId": part["toolCallId"], "output": "deleted"}
    calls = [part for part in parts if "toolCallId" in part]
    done = sum(part["state"] == "approval-responded" for part in calls)
    said = [str(part["output"].get("response")) for part in calls if isinstance(part.get("output"), dict)]
    yield {"type": "start-step"}
    for chunk in _text(f"You said: {', '.join(said)}." if said else f"{done} of {len(calls)} are deleted."):
        yield chunk
    yield {"type": "finish-step"}


def _text(text: str) -> Iterator[Chunk]:
    yield {"type": "text-start", "id": "t"}
    yield {"type": "text-delta", "id": "t", "delta": text}
    yield {"type": "text-end", "id": "t"}


def _usage(read: int, written: int) -> Iterator[Chunk]:
    usage = {"inputTokens": read, "outputTokens": written, "totalTokens": read + written}
    yield {"type": "message-metadata", "messageMetadata": {"usage": usage}}
