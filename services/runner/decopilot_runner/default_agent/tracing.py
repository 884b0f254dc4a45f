"""Tracing of model calls and tools, as pydantic-ai does it."""

from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.models.instrumented import InstrumentationSettings


def traced() -> Instrumentation:
    """Make what traces model calls and tools."""
    # Content stays out: what people write is theirs, and traces are read by others.
    return Instrumentation(settings=InstrumentationSettings(include_content=False, version=5))
