"""What calls show while they run: events in pydantic-ai's own stream, where everything has its order."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Self

from pydantic_ai import CustomEvent, RunContext
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool, WrapperToolset
from pydantic_core import to_jsonable_python

from decopilot.agent.showing import showing
from decopilot.contracts.chunks import Chunk

PAUSE_S = 0.1
RATE_PER_S = 32 * 1024
"""So many characters a call shows in a second at most: all of it is stored, and each tells everything anew."""


@dataclass(kw_only=True)
class Shown(CustomEvent, ui=False):
    """A chunk that a running call shows."""

    chunk: Chunk
    is_taken: bool = False

    def take(self) -> Chunk:
        """Take the chunk; from now on it stays as it is."""
        self.is_taken = True
        return self.chunk


class Latest:
    """Shows the latest state of something; use as a context manager, whose end drops what was not shown yet.

    At most one chunk of it waits, at its old place, while whoever stores them is behind.
    """

    def __init__(self, ctx: RunContext[Any], pause_s: float = PAUSE_S) -> None:
        self._ctx = ctx
        self._pause_s = pause_s
        self._free_at = 0.0
        self._next: Chunk | None = None
        self._last: Shown | None = None
        self._waiting: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def show(self, chunk: Chunk) -> None:
        """Show a chunk, now or when it is time, unless a later one comes first."""
        self._next = chunk
        if self._waiting is not None:
            return
        delay_s = self._free_at - time.monotonic()
        if delay_s <= 0:
            await self._emit()
        else:
            self._waiting = asyncio.create_task(self._emit_later(delay_s), name=f"show {self._ctx.tool_call_id}")

    async def flush(self) -> None:
        """Show the latest now."""
        await self._stop()
        await self._emit()

    async def _emit_later(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        self._waiting = None
        await self._emit()

    async def _emit(self) -> None:
        chunk, self._next = self._next, None
        if chunk is None:
            return
        self._free_at = time.monotonic() + max(self._pause_s, len(str(chunk)) / RATE_PER_S)
        if self._last is not None and not self._last.is_taken:
            self._last.chunk = chunk
        else:
            self._last = Shown(chunk=chunk)
            await self._ctx.emit(self._last)

    async def _stop(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()
            # Not awaited itself: our own cancellation must not be taken for the task's.
            await asyncio.wait([waiting])


def preliminary(call: str | None, output: object) -> Chunk:
    """Make the chunk of an output that is not the last."""
    told = to_jsonable_python(output, bytes_mode="base64", serialize_unknown=True)
    return {"type": "tool-output-available", "toolCallId": str(call), "output": told, "preliminary": True}


class Showing(AbstractCapability[Any]):
    """Lets tools show what they have so far, by `decopilot.agent.show`."""

    def get_wrapper_toolset(self, toolset: AbstractToolset[Any]) -> AbstractToolset[Any]:
        """Wrap the tools."""
        return _ShowingToolset(toolset)


@dataclass
class _ShowingToolset(WrapperToolset[Any]):
    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> object:
        async with Latest(ctx) as latest:
            with showing(lambda output: latest.show(preliminary(ctx.tool_call_id, output))):
                return await super().call_tool(name, tool_args, ctx, tool)
