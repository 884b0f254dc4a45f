"""Reading streams: one message, the last one, or all behind a sequence, in batches (batched direct get)."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.api import RawStreamMsg
from nats.js.errors import APIError, NotFoundError

BATCH = 512
BATCH_BYTES = 1 << 20
_PAUSE_S, _PAUSE_MAX_S = 0.02, 0.5
_END_OF_BATCH, _NOTHING_LEFT = "204", "404"

ResultT = TypeVar("ResultT")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as a stream holds it."""

    sequence: int
    subject: str
    headers: Mapping[str, str]
    data: bytes


class StoreError(Exception):
    """The broker refused a read."""

    def __init__(self, stream: str, status: str, description: str) -> None:
        self.stream, self.status, self.description = stream, status, description
        super().__init__(f"reading {stream} failed: {status} {description}")


class Store:
    """Reads streams over one connection; holds one subscription for all answers."""

    def __init__(self, nc: Client) -> None:
        self.nc = nc
        self.js = nc.jetstream(timeout=2)
        self._inbox = nc.new_inbox()
        self._answers: dict[str, asyncio.Queue[Msg]] = {}
        self._numbers = itertools.count()
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Self:
        self._subscription = await self.nc.subscribe(f"{self._inbox}.*", cb=self._answered)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._subscription is not None and not self.nc.is_closed:
            await self._subscription.unsubscribe()

    async def _answered(self, msg: Msg) -> None:
        queue = self._answers.get(msg.subject.rpartition(".")[2])
        if queue is not None:
            queue.put_nowait(msg)

    async def last(self, stream: str, subject: str) -> Stored | None:
        """Read the last message whose subject matches, from the stream's leader: never stale.

        Raises:
            nats.errors.Error, TimeoutError: no answer.

        """
        return await self._leader_get(stream, subject=subject)

    async def get(self, stream: str, sequence: int) -> Stored | None:
        """Read one message by its sequence, from the stream's leader; None where it is gone or never was.

        Raises:
            nats.errors.Error, TimeoutError: no answer.

        """
        return await self._leader_get(stream, seq=sequence)

    async def _leader_get(self, stream: str, **what: Any) -> Stored | None:  # noqa: ANN401  the broker's request
        try:
            found: RawStreamMsg = await self.js.get_msg(stream, **what)
        except NotFoundError:
            return None
        return Stored(found.seq or 0, found.subject or "", found.headers or {}, found.data or b"")

    async def first(self, stream: str, subject: str) -> Stored | None:
        """Read the first message whose subject matches."""
        messages, _ = await self._batch(stream, subject, 0, batch=1)
        return messages[0] if messages else None

    async def read(
        self, stream: str, subject: str, after: int, *, until: int = 0, timeout_s: float = 5.0
    ) -> AsyncIterator[list[Stored]]:
        """Yield all messages behind a sequence whose subjects match, in order, in batches of about 1 MiB.

        Ends at the end of what the answering replica holds, but not before `until`, the sequence of a
        matching message that the leader is known to hold.

        Raises:
            TimeoutError: a batch, or what lies before `until`, was not had in time.

        """
        clock = asyncio.get_running_loop().time
        behind_since = clock()
        while True:
            async with asyncio.timeout(timeout_s):
                messages, pending = await self._batch(stream, subject, after)
            if messages:
                after = messages[-1].sequence
                yield messages
                behind_since = clock()
            if pending == 0 and after >= until:
                return
            if not messages:
                # A replica that lags behind the leader catches up in milliseconds.
                if clock() - behind_since > timeout_s:
                    raise TimeoutError
                await asyncio.sleep(_PAUSE_S)

    async def _batch(self, stream: str, subject: str, after: int, batch: int = BATCH) -> tuple[list[Stored], int]:
        token = str(next(self._numbers))
        answers = self._answers[token] = asyncio.Queue()
        request = {"seq": after + 1, "batch": batch, "max_bytes": BATCH_BYTES, "next_by_subj": subject}
        try:
            await self.nc.publish(
                f"$JS.API.DIRECT.GET.{stream}", json.dumps(request).encode(), reply=f"{self._inbox}.{token}"
            )
            messages: list[Stored] = []
            while True:
                msg = await answers.get()
                headers = msg.headers or {}
                match headers.get("Status"):
                    case None:
                        messages.append(
                            Stored(int(headers["Nats-Sequence"]), headers["Nats-Subject"], headers, msg.data)
                        )
                    case s if s == _END_OF_BATCH:
                        return messages, int(headers["Nats-Num-Pending"])
                    case s if s == _NOTHING_LEFT:
                        return messages, 0
                    case status:
                        raise StoreError(stream, str(status), headers.get("Description", ""))
        finally:
            del self._answers[token]


WRONG_LAST_SEQUENCE = (10071, 10164)
UNAVAILABLE = 503
EXPECTED = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
UNCERTAIN = (NatsError, TimeoutError, OSError)
"""What a publish raises when nobody knows whether it was stored (no answer, no connection, no leader)."""


def is_conflict(error: APIError) -> bool:
    """Tell whether the guard refused the message: something else was appended before it."""
    return error.err_code in WRONG_LAST_SEQUENCE


async def patiently(call: Callable[[], Awaitable[ResultT]]) -> ResultT:
    """Repeat a call that is safe to repeat until the broker answers: a living run outlasts any outage."""
    pause_s = _PAUSE_S
    while True:
        try:
            return await call()
        except UNCERTAIN as error:
            if isinstance(error, APIError) and error.code != UNAVAILABLE:
                raise
            log.warning("broker_awaited", error=repr(error))
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, _PAUSE_MAX_S)
