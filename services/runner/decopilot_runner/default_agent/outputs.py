"""Outputs of tools that are too large for a message: kept with their thread, shown in part, read back by lines."""

import asyncio
from dataclasses import replace
from typing import Any, Protocol

import structlog
from pydantic_ai import Tool
from pydantic_ai.messages import ToolReturn
from pydantic_core import to_json

from decopilot.agent import ToolCall, ToolError, current_call
from decopilot.contracts.files import output_blob
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot_runner.default_agent.asking import read_only
from decopilot_runner.default_agent.previewing import BYTES, is_too_large, preview, tokens
from decopilot_runner.default_agent.results import as_json, is_media
from decopilot_runner.default_agent.searching import PatternError, search

READ_TOOL_OUTPUT = "read_tool_output"
KEPT_BYTES = 64 << 20
"""What is kept of one output, at most."""
AT_ONCE = 10_000
HINT = (
    "The output is too large to be shown: these are its first and last lines. Read the lines that you need with "
    f"{READ_TOOL_OUTPUT}."
)
CUT_HINT = f"{HINT} Only its first {KEPT_BYTES >> 20} MiB were kept."
LOST_HINT = "The output is too large to be shown: these are its first and last lines. The rest could not be kept."
NOT_KEPT = "There is no large output of this call."

log = structlog.get_logger()


class Keeper(Protocol):
    """Where outputs are kept: a `Shelf` of the runner."""

    async def put(self, org: OrgId, thread: ThreadId, blob: str, data: bytes, *, media_type: str) -> object:
        """Keep it."""

    async def read(self, org: OrgId, thread: ThreadId, blob: str) -> bytes:
        """Read it back."""


class Outputs:
    """Keeps large outputs on a shelf; without one they are shown in part, and lost."""

    def __init__(self, shelf: Keeper | None = None) -> None:
        self.shelf = shelf

    async def fit(self, call: ToolCall, result: object) -> object:
        """Make what a tool returned fit a message, and have a JSON form that every reader takes.

        Raises:
            NoJsonError: it has none.

        """
        if is_media(result):
            return await self._fit_media(call, result)
        # In a thread where it may be large.
        value, text = _read(result) if _is_small(result) else await asyncio.to_thread(_read, result)
        return value if text is None else await self.keep_text(call, text)

    async def _fit_media(self, call: ToolCall, result: object) -> object:
        if isinstance(result, ToolReturn):
            return replace(result, return_value=await self.fit(call, result.return_value))
        value = await asyncio.to_thread(as_json, result)
        text = await asyncio.to_thread(_text, value)
        return result if len(text) <= BYTES else await self.keep_text(call, text)

    async def keep_text(self, call: ToolCall, text: str) -> dict[str, Any]:
        """Keep a text that is too long for a message; returns the output that tells of it."""
        data = await asyncio.to_thread(text.encode)
        hint = HINT if len(data) <= KEPT_BYTES else CUT_HINT
        if not await self._keep(call, data[:KEPT_BYTES]):
            hint = LOST_HINT
        return {
            "tool_call_id": call.call_id,
            "hint": hint,
            "bytes": len(data),
            "lines": text.count("\n") + (not text.endswith("\n")),
            "tokens": await asyncio.to_thread(tokens, text),
            "preview": await asyncio.to_thread(preview, text),
        }

    async def _keep(self, call: ToolCall, data: bytes) -> bool:
        if self.shelf is None:
            return False
        try:
            await self.shelf.put(
                call.org, call.thread, output_blob(call.call_id), data, media_type="text/plain; charset=utf-8"
            )
        except Exception as error:  # noqa: BLE001  the tool was executed: its run goes on without the rest of it
            log.warning("tool_output_not_kept", run_id=call.run_id, bytes=len(data), error=repr(error))
            return False
        log.info("tool_output_kept", run_id=call.run_id, bytes=len(data))
        return True

    async def read_tool_output(self, tool_call_id: str, pattern: str = "", skip: int = 0) -> str:
        """Read lines of a tool's output that was too large to be shown.

        Args:
            tool_call_id: The call whose output it is; also one of an earlier answer.
            pattern: A regular expression (RE2: no look-around, no back-references); the lines in which it is found are
                given, with their numbers.
            skip: So many of the lines that match are left out at the beginning.

        """
        call = current_call()
        if self.shelf is None:
            raise ToolError(NOT_KEPT)
        try:
            data = await self.shelf.read(call.org, call.thread, output_blob(tool_call_id))
        except Exception as error:
            log.info("tool_output_not_read", run_id=call.run_id, error=repr(error))
            raise ToolError(NOT_KEPT) from error
        try:
            return await asyncio.to_thread(search, data, pattern, max(skip, 0))
        except PatternError as error:
            raise ToolError(str(error)) from error

    def tool(self) -> Tool[Any]:
        """Make the tool that reads outputs."""
        return Tool(self.read_tool_output, metadata=read_only())


def _is_small(result: object) -> bool:
    return result is None or isinstance(result, bool | float) or (isinstance(result, str) and len(result) < AT_ONCE)


def _read(result: object) -> tuple[Any, str | None]:
    """Give its JSON form, and its text if that is too large."""
    value = as_json(result)
    text = value if isinstance(value, str) else to_json(value).decode()
    if not is_too_large(text):
        return value, None
    return None, _text(value)


def _text(value: object) -> str:
    # By lines, because that is how it is read.
    return value if isinstance(value, str) else to_json(value, indent=2).decode()
