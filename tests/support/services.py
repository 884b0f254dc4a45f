"""Services one by one: as programs in the test or as processes that it may kill; and what they leave behind."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from faststream import FastStream
from nats.js.api import ConsumerInfo

from decopilot.contracts import subjects
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.commands import Accepted, OnConflict, Reply
from decopilot.contracts.events import Recorded, RunCompleted, RunFailed, RunRequiresAction
from decopilot.contracts.frames import Frame
from decopilot.contracts.ids import MessageId, OrgId, RunId, ThreadId, UserId
from decopilot.contracts.interactions import Answer, Approval
from decopilot.contracts.messages import RunConfig, UIMessage
from decopilot.domain.commands import Cancel, Regenerate, Resolve, Send
from decopilot.log.chunklog import ChunkLog
from decopilot.log.journal import Journal
from decopilot.log.store import Store
from decopilot.log.views import Views
from support.brokers import login
from support.freezing import freeze
from support.stack import free_port

ORG = OrgId("acme")
USER = UserId("ada")
TESTS = Path(__file__).parents[1]
UNLIMITED = {f"{what}_per_{whose}": 1_000_000_000 for what in ("messages", "runs") for whose in ("user", "org")}
"""What `command` is told where it is not its limits that a test is about."""
READY_S = 30.0
DEADLINE_S = 20.0

ResultT = TypeVar("ResultT")
Terminal = RunCompleted | RunFailed | RunRequiresAction


def again_told(first: Reply) -> Reply:
    """What is answered to whoever asks for the same once more."""
    assert isinstance(first, Accepted), first
    return first.model_copy(update={"repeated": True})


async def until(look: Callable[[], Awaitable[ResultT]], deadline_s: float = DEADLINE_S) -> ResultT:
    """Look again and again until there is something to see; return it."""
    deadline = time.monotonic() + deadline_s
    while not (found := await look()):
        if time.monotonic() > deadline:
            msg = f"still {found!r} after {deadline_s} s"
            raise AssertionError(msg)
        await asyncio.sleep(0.02)
    return found


def http_status(port: int, path: str) -> int:
    """Ask a health route; 0 where nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


async def health(port: int, path: str) -> int:
    """Ask a health route without holding up the loop."""
    return await asyncio.to_thread(http_status, port, path)


@asynccontextmanager
async def running(app: FastStream, health_port: int) -> AsyncIterator[None]:
    """Run a program in this process while the context is open."""

    async def is_ready() -> bool:
        if task.done():
            task.result()
        return await health(health_port, "/readyz") == 200

    task = asyncio.create_task(app.run())
    try:
        await until(is_ready, READY_S)
        yield
    finally:
        app.exit()
        await task


