"""What a tool of the default agent shows while it runs. docs/modes.md tells it at length."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import ParamSpec

Params = ParamSpec("Params")
Show = Callable[[object], Awaitable[None]]

_current: ContextVar[Show | None] = ContextVar("decopilot_show", default=None)


async def show(output: object) -> None:
    """Show viewers what the tool that is running has so far; each output takes the place of the one before.

    They are shown as they come, but not more than some ten a second, the latest always; what the tool returns is its
    output. Beside a tool call nothing happens.
    """
    if (current := _current.get()) is not None:
        await current(output)


def streamed(
    function: Callable[Params, AsyncGenerator[object, None]],
) -> Callable[Params, Coroutine[None, None, object]]:
    """Make a tool of an async generator function: what it yields is shown, and what it yields last is its output."""

    @wraps(function)
    async def last(*args: Params.args, **kwargs: Params.kwargs) -> object:
        output: object = None
        async with aclosing(function(*args, **kwargs)) as outputs:
            async for output in outputs:
                await show(output)
        return output

    # What it yields is not what the tool returns.
    last.__annotations__ = {**function.__annotations__, "return": object}
    return last


@contextmanager
def showing(current: Show) -> Iterator[None]:
    """Have `show` do this; for those who execute tools."""
    token = _current.set(current)
    try:
        yield
    finally:
        _current.reset(token)
