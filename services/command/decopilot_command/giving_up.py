"""Giving up: nothing is appended for a try that nobody waits for any more (ADR 0060)."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from nats.aio.client import Client
from nats.aio.msg import Msg

from decopilot.contracts import subjects
from decopilot.contracts.commands import TRY

KEPT_S = 60.0
"""A try may come behind its being given up: subscriptions are read by turns, and so are a cluster's servers."""
ID_LENGTH = 64

_at_work: ContextVar[tuple[str, int]] = ContextVar("_at_work", default=("", 0))


class GivenUpError(Exception):
    """Nobody waits for what comes of this try; whoever asked may have asked the same again, and been told."""


class Tries:
    """The tries that were given up, and which one the present task is at work on.

    `nc` is the connection on which threads are read: what a thread is read to be is then never newer than what is known
    to be given up.
    """

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self._given_up: dict[str, float] = {}

    async def listen(self) -> None:
        """Hear of what is given up."""
        await self._nc.subscribe(subjects.GIVEN_UP, cb=self._hear)

    async def _hear(self, message: Msg) -> None:
        now = time.monotonic()
        while self._given_up and next(iter(self._given_up.values())) < now - KEPT_S:
            del self._given_up[next(iter(self._given_up))]
        if len(message.data) <= ID_LENGTH:
            self._given_up[message.data.decode(errors="replace")] = now

    @contextmanager
    def working_on(self, headers: Mapping[str, str]) -> Iterator[None]:
        """Be at work on the try with these headers; one that tells no id is never given up."""
        token = _at_work.set((headers.get(TRY, ""), self._nc.stats["reconnects"]))
        try:
            yield
        finally:
            _at_work.reset(token)

    def check(self) -> None:
        """Raise `GivenUpError` if nobody waits any more for the try that is worked on, or nobody can tell.

        While the connection was away it may have been given up unheard.
        """
        id_, reconnects = _at_work.get()
        if id_ in self._given_up or (id_ and reconnects != self._nc.stats["reconnects"]):
            raise GivenUpError
