"""Functions that block, each in a thread of its own: one that hangs holds up neither the event loop nor others."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class OwnThreads(Executor):
    """Starts a thread for each call. Nothing can stop one: it ends when its function does, or the process.

    Not a pool: a few functions that hang would use it up, and keep the process from ending.
    """

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Call a function in a new thread."""
        future = Future[R]()
        future.set_running_or_notify_cancel()

        def work() -> None:
            try:
                result = fn(*args, **kwargs)
            except StopIteration as error:
                # asyncio can't carry it: its waiter would wait for ever.
                future.set_exception(RuntimeError(repr(error)))
            except BaseException as error:  # noqa: BLE001  raised again where it is awaited
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=work, name="tool", daemon=True).start()
        return future
