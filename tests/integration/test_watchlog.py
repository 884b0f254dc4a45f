"""The watch log: each event once, in order, however late a writer repeats itself."""

import asyncio
from datetime import UTC, datetime

import pytest

from decopilot.contracts import subjects
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.contracts.watch import WatchEvent
from decopilot.log.store import Store
from decopilot.log.watchlog import WatchConflictError, WatchLog

ORG, THREAD, OTHER = OrgId("org"), ThreadId("thread"), ThreadId("other")


def told(cause: str, thread: ThreadId = THREAD) -> WatchEvent:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    return WatchEvent(id=cause, type="decopilot.step", subject=thread, data={"n": 1}, time=at)


async def test_an_append_names_its_cause_which_is_the_threads_position(store: Store) -> None:
    log = WatchLog(store)
    assert (0, None) == await log.position(ORG, THREAD)
    first = await log.append(ORG, THREAD, "thread.status", told("17-0"), after=0)
    await log.append(ORG, OTHER, "step", told("18-0", OTHER), after=0)
    second = await log.append(ORG, THREAD, "finish", told("17-1"), after=first)
    assert (second, (17, 1)) == await log.position(ORG, THREAD)
    stored = await store.last(subjects.WATCH_STREAM, subjects.watch_of(ORG))
    assert stored is not None
    assert ("decopilot.watch.org.thread.finish", told("17-1")) == (
        stored.subject,
        WatchEvent.model_validate_json(stored.data),
    )


async def test_a_late_writer_conflicts_and_appends_nothing(store: Store) -> None:
    log = WatchLog(store)
    first = await log.append(ORG, THREAD, "step", told("17-0"), after=0)
    await log.append(ORG, THREAD, "finish", told("17-1"), after=first)
    for after in (0, first):
        with pytest.raises(WatchConflictError):
            await log.append(ORG, THREAD, "step", told("17-0"), after=after)
    assert (first + 1, (17, 1)) == await log.position(ORG, THREAD)


async def test_of_racing_writers_one_appends(store: Store) -> None:
    log = WatchLog(store)
    answers = await asyncio.gather(
        *(log.append(ORG, THREAD, "step", told("17-0"), after=0) for _ in range(10)), return_exceptions=True
    )
    assert [WatchConflictError] * 9 == [type(answer) for answer in answers if isinstance(answer, Exception)]


async def test_what_has_expired_is_as_if_it_had_never_been(store: Store) -> None:
    log = WatchLog(store)
    await log.append(ORG, THREAD, "step", told("17-0"), after=0)
    await store.js.purge_stream(subjects.WATCH_STREAM)
    assert (0, None) == await log.position(ORG, THREAD)
    await log.append(ORG, THREAD, "step", told("19-0"), after=0)
