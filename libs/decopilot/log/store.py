"""The store: writing to streams, and reading them: one message, the last one, or all behind a sequence."""

import asyncio
import math
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self, TypeVar

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import RawStreamMsg
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from decopilot.contracts import subjects
from decopilot.log.direct import BATCH, DirectGet

_PAUSE_S, _PAUSE_MAX_S = 0.02, 0.5
_NO_MESSAGE = 10037
_TIME = "Nats-Time-Stamp"
_HEADER_RESERVE_BYTES = 256
"""What the client adds to the headers it is given."""

ResultT = TypeVar("ResultT")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as a stream holds it."""

    sequence: int
    subject: str
    headers: Mapping[str, str]
    data: bytes
    at: datetime | None = None

    @property
    def stored_at(self) -> datetime | None:
        """When it was stored, by the broker's clock; not known of what came live."""
        if self.at is not None or (told := self.headers.get(_TIME)) is None:
            return self.at
        # Nanoseconds are more than a datetime takes.
        return datetime.fromisoformat(re.sub(r"(\.\d{1,6})\d*Z$|Z$", r"\1+00:00", told))


class MessageTooLargeError(Exception):
    """The broker would not only refuse the message, but close the connection for good."""

    def __init__(self, subject: str, size_bytes: int, limit_bytes: int) -> None:
        self.subject, self.size_bytes, self.limit_bytes = subject, size_bytes, limit_bytes
        super().__init__(f"a message of {size_bytes} bytes on {subject} is above the limit of {limit_bytes}")


class Store:
    """Reads and writes streams over one connection."""

    def __init__(self, nc: Client) -> None:
        self.nc = nc
        self.js = nc.jetstream(timeout=2)
        self._direct = DirectGet(nc)

    async def __aenter__(self) -> Self:
        await self._direct.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._direct.close()

    async def publish(
        self,
        stream: str,
        subject: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = 2.0,
    ) -> int:
        """Store a message; returns its sequence.

        Raises:
            MessageTooLargeError: it does not fit; nothing was sent.
            nats.js.errors.APIError: the broker refused it.
            nats.errors.Error, TimeoutError, OSError: nobody knows whether it was stored.

        """
        headers = dict(headers or {})
        limit = self.nc.max_payload - _HEADER_RESERVE_BYTES
        # The broker counts the headers, the client's own check does not.
        size = len(body) + sum(len(name) + len(value.encode()) + 4 for name, value in headers.items())
        if size > limit:
            raise MessageTooLargeError(subject, size, limit)
        return (await self.js.publish(subject, body, timeout=timeout_s, stream=stream, headers=headers)).seq

    async def replace(self, bucket: str, key: str, body: bytes, revision: int, **headers: str) -> bool:
        """Write a bucket's key in the place of a revision (0: never written); False where it is no longer at that one.

        Raises:
            MessageTooLargeError, nats.errors.Error, TimeoutError, OSError: as `publish` says.

        """
        headers[EXPECTED] = str(revision)
        try:
            await self.publish(f"KV_{bucket}", subjects.bucket_key(bucket, key), body, headers)
        except APIError as error:
            if is_conflict(error):
                return False
            raise
        return True

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
        except NotFoundError as error:
            if error.err_code != _NO_MESSAGE:
                raise
            return None
        return Stored(found.seq or 0, found.subject or "", found.headers or {}, found.data or b"", found.time)

    async def first(self, stream: str, subject: str, *, timeout_s: float = 5.0) -> Stored | None:
        """Read the first message whose subject matches.

        Raises:
            nats.errors.Error, TimeoutError: no answer.

        """
        found, is_more = await self._direct.batch(stream, subject, 0, timeout_s=timeout_s, count=1)
        if is_more and not found:
            raise TimeoutError
        return _stored(found[0]) if found else None

    async def read(
        self, stream: str, subject: str, after: int, *, until: int = 0, timeout_s: float = 5.0, count: int = BATCH
    ) -> AsyncGenerator[list[Stored], None]:
        """Yield all messages behind a sequence whose subjects match, in order, in batches of `count` or about 1 MiB.

        Ends at the end of what the answering replica holds, but not before `until`, the sequence of a
        matching message that the leader held, unless that one is gone by now.

        Raises:
            nats.errors.Error, TimeoutError: nothing came for this long, or a replica stayed behind `until`.

        """
        clock = asyncio.get_running_loop().time
        behind_since = clock()
        while True:
            messages, is_more = await self._direct.batch(stream, subject, after, timeout_s=timeout_s, count=count)
            if messages:
                batch = [_stored(msg) for msg in messages]
                after = batch[-1].sequence
                yield batch
                behind_since = clock()
            if not is_more and after >= until:
                return
            if not messages:
                # A replica that lags behind the leader catches up in milliseconds; what was purged never comes.
                if not is_more and await self.get(stream, until) is None:
                    return
                if clock() - behind_since > timeout_s:
                    raise TimeoutError
                await asyncio.sleep(_PAUSE_S)


def _stored(msg: Msg) -> Stored:
    headers = msg.headers or {}
    return Stored(int(headers["Nats-Sequence"]), headers["Nats-Subject"], headers, msg.data)


WRONG_LAST_SEQUENCE = (10071, 10164)
EXPECTED = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
UNCERTAIN = (NatsError, TimeoutError, OSError)
"""What a publish raises when nobody knows whether it was stored (no answer, no connection, no leader)."""


def is_conflict(error: Exception) -> bool:
    """Tell whether the guard refused the message: something else was appended before it."""
    return isinstance(error, APIError) and error.err_code in WRONG_LAST_SEQUENCE


def is_passing(error: Exception) -> bool:
    """Tell whether asking again may help: no answer, no leader, no room."""
    return isinstance(error, ServiceUnavailableError) or not isinstance(error, APIError)


async def patiently(call: Callable[[], Awaitable[ResultT]], *, patience_s: float = math.inf) -> ResultT:
    """Repeat a call that is safe to repeat until the broker answers: a living run outlasts any outage.

    Whoever has less patience gets the last failure, so long after the first one; what an answer takes does not count.
    """
    clock = asyncio.get_running_loop().time
    failing_since: float | None = None
    pause_s = _PAUSE_S
    while True:
        try:
            return await call()
        except UNCERTAIN as error:
            failing_since = clock() if failing_since is None else failing_since
            if not is_passing(error) or clock() - failing_since >= patience_s:
                raise
            log.warning("broker_awaited", error=repr(error))
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, _PAUSE_MAX_S)
