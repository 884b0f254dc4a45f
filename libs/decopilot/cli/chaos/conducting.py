"""Conducting: load and faults side by side, then quiet, then the evidence."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from decopilot.cli.chaos.doors import Doors
from decopilot.cli.chaos.evidence import Evidence, Limits, marks_in
from decopilot.cli.chaos.judging_runs import driver_of
from decopilot.cli.chaos.ledger import Ledger
from decopilot.cli.chaos.recorder import Recorder, whole
from decopilot.cli.chaos.sabotage import Ground, Saboteur
from decopilot.cli.chaos.schedule import WATCHERS, Schedule
from decopilot.cli.chaos.site import Reach
from decopilot.cli.chaos.truth import ThreadTruth, position_of, truths
from decopilot.cli.chaos.users import User
from decopilot.cli.chaos.verdict import Verdict
from decopilot.cli.chaos.viewers import FOR_GOOD_S, Event, Stream, Viewer
from decopilot.contracts import subjects
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.kit.connection import connected
from decopilot.log.store import Store, patiently
from decopilot.log.views import Views

ELSEWHERE = "elsewhere"
"""The org of a stranger."""
REST_S = 60.0
DRAINED_S = 45.0
CAUGHT_UP_S = 30.0
LOOK_S = 0.5
LATE = 5
"""So often all is waited for and read again."""
PROBES, PROBE_S = 6, 10.0

Start = Callable[[Coroutine[Any, Any, None]], None]


@asynccontextmanager
async def background() -> AsyncIterator[Start]:
    """Run tasks until the context is left; what went wrong in one is raised then."""
    tasks: list[asyncio.Task[None]] = []
    try:
        yield lambda coroutine: tasks.append(asyncio.create_task(coroutine))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


class Conductor:
    """Runs a schedule against a ground; what could not be waited for is a violation already."""

    def __init__(
        self,
        ground: Ground,
        schedule: Schedule,
        limits: Limits,
        notes: Path,
        verdict: Verdict,
        *,
        reach: Reach | None = None,
        stopping: asyncio.Event | None = None,
    ) -> None:
        self.evidence: Evidence | None = None
        self.phase = "begins"
        self._reach = reach or Reach()
        self._stopping = asyncio.Event() if stopping is None else stopping
        self._ground = ground
        self._schedule = schedule
        self._limits = limits
        self._notes = notes
        self.verdict = verdict
        self._names = schedule.names

    async def conduct(self) -> Evidence:
        """Do it all; once everything is to stop, only what was begun is waited for."""
        connector = aiohttp.TCPConnector(limit=0, force_close=True, resolver=self._reach.resolver)
        async with (
            connected(self._ground.operator, "chaos") as nc,
            Store(nc) as store,
            aiohttp.ClientSession(connector=connector) as session,
            background() as start,
        ):
            recorder = Recorder(store, frozenset(self._names), OrgId(self._reach.org))
            saboteur = Saboteur(self._ground, self._notes, lambda: self._drivers(recorder), self._reach.breaks)
            await recorder.listen()
            # What waits behind a person in threads of earlier rounds is looked after still.
            kept = await _at_work(store, subjects.JANITOR_CONSUMER)
            start(recorder.follow())
            doors, rival, stranger = await self._doors(session)
            viewers = [
                Viewer.of(plan, doors, self._schedule.seed)
                for thread in self._schedule.threads
                for plan in thread.viewers
            ]
            watchers = [
                Stream("watch", doors, self._chance(f"watcher/{number}"), (0.3, 8.0), (0.0, 0.5))
                for number in range(WATCHERS)
            ]
            marks = marks_in(self._notes)
            evidence = Evidence(self._limits, Ledger(), saboteur.hits, viewers, watchers, recorder)
            evidence.has_marks = self._reach.has_marks
            self.evidence, self.phase = evidence, "load and faults"

            def attach(thread: str, cursor: str, rewind: bool) -> None:  # noqa: FBT001  as users call it
                name = f"{thread}/behind-{len(evidence.ledger.snapshots)}"
                viewer = Viewer.behind(name, thread, cursor, doors, self._schedule.seed, rewind=rewind)
                viewers.append(viewer)
                start(viewer.stream.follow())

            # Of a deployment's stranger nobody says which org is theirs.
            abroad = None if self._reach.is_shared else replace(stranger, org=ELSEWHERE)
            users = [
                User(
                    plan,
                    evidence.ledger,
                    seed=self._schedule.seed,
                    doors=doors,
                    rival=rival,
                    stranger=stranger if self._reach.has_stranger else None,
                    abroad=abroad,
                    newest_event=lambda: recorder.newest_event,
                    attach=attach,
                    stopping=self._stopping,
                )
                for plan in self._schedule.threads
            ]
            for stream in (*watchers, *(viewer.stream for viewer in viewers)):
                start(stream.follow())
            await asyncio.gather(self._disturb(saboteur, doors, recorder), *(user.act() for user in users))
            for stream in (*watchers, *(viewer.stream for viewer in viewers)):
                stream.settled.set()
            self.phase = "waiting for what is to end"
            for _ in range(LATE):
                await self._quiet(evidence, doors, kept)
                self.phase = "reading what there is"
                newest = recorder.newest_event
                await evidence.gather(self._names, doors)
                # What nobody waited for any more may be taken up late, and begin a run while all is read.
                await recorder.read_events()
                if recorder.newest_event == newest:
                    break
            evidence.notes = marks_in(self._notes)[len(marks) :]
            evidence.failures += saboteur.failures
            await recorder.forget()
        return evidence

    async def _disturb(self, saboteur: Saboteur, doors: Doors, recorder: Recorder) -> None:
        """Do what the promises are to hold against."""
        del doors, recorder
        await saboteur.strike_all(self._schedule.faults, self._stopping)

    def _drivers(self, recorder: Recorder) -> dict[str, int]:
        return {
            thread.name: driver_of(thread.runs[active.run_id].starts[-1])
            for thread in self._truths(recorder)
            if (active := thread.state.active) is not None and active.attempt and not active.is_let_go
        }

    def _chance(self, name: str) -> random.Random:
        return random.Random(f"{self._schedule.seed}/{name}")

    async def _doors(self, session: aiohttp.ClientSession) -> Sequence[Doors]:
        gateways = (process for process in self._ground.processes() if process.service == "gateway")
        urls = self._reach.doors or tuple(f"http://127.0.0.1:{gateway.port}" for gateway in gateways)
        org = self._reach.org
        people = ((org, "me"), (org, "bob"), (ELSEWHERE, "eve"))
        return [Doors(session, urls, await asyncio.to_thread(self._ground.token, *who), org) for who in people]

    async def _quiet(self, evidence: Evidence, doors: Doors, kept: int) -> None:
        recorder = evidence.recorder

        async def at_work() -> list[str]:
            await patiently(recorder.read_events)
            return [f"{one.name} at {one.events[-1].sequence}" for one in self._truths(recorder) if _is_at_work(one)]

        async def undone() -> list[str]:
            if self._reach.is_shared:
                return [text async for text in _unpurged(recorder, self._truths(recorder))]
            queued = sum(len(thread.state.queue) for thread in self._truths(recorder))
            return [text async for text in _undone(recorder.store, kept + queued)]

        async def behind() -> list[str]:
            tips = {thread.name: thread.tip for thread in self._truths(recorder)}
            return list(_behind(evidence, tips))

        await self._wait("ONE-END", "are still at work", at_work, REST_S)
        # What is purged and erased in the end belongs to the evidence.
        await self._wait("PURGE", "are not done", undone, DRAINED_S + self._limits.purge_grace_s)
        await self._wait("NO-GAP", "have not caught up", behind, CAUGHT_UP_S)
        await self._probe(evidence, doors)

    def _truths(self, recorder: Recorder) -> list[ThreadTruth]:
        return list(truths(self._names, recorder, ()).values())

    async def _wait(self, promise: str, what: str, look: Callable[[], Awaitable[list[str]]], deadline_s: float) -> None:
        """Wait until nothing is found any more; what stands still for `deadline_s` is judged."""
        clock = asyncio.get_running_loop().time
        deadline, known = 0.0, None
        while found := await look():
            if found != known:
                deadline, known = clock() + deadline_s, found
            if clock() >= deadline:
                break
            await asyncio.sleep(LOOK_S)
        self.verdict.check(promise, not found, f"for {deadline_s:g} s these {what}: {found}")

    async def _probe(self, evidence: Evidence, doors: Doors) -> None:
        """Come with cursors whose frames are gone."""
        chance = self._chance("probes")
        recorder = evidence.recorder
        # What is stored meanwhile is not gone.
        recorded = sorted(recorder.frames.items())
        stored = {
            one.sequence
            for name in self._names
            for one in await whole(recorder.store, subjects.CHUNKS_STREAM, recorder.chunks_of(name))
        }
        gone = [frame for sequence, frame in recorded if sequence not in stored]
        for frame in chance.sample(gone, min(PROBES, len(gone))):
            if frame.thread in evidence.ledger.deleting:
                continue
            stream = Stream(
                f"decopilot/attach/{frame.thread}",
                doors,
                chance,
                (FOR_GOOD_S, FOR_GOOD_S),
                (0, 0),
                f"{frame.sequence}-0",
            )
            cursor = str(stream.cursor)
            evidence.first_after[frame.thread, cursor] = await _first_events(stream)


def _is_at_work(thread: ThreadTruth) -> bool:
    state = thread.state
    return thread.unended is not None or (bool(state.queue) and state.waiting is None)


async def _at_work(store: Store, consumer: str) -> int:
    info = await patiently(lambda: store.js.consumer_info(subjects.EVENTS_STREAM, consumer))
    return info.num_ack_pending or 0


async def _undone(store: Store, kept: int) -> AsyncIterator[str]:
    # The reactor behind those whose events it hears.
    for name in (
        subjects.TITLER_CONSUMER,
        subjects.RUNNER_CONSUMER,
        subjects.REACTOR_CONSUMER,
        subjects.JANITOR_CONSUMER,
    ):
        info = await patiently(lambda name=name: store.js.consumer_info(subjects.EVENTS_STREAM, name))  # type: ignore[misc]
        # Of what waits behind a person the janitor looks after the turn.
        waiting = kept if name == subjects.JANITOR_CONSUMER else 0
        if info.num_pending or info.num_ack_pending > waiting:
            yield f"{name}: {info.num_pending} to come, {info.num_ack_pending} at work"


async def _unpurged(recorder: Recorder, threads: Sequence[ThreadTruth]) -> AsyncIterator[str]:
    """Look only at threads of ours, where what is done for others never ends."""
    views = Views(recorder.store)
    for thread in threads:
        view, _ = await patiently(lambda name=thread.name: views.read_thread(recorder.org, ThreadId(name)))  # type: ignore[misc]
        left = await patiently(
            lambda name=thread.name: recorder.store.js.stream_info(  # type: ignore[misc]
                subjects.CHUNKS_STREAM, subjects_filter=recorder.chunks_of(name)
            )
        )
        frames = left.state.subjects or {}
        if any(count > 1 for count in frames.values()):
            yield f"{thread.name} has {sum(frames.values())} frames of {len(frames)} runs"
        if thread.deleted_at is None and thread.events and (view is None or view.sequence < thread.events[-1].sequence):
            yield f"{thread.name} has a view of {view and view.sequence}, not of {thread.events[-1].sequence}"
        if thread.deleted_at is not None and view is not None:
            yield f"{thread.name} is deleted and has a view"


def _behind(evidence: Evidence, tips: dict[str, tuple[int, int] | None]) -> Iterator[str]:
    for viewer in evidence.viewers:
        tip, cursor = tips[viewer.thread], viewer.stream.cursor
        if tip is not None and cursor is not None and position_of(cursor) < tip:
            yield f"{viewer.name} at {cursor} of {tip}"


async def _first_events(stream: Stream) -> list[Event]:
    following = asyncio.create_task(stream.follow())
    clock = asyncio.get_running_loop().time
    deadline = clock() + PROBE_S
    try:
        while clock() < deadline:
            if found := [event for connection in stream.connections for event in connection.events]:
                return found
            await asyncio.sleep(0.05)
    finally:
        following.cancel()
        await asyncio.wait([following])
    return []
