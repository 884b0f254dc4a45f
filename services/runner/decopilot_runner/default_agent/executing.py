"""Executing tools: whatever one does, its run goes on with a result that the log takes."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic_ai import Agent, RunContext
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.exceptions import (
    ApprovalRequired,
    CallDeferred,
    ModelRetry,
    SkipToolExecution,
    ToolFailed,
    ToolFailedError,
    ToolRetryError,
)
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool, WrapperToolset

from decopilot.agent import AgentError, AgentRequest, ToolCall, ToolError
from decopilot.agent.tools import calling
from decopilot.kit.redaction import redact
from decopilot_runner.default_agent.outputs import Outputs
from decopilot_runner.default_agent.results import NoJsonError
from decopilot_runner.default_agent.threads import OwnThreads

STOP_S = 1.0
"""How long a tool that is to stop may take to do so; behind it nobody waits for it any more."""
TEXT_LENGTH = 4_000
FAILED = "The tool failed unexpectedly."
INTERRUPTED = "The tool was interrupted."
NO_JSON = "The tool was executed, but what it returned can't be told: {why}."
TIMED_OUT = "The tool did not finish within {timeout_s:g} s. Whether it had an effect is not known."

_MEANT = (
    AgentError,
    ApprovalRequired,
    CallDeferred,
    SkipToolExecution,
    ToolFailedError,
    ToolRetryError,
)
"""What tells pydantic-ai, or the runner, what to do."""

log = structlog.get_logger()

Outcome = tuple[object, BaseException | None]


class Executor:
    """Executes the tools of an agent, each for `timeout_s` at most, or what its definition says."""

    def __init__(self, outputs: Outputs, timeout_s: float) -> None:
        self._outputs = outputs
        self._timeout_s = timeout_s
        self._threads = OwnThreads()
        self._abandoned: set[asyncio.Task[Outcome]] = set()

    async def execute(
        self, call: ToolCall, name: str, timeout_s: float | None, act: Callable[[], Awaitable[object]]
    ) -> object:
        """Execute a call.

        Raises:
            ToolFailed: it failed, in words for model and user.

        """
        timeout_s = timeout_s or self._timeout_s
        # A task of its own: one that takes its cancellation for something else is left behind.
        task = asyncio.create_task(self._outcome(call, act), name=f"tool {name}")
        try:
            await asyncio.wait([task], timeout=timeout_s)
        finally:
            is_late = not task.done()
            if is_late:
                await self._stop(task, name)
        if is_late:
            log.warning("tool_timed_out", tool=name, run_id=call.run_id, timeout_s=timeout_s)
            raise ToolFailed(TIMED_OUT.format(timeout_s=timeout_s))
        if task.cancelled():
            raise ToolFailed(INTERRUPTED)
        result, error = task.result()
        if error is not None:
            raise _told(error, name, call) from error
        try:
            return await self._outputs.fit(call, result)
        except NoJsonError as unfit:
            raise ToolFailed(NO_JSON.format(why=unfit.why)) from unfit

    async def _outcome(self, call: ToolCall, act: Callable[[], Awaitable[object]]) -> Outcome:
        try:
            with calling(call), Agent.using_thread_executor(self._threads):
                return await act(), None
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  a tool that calls `sys.exit` must not end the runner
            return None, error

    async def _stop(self, task: asyncio.Task[Outcome], name: str) -> None:
        self._abandoned.add(task)
        task.add_done_callback(self._abandoned.discard)
        task.cancel()
        await asyncio.wait([task], timeout=STOP_S)
        if not task.done():
            log.warning("tool_abandoned", tool=name)


@dataclass
class Executing(AbstractCapability[Any]):
    """Has all tools of a run executed by an executor."""

    executor: Executor
    request: AgentRequest

    def get_wrapper_toolset(self, toolset: AbstractToolset[Any]) -> AbstractToolset[Any]:
        """Wrap the tools."""
        return _ExecutingToolset(toolset, self.executor, self.request)


@dataclass
class _ExecutingToolset(WrapperToolset[Any]):
    executor: Executor
    request: AgentRequest

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> object:
        call = ToolCall(self.request.org, self.request.thread, self.request.run_id, str(ctx.tool_call_id))
        inner = super().call_tool
        return await self.executor.execute(call, name, tool.tool_def.timeout, lambda: inner(name, tool_args, ctx, tool))


def _told(error: BaseException, name: str, call: ToolCall) -> BaseException:
    # Whatever a tool gives as its text, a chunk must take it.
    if isinstance(error, ToolError):
        return ToolFailed(_shown(error.told))
    if isinstance(error, ToolFailed):
        return ToolFailed(_shown(error.message))
    if isinstance(error, ModelRetry):
        return ModelRetry(_shown(error.message))
    if isinstance(error, _MEANT):
        return error
    told = "".join(traceback.format_exception(error))
    log.warning("tool_failed", tool=name, run_id=call.run_id, exception=told)
    return ToolFailed(FAILED)


def _shown(text: str) -> str:
    text = redact(text.encode(errors="replace").decode())
    return text if len(text) <= TEXT_LENGTH else f"{text[:TEXT_LENGTH]}…"
