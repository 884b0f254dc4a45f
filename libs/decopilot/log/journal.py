"""The event log of a thread: load, decide, append under guard."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass

import structlog
from nats.aio.msg import Msg
from nats.js.errors import APIError
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind
from pydantic import ValidationError

from decopilot.contracts import subjects
from decopilot.contracts.events import (
    Event,
    Recorded,
    RunRequested,
    ThreadDeleted,
    UnknownEventError,
    decode_event,
    run_of,
)
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.domain.commands import Command, RefusedError, StaleError
from decopilot.domain.decider import decide
from decopilot.domain.thread import INITIAL, ThreadState, evolve
from decopilot.domain.tracing import LINK, ORG, THREAD, asked_in, attributes_of
from decopilot.log.store import EXPECTED, EXPECTED_SUBJECT, UNCERTAIN, Store, Stored, is_conflict, is_passing
from decopilot.log.views import Views

EVENT_ID = "Nats-Msg-Id"
CORRELATION = "Decopilot-Correlation"
CAUSATION = "Decopilot-Causation"
TRACE_HEADERS = ("tracestate", "baggage")
"""What tells of a trace beside `traceparent`."""
_PAUSE_S = 0.05

log = structlog.get_logger()
_tracer = trace.get_tracer("decopilot")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A thread at the last event that was read; sequence 0 before its first."""

    state: ThreadState
    sequence: int


@dataclass(frozen=True, slots=True)
class Executed:
    """What came of a command: the state behind it, and the event if one was appended."""

    state: ThreadState
    sequence: int
    appended: Recorded | None


def decode(stored: Stored) -> Recorded:
    """Read an event where it stands.

    Raises:
        UnknownEventError: this version does not know it; nothing may be folded past it.

    """
    org, thread, kind = subjects.owner_of(stored.subject)
    try:
        event = decode_event(stored.data)
    except ValidationError as error:
        raise UnknownEventError(stored.subject, stored.sequence) from error
    if event.type != kind:
        # The broker lets each service append some types, by their subjects: a body is not to say otherwise.
        raise UnknownEventError(stored.subject, stored.sequence)
    return Recorded(
        org=org,
        thread=thread,
        sequence=stored.sequence,
        event_id=stored.headers.get(EVENT_ID, ""),
        event=event,
        traceparent=stored.headers.get("traceparent"),
        stored_at=stored.stored_at,
        trace={name: stored.headers[name] for name in TRACE_HEADERS if name in stored.headers},
    )


def delivered(message: Msg) -> Recorded:
    """Read an event as a consumer was handed it.

    Raises:
        UnknownEventError: this version does not know it.

    """
    told = message.metadata
    return decode(Stored(told.sequence.stream, message.subject, message.headers or {}, message.data, told.timestamp))


