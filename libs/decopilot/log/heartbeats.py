"""Heartbeats: they keep a work item ours for as long as the broker confirms them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from nats.aio.client import Client
from nats.errors import Error as NatsError

from decopilot.log.topology import ACK_WAIT_S

HEARTBEAT_S = ACK_WAIT_S / 4
_IN_PROGRESS = b"+WPI"


class Heart:
    """Whether a work item is still ours, by this process's own clock."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._last = self._clock()
        self.is_let_go = False
        """Whether the item is not to be kept any more."""

    def beats(self) -> bool:
        """Tell whether the broker has surely not given the item to another yet."""
        return self._clock() - self._last < ACK_WAIT_S

    async def keep_beating(self, nc: Client, ack_subject: str, first_s: float) -> None:
        """Beat until one comes too late: it would take the item from whoever has it now."""
        await asyncio.sleep(first_s)
        # Python 3.11 loses a cancellation that meets an answer in one turn of the loop, so a flag says it again.
        while self.beats() and not self.is_let_go:
            began = self._clock()
            # Asked for an answer: what is only sent waits in the client's buffer while the broker is away.
            with suppress(NatsError, TimeoutError, OSError):
                await nc.request(ack_subject, _IN_PROGRESS, timeout=HEARTBEAT_S)
                self._last = began
            if not self.is_let_go:
                await asyncio.sleep(began + HEARTBEAT_S - self._clock())


@asynccontextmanager
async def heartbeats(
    nc: Client, ack_subject: str, *, on_lost: Callable[[], None], first_s: float = 0.0
) -> AsyncIterator[Heart]:
    """Keep a work item while the context is open; `on_lost` is called when it may be another's.

    What is mostly done within a moment costs nothing, if the first beat is so much later.
    """
    heart = Heart()
    task = asyncio.create_task(heart.keep_beating(nc, ack_subject, first_s), name="heartbeats")
    task.add_done_callback(lambda _: None if heart.is_let_go else on_lost())
    try:
        yield heart
    finally:
        heart.is_let_go = True
        task.cancel()
        # Not awaited itself: our own cancellation must not be taken for the task's.
        await asyncio.wait([task])