@dataclass(slots=True)
class Service:
    """A service as a process of its own."""

    name: str
    log: Path
    process: subprocess.Popen[bytes]
    health_port: int

    async def ready(self, deadline_s: float = READY_S) -> None:
        """Wait until it is ready."""

        async def is_ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            return await health(self.health_port, "/readyz") == 200

        await until(is_ready, deadline_s)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if number == signal.SIGSTOP:
            freeze(self.process.pid)
        else:
            self.process.send_signal(number)

    async def ended(self) -> int:
        """Wait until it has ended; returns its exit status."""
        return await asyncio.to_thread(self.process.wait, READY_S)

    def lines(self) -> list[dict[str, Any]]:
        """What it logged; a line that is no JSON, as a traceback is, as `raw`."""
        found = []
        for line in self.log.read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"raw": line, "level": "error"})
        return found

    def complaints(self) -> list[dict[str, Any]]:
        """What it logged that no operator should have to read."""
        return [line for line in self.lines() if line.get("level") not in {"debug", "info", "warning"}]

    def cpu_s(self) -> float:
        """Processor time it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Services:
    """Starts services as processes, and ends them all. `environment` is told to each beside its settings."""

    folder: Path
    nats_url: str
    environment: Mapping[str, str] = field(default_factory=dict)
    started: list[Service] = field(default_factory=list)

    def start(self, name: str, **settings: object) -> Service:
        """Start a service; settings by their names."""
        port = free_port()
        instance = f"{name}-{len(self.started)}"
        told = (
            {"nats_url": self.nats_url, "health_port": port, "instance": instance, "titles": False}
            | UNLIMITED
            | login(name)
            | settings
        )
        environ = {f"DECOPILOT_{key.upper()}": str(value) for key, value in told.items()}
        log = self.folder / f"{instance}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", f"decopilot_{name}"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, "PYTHONPATH": str(TESTS), **environ, **self.environment},
            )
        service = Service(instance, log, process, port)
        self.started.append(service)
        return service

    def end(self) -> None:
        """End what still runs."""
        for service in self.started:
            if service.process.poll() is None:
                service.process.kill()
            service.process.wait()


@dataclass(slots=True)
class Record:
    """What the streams hold, and a hand to ask for runs without `command`."""

    store: Store
    journal: Journal
    views: Views
    frames: ChunkLog

    @classmethod
    def of(cls, store: Store) -> "Record":
        """Read by a store."""
        views = Views(store)
        return cls(store, Journal(store, views), views, ChunkLog(store))

    async def send(
        self,
        thread: str,
        text: str,
        message: str = "m1",
        on_conflict: OnConflict = "queue",
        config: RunConfig | None = None,
    ) -> RunId:
        """Ask for a run as `command` does."""
        command = Send(
            now=datetime.now(UTC),
            user_id=USER,
            role="member",
            message=UIMessage(id=MessageId(message), role="user", parts=[{"type": "text", "text": text}]),
            message_hash=text,
            config=config or RunConfig(),
            run_id=RunId(f"run-{thread}-{message}"),
            assistant_id=MessageId(f"answer-{thread}-{message}"),
            on_conflict=on_conflict,
        )
        executed = await self.journal.execute(ORG, ThreadId(thread), command)
        assert executed.appended is not None
        return command.run_id

    async def regenerate(self, thread: str, run: str, message: str | None = None) -> RunId:
        """Have a message answered anew as `command` does; returns the run that does so."""
        command = Regenerate(
            now=datetime.now(UTC),
            user_id=USER,
            role="member",
            message_id=None if message is None else MessageId(message),
            config=RunConfig(),
            run_id=RunId(f"run-{thread}-{run}"),
            assistant_id=MessageId(f"answer-{thread}-{run}"),
        )
        executed = await self.journal.execute(ORG, ThreadId(thread), command)
        assert executed.appended is not None
        return command.run_id

    async def cancel(self, thread: str, run: RunId | None = None) -> None:
        """Ask for a run's end as `command` does, without the signal that would wake its runner."""
        command = Cancel(now=datetime.now(UTC), user_id=USER, role="member", run_id=run)
        await self.journal.execute(ORG, ThreadId(thread), command)

    async def wake(self, run: RunId) -> None:
        """Have the run's runner look at the log."""
        await self.store.nc.publish(subjects.signal(ORG, run))

    async def resolve(self, thread: str, run: str, *resolutions: Approval | Answer) -> RunId:
        """Resolve what a thread waits for as `command` does; returns the run that would go on."""
        command = Resolve(
            now=datetime.now(UTC),
            user_id=USER,
            role="member",
            resolutions=resolutions,
            run_id=RunId(f"run-{thread}-{run}"),
        )
        await self.journal.execute(ORG, ThreadId(thread), command)
        return command.run_id

    async def sing(self, thread: str) -> int:
        """Append an event of a type that this version does not know; returns its sequence."""
        body = b'{"type":"thread_sang","at":"2030-01-01T00:00:00Z","user_id":"ada"}'
        subject = subjects.event(ORG, ThreadId(thread), "thread_sang")
        return await self.store.publish(subjects.EVENTS_STREAM, subject, body)

    async def events(self, thread: str) -> list[Recorded]:
        """The thread's events."""
        until_ = await self.journal.newest(ORG, ThreadId(thread))
        return await self.journal.events(ORG, ThreadId(thread), after=0, until=until_)

    async def event_types(self, thread: str) -> list[str]:
        """The types of the thread's events."""
        return [recorded.event.type for recorded in await self.events(thread)]

    async def frames_of(self, thread: str, run: RunId) -> list[Frame]:
        """The frames of a run."""
        last = await self.frames.last_of_run(ORG, ThreadId(thread), run)
        return [] if last is None else await self.frames.of_run(ORG, ThreadId(thread), run, until=last.sequence)

    async def chunks_of(self, thread: str, run: RunId) -> list[Chunk]:
        """The chunks of a run."""
        return [chunk for frame in await self.frames_of(thread, run) for chunk in frame.chunks]

    async def end_of(self, thread: str, run: RunId, deadline_s: float = DEADLINE_S) -> Terminal:
        """Wait for a run's terminal event."""

        async def look() -> Terminal | None:
            for recorded in await self.events(thread):
                if isinstance(recorded.event, Terminal) and recorded.event.run_id == run:
                    return recorded.event
            return None

        found = await until(look, deadline_s)
        assert found is not None
        return found

    async def frames_reach(self, thread: str, run: RunId, count: int) -> None:
        """Wait until a run has so many frames."""

        async def look() -> bool:
            return len(await self.frames_of(thread, run)) >= count

        await until(look)

    async def consumer(self, name: str) -> ConsumerInfo:
        """How a consumer stands."""
        found: ConsumerInfo = await self.store.js.consumer_info(subjects.EVENTS_STREAM, name)
        return found

    async def deliveries(self, name: str) -> int:
        """How often a consumer has handed out an item."""
        delivered = (await self.consumer(name)).delivered
        return 0 if delivered is None else int(delivered.consumer_seq)

    async def drained(self, name: str, deadline_s: float = DEADLINE_S) -> None:
        """Wait until a consumer has nothing left, neither to deliver nor to hear of."""

        async def look() -> bool:
            told = (await self.consumer(name)).config
            filters = told.filter_subjects or [told.filter_subject or ">"]
            lasts = [await self.store.last(subjects.EVENTS_STREAM, filter_) for filter_ in filters]
            newest = max((last.sequence for last in lasts if last is not None), default=0)
            info = await self.consumer(name)
            # What is stored it hears of a moment later: until then it has nothing left, either.
            heard = 0 if info.delivered is None else info.delivered.stream_seq
            return heard >= newest and (info.num_pending, info.num_ack_pending) == (0, 0)

        await until(look, deadline_s)

    async def watched(self, thread: str) -> list[dict[str, Any]]:
        """The thread's watch events in their order."""
        filter_ = subjects.watch_of_thread(ORG, ThreadId(thread))
        last = await self.store.last(subjects.WATCH_STREAM, filter_)
        return [
            json.loads(stored.data)
            async for batch in self.store.read(
                subjects.WATCH_STREAM, filter_, 0, until=0 if last is None else last.sequence
            )
            for stored in batch
        ]
