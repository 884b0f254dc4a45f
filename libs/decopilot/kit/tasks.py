"""Tasks that go on until they are told to end."""

import asyncio
from collections.abc import Collection
from typing import Any

CANCEL_AGAIN_S = 1.0


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks, those that join them meanwhile too, until all have ended; with what is for whoever awaits them.

    More than once: Python 3.11 loses a cancellation that meets an answer in one turn of the loop, and an agent may take
    one for the failure of its own call, and go on.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        # Not awaited themselves: our own cancellation must not be taken for theirs.
        await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