class Journal:
    """Loads threads and appends to them; the append is the claim, there is no lock."""

    def __init__(self, store: Store, views: Views, *, id_factory: Callable[[], str] = lambda: uuid.uuid4().hex) -> None:
        self._store = store
        self._views = views
        self._new_id = id_factory

    async def load(self, org: OrgId, thread: ThreadId, *, until: int = 0) -> Loaded:
        """Fold a thread up to its newest event: the view's snapshot, then the events behind it.

        The leader is asked how far the thread is, at least `until`: a replica or a view that lags
        shows in no decision, so one that appends nothing, and has no guard of its own, holds too.

        Raises:
            UnknownEventError: the log was written by a newer version.

        """
        # Side by side: whichever is newer, what is folded was the thread's newest at some moment of this call.
        newest, snapshot = await asyncio.gather(self.newest(org, thread), self._views.snapshot(org, thread))
        until = max(until, newest)
        loaded = Loaded(INITIAL, 0) if snapshot is None else Loaded(snapshot.state, snapshot.sequence)
        base = loaded.sequence
        if loaded.sequence < until:
            for recorded in await self.events(org, thread, after=loaded.sequence, until=until):
                base = base or recorded.sequence
                loaded = Loaded(evolve(loaded.state, recorded.event), recorded.sequence)
        if loaded.state.is_deleted and loaded.state.active is not None and await self._is_gone(base):
            # The events were erased while they were read, which happens only once no run is active any more.
            return Loaded(loaded.state.model_copy(update={"active": None}), loaded.sequence)
        return loaded

    async def _is_gone(self, sequence: int) -> bool:
        return await self._store.get(subjects.EVENTS_STREAM, sequence) is None

    async def newest(self, org: OrgId, thread: ThreadId) -> int:
        """Read the sequence of the thread's last event, from the leader; 0 before its first."""
        last = await self._store.last(subjects.EVENTS_STREAM, subjects.events_of(org, thread))
        return 0 if last is None else last.sequence

    async def events(self, org: OrgId, thread: ThreadId, *, after: int, until: int = 0) -> list[Recorded]:
        """Read the thread's events behind a sequence, at least up to `until`, in order.

        Raises:
            UnknownEventError: one up to `until` is of a newer version; one behind it only ends what is returned.

        """
        return [recorded async for recorded in self.each(org, thread, after=after, until=until)]

    async def each(self, org: OrgId, thread: ThreadId, *, after: int, until: int = 0) -> AsyncGenerator[Recorded, None]:
        """Yield the thread's events as `events` reads them, without ever holding all of them.

        Raises:
            UnknownEventError: as `events` says.

        """
        stream, filter_ = subjects.EVENTS_STREAM, subjects.events_of(org, thread)
        async with aclosing(self._store.read(stream, filter_, after, until=until)) as batches:
            async for batch in batches:
                for stored in batch:
                    try:
                        recorded = decode(stored)
                    except UnknownEventError:
                        if stored.sequence <= until:
                            raise
                        return
                    yield recorded

    async def erase(self, org: OrgId, thread: ThreadId, *, before: int) -> None:
        """Remove the events of a deleted thread that stand before its tombstone, which keeps its appends guarded."""
        await self._store.js.purge_stream(subjects.EVENTS_STREAM, seq=before, subject=subjects.events_of(org, thread))

    async def execute(
        self,
        org: OrgId,
        thread: ThreadId,
        command: Command,
        *,
        cause: str = "",
        known: Loaded | None = None,
        before: Callable[[Event], Awaitable[None]] | None = None,
    ) -> Executed:
        """Load, decide, append under guard; after a conflict, load and decide again.

        The caller bounds the time. `cause` is the id of the event that led to this command. With `known`, what was
        loaded a moment ago, the guard of the append alone says whether that still held. `before` is called with each
        event that is about to be appended, again after a conflict; what it raises is raised, and nothing appended.

        Raises:
            RefusedError, StaleError: as the decider says, of the leader's newest state.
            MessageTooLargeError: the event does not fit a broker message; nothing was appended.

        """
        loaded, is_leaders = (known, False) if known is not None else (await self.load(org, thread), True)
        while True:
            try:
                event = decide(command, loaded.state)
            except (RefusedError, StaleError):
                if is_leaders:
                    raise
                event = None
            if event is not None:
                if before is not None:
                    await before(event)
                with _appending(org, thread, event) as span:
                    recorded = await self._append(org, thread, event, loaded.sequence, cause)
                    if recorded is None:
                        span.update_name(f"conflict {event.type}")
                if recorded is not None:
                    return Executed(evolve(loaded.state, event), recorded.sequence, recorded)
            elif is_leaders:
                # What appends nothing has no guard: it holds for the leader's newest state only.
                return Executed(loaded.state, loaded.sequence, None)
            loaded, is_leaders = await self.load(org, thread), True

    async def entomb(self, org: OrgId, thread: ThreadId, tombstone: ThreadDeleted, *, cause: str = "") -> bool:
        """Append the tombstone of a thread that is not there; False where it is, or was."""
        return await self._append(org, thread, tombstone, 0, cause) is not None

    async def last(self, org: OrgId, thread: ThreadId, event_type: str) -> Recorded | None:
        """Read the thread's last event of a type, from the leader.

        Raises:
            UnknownEventError: it was written by a newer version.

        """
        last = await self._store.last(subjects.EVENTS_STREAM, subjects.event(org, thread, event_type))
        return None if last is None else decode(last)

    async def _append(self, org: OrgId, thread: ThreadId, event: Event, expected: int, cause: str) -> Recorded | None:
        """Append under guard; None after a conflict. An unknown fate is cleared up before returning."""
        event_id = self._new_id()
        headers = {
            EXPECTED: str(expected),
            EXPECTED_SUBJECT: subjects.events_of(org, thread),
            EVENT_ID: event_id,
            CORRELATION: run_of(event) or thread,
        }
        if cause:
            headers[CAUSATION] = cause
        propagate.inject(headers)
        subject = subjects.event(org, thread, event.type)
        body = event.model_dump_json().encode()
        # What can't be read again would stop every fold of the thread there, for ever.
        decode_event(body)
        doubtful = False
        while True:
            try:
                sequence = await self._store.publish(subjects.EVENTS_STREAM, subject, body, headers)
            except APIError as error:
                if is_conflict(error) and not doubtful:
                    return None
                if not is_conflict(error) and not is_passing(error):
                    raise
            except UNCERTAIN as error:
                log.warning("append_uncertain", subject=subject, error=repr(error))
            else:
                return Recorded(org, thread, sequence, event_id, event, headers.get("traceparent"))
            doubtful = True
            # Another writer may have appended behind an append of ours whose answer was lost,
            # so one's own id is looked for in all that came, not only at the end.
            written = await self._written_behind(org, thread, expected)
            if written:
                return next((decode(stored) for stored in written if stored.headers.get(EVENT_ID) == event_id), None)
            await asyncio.sleep(_PAUSE_S)

    async def _written_behind(self, org: OrgId, thread: ThreadId, expected: int) -> list[Stored]:
        # As it is stored: what a newer version wrote behind an append of ours does not hide that.
        stream, filter_ = subjects.EVENTS_STREAM, subjects.events_of(org, thread)
        while True:
            try:
                until = await self.newest(org, thread)
                batches = self._store.read(stream, filter_, expected, until=until)
                return [stored async for batch in batches for stored in batch]
            except UNCERTAIN as error:
                if not is_passing(error):
                    raise
                log.warning("append_unverified", org=org, thread=thread, error=repr(error))
                await asyncio.sleep(_PAUSE_S)


def _appending(org: OrgId, thread: ThreadId, event: Event) -> AbstractContextManager[Span]:
    """Open the span of an append; where it is a waiting run's turn, linked to what asked for that run."""
    links = []
    if isinstance(event, RunRequested):
        asked = trace.get_current_span(propagate.extract(asked_in(event), Context())).get_span_context()
        if asked.is_valid and asked.trace_id != trace.get_current_span().get_span_context().trace_id:
            links.append(Link(asked, {LINK: "asked_for"}))
    return _tracer.start_as_current_span(
        f"append {event.type}",
        kind=SpanKind.PRODUCER,
        attributes={ORG: org, THREAD: thread, **attributes_of(event)},
        links=links,
        # What an error says may be what people wrote.
        record_exception=False,
        set_status_on_exception=False,
    )
