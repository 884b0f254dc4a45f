"""Tracing of model calls and tools, as pydantic-ai does it."""

from dataclasses import dataclass
from typing import Any

from pydantic_ai.capabilities import Instrumentation, WrapRunHandler
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.run import AgentRunResult
from pydantic_ai.tools import RunContext


@dataclass
class _ModelsAndTools(Instrumentation):
    """Traces model calls and tools below whatever calls the agent."""

    async def wrap_run(self, ctx: RunContext[Any], *, handler: WrapRunHandler) -> AgentRunResult[Any]:  # noqa: ARG002
        """Run without a span: the attempt's is it.

        One that dies with its runner would leave all that was done in it without a parent; the attempt's is written by
        whoever takes over (ADR 0046).
        """
        return await handler()


def traced() -> Instrumentation:
    """Make what traces model calls and tools."""
    # Content stays out: what people write is theirs, and traces are read by others.
    return _ModelsAndTools(settings=InstrumentationSettings(include_content=False, version=5))
