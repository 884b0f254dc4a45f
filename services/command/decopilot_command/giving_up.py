"""Giving up: nothing is appended for a try when a later one was answered (ADR 0060)."""

import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from nats.aio.client import Client
from nats.aio.msg import Msg

from decopilot.contracts import subjects
from decopilot.contracts.commands import TRY
from decopilot.kit.connection import flushed

KEPT_S = 60.0
"""A try may come behind its being given up: subscriptions are read by turns, and so are a cluster's servers."""
ID_LENGTH = 64


class GivenUpError(Exception):
    """The try was given up, or may have been unheard: whoever asked was answered by another, or asks again."""


@dataclass(frozen=True, slots=True)
class Try:
    """A try as it was taken; one without an id is never given up."""

    id: str = ""
    reconnects: int = 0


_at_work: ContextVar[Try] = ContextVar("_at_work", default=Try())  # noqa: B039  it is frozen


class Tries:
    """The tries that were given up, and which one the present task is at work on.

    `nc` is the connection on which threads are read: what a thread is read to be is then never newer than what is known
    to be given up.
    """

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self._given_up: OrderedDict[str, float] = OrderedDict()

    async def listen(self) -> None:
        """Hear of what is given up."""
        await self._nc.subscribe(subjects.GIVEN_UP, cb=self._hear)
        await flushed(self._nc)

    async def _hear(self, message: Msg) -> None:
        now = time.monotonic()
        while self._given_up and next(iter(self._given_up.values())) < now - KEPT_S:
            self._given_up.popitem(last=False)
        if len(message.data) <= ID_LENGTH:
            self._given_up[message.data.decode(errors="replace")] = now

    def take(self, headers: Mapping[str, str]) -> Try:
        """Take what came with these headers, as soon as it came."""
        return Try(headers.get(TRY, ""), self._nc.stats["reconnects"])

    @contextmanager
    def working_on(self, taken: Try) -> Iterator[None]:
        """Be at work on a try."""
        token = _at_work.set(taken)
        try:
            yield
        finally:
            _at_work.reset(token)

    def check(self) -> None:
        """Raise `GivenUpError` if nothing is to be appended for the try that is worked on.

        While the connection was away it may have been given up unheard.
        """
        at_work = _at_work.get()
        if at_work.id and (at_work.id in self._given_up or at_work.reconnects != self._nc.stats["reconnects"]):
            raise GivenUpError
