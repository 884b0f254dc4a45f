"""What a tool of the default agent may say about itself and its failures, and learn about its call.

docs/tools.md tells it at length.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from decopilot.contracts.ids import OrgId, RunId, ThreadId

FunctionT = TypeVar("FunctionT", bound=Callable[..., object])

_HINTS = "__decopilot_hints__"


@dataclass(frozen=True, slots=True)
class ToolHints:
    """What is known of a tool: a `read_only` one changes nothing, an `idempotent` one may be executed again.

    One that `needs_approval` is asked for at every level.
    """

    read_only: bool = False
    idempotent: bool = False
    needs_approval: bool = False


def tool(
    *, read_only: bool = False, idempotent: bool = False, needs_approval: bool = False
) -> Callable[[FunctionT], FunctionT]:
    """Mark a function with what is known of it; it stays the function that it is."""
    hints = ToolHints(read_only=read_only, idempotent=idempotent, needs_approval=needs_approval)

    def mark(function: FunctionT) -> FunctionT:
        setattr(function, _HINTS, hints)
        return function

    return mark


def hints_of(function: object) -> ToolHints:
    """Tell what a function is marked with; nothing is known of one that is not."""
    hints = getattr(function, _HINTS, None)
    return hints if isinstance(hints, ToolHints) else ToolHints()


class ToolError(Exception):
    """A tool can't do what it was called for; its text, after the name of a subclass, is read by model and user."""

    @property
    def told(self) -> str:
        """What is told about it."""
        text = str(self) or "The tool failed."
        return text if type(self) is ToolError else f"{type(self).__name__}: {text}"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The call that a tool is executed for. `call_id` is unique in its thread, and the same in every attempt."""

    org: OrgId
    thread: ThreadId
    run_id: RunId
    call_id: str


_current: ContextVar[ToolCall] = ContextVar("decopilot_tool_call")


def current_call() -> ToolCall:
    """Tell which call is executed, in its task or thread.

    Raises:
        LookupError: none is.

    """
    return _current.get()


@contextmanager
def calling(call: ToolCall) -> Iterator[None]:
    """Make a call the current one; for those who execute tools."""
    token = _current.set(call)
    try:
        yield
    finally:
        _current.reset(token)
