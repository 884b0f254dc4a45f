"""Tools as an operator brings them; `seen` is what was done."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from pydantic_ai import RunContext, Tool
from pydantic_ai.messages import BinaryContent, ToolReturn

from decopilot.agent import ToolError, current_call, tool

SECRET = "hunter2"
REFUSAL, NONE_LEFT = "There is no order 7 \ud83d.", "no apples left"
seen: list[str] = []
gate = threading.Event()


class OutOfStockError(ToolError):
    """There is nothing left."""


@dataclass
class Item:
    """What is ordered."""

    name: str
    count: int = 1


def order(item: Item, note: str = "") -> dict[str, Any]:
    """Order something.

    Args:
        item: What.
        note: What else there is to say.

    """
    seen.append(f"{item.count} {item.name} {note}".strip())
    return {"ordered": item, "thread": threading.current_thread().name}


@tool(read_only=True)
async def stock(name: str) -> int:
    """Tell how much of something there is."""
    await asyncio.sleep(0)
    return len(name)


@tool(needs_approval=True)
def pay(amount: float) -> str:
    """Pay."""
    seen.append(f"paid {amount}")
    return "paid"


@tool(idempotent=True)
def label(text: str) -> str:
    """Label something."""
    seen.append(text)
    return text


def whose() -> dict[str, str]:
    """Tell whose call it is."""
    call = current_call()
    return {"org": call.org, "thread": call.thread, "run": call.run_id, "call": call.call_id}


async def whose_async() -> str:
    """Tell whose call it is."""
    await asyncio.sleep(0)
    return current_call().call_id


def returns_nothing() -> None:
    """Return nothing."""


def raises() -> str:
    """Raise."""
    raise RuntimeError(SECRET)


def refuses() -> str:
    """Say why it can't."""
    raise ToolError(REFUSAL)


async def refuses_by_name() -> str:
    """Say why it can't, by a class of its own."""
    raise OutOfStockError(NONE_LEFT)


def ends_the_process() -> str:
    """End the process, or try to."""
    sys.exit(3)


async def ends_the_process_async() -> str:
    """End the process, or try to."""
    raise KeyboardInterrupt


def stops_iteration() -> str:
    """Raise what asyncio can't carry."""
    raise StopIteration


async def cancels_itself() -> str:
    """Be cancelled from inside."""
    raise asyncio.CancelledError


async def hangs() -> str:
    """Hang."""
    seen.append("hanging")
    await asyncio.Event().wait()
    return "never"


def hangs_in_its_thread() -> str:
    """Hang, where nobody can stop it."""
    gate.wait(60)
    return "late"


async def will_not_stop() -> str:
    """Hang, and take its cancellation for something else."""
    while not gate.is_set():
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            seen.append("cancelled")
    return "late"


def _nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def odd(what: str) -> object:
    """Return what is hardly JSON."""
    found: dict[str, Any] = {
        "bytes": b"\xff",
        "set": {1},
        "nan": float("nan"),
        "huge": 2**200,
        "half": "\ud83d",
        "object": threading.Lock(),
        "deep": _nested(10_000),
        "partial": {"a": b"\x00", ("b", 1): [float("-inf"), "\udc00"]},
    }
    return found[what]


def picture(kib: int) -> object:
    """Return a picture."""
    return ToolReturn(return_value=BinaryContent(os.urandom(kib << 10), media_type="image/png"), metadata={"own": 1})


def large(mb: int, kind: str = "text") -> object:
    """Return a lot."""
    if kind == "rows":
        return [{"row": number, "text": "x" * 80} for number in range(mb * 10_000)]
    if kind == "bytes":
        return b"x" * (mb * 1_000_000)
    line = "{:07} " + "x" * 91 + "\n"
    return "".join(line.format(number) for number in range(mb * 10_000))


def blocks(seconds: float) -> str:
    """Block its thread."""
    time.sleep(seconds)
    return "done"


def _named_by_its_context(ctx: RunContext[Any]) -> str:
    """Tell the call by pydantic-ai's context."""
    return str(ctx.tool_call_id)


by_context = Tool(_named_by_its_context, name="by_context")


def yields() -> Generator[int, None, None]:
    """Yield."""
    yield 1


def undocumented() -> None:
    pass  # a tool without a docstring


def untold(what: threading.Lock) -> None:
    """Take what no model can give."""


def user_ask() -> None:
    """Have a name that is taken."""


not_callable = 1


class Klass:
    """Be a class."""
