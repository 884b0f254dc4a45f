"""Reactors as programs, and runs written by hand: what command and a runner write, step by step."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from decopilot.contracts.commands import OnConflict
from decopilot.contracts.events import RunRequested
from decopilot.contracts.frames import Cursor, Outcome
from decopilot.contracts.ids import MessageId, RunId, ThreadId
from decopilot.contracts.messages import RunConfig, UIMessage
from decopilot.domain.commands import Cancel, Delete, End, HandBack, Send, Start
from decopilot.domain.margins import closing, opening
from decopilot.kit.settings import Settings
from decopilot.log.pump import Pump
from decopilot_reactor.app import build
from decopilot_reactor.settings import ReactorSettings
from support.services import ORG, USER, Record, running
from support.stack import free_port

T1 = ThreadId("t1")
DONE = Outcome(status="completed", finish_reason="stop")


@asynccontextmanager
async def reactors(settings: Settings, copies: int = 2, **more: object) -> AsyncIterator[None]:
    """Run so many copies of the reactor while the context is open."""
    async with AsyncExitStack() as stack:
        for _ in range(copies):
            port = free_port()
            told = {"nats_url": settings.nats_url, "health_port": port, "look_s": 0.5} | more
            await stack.enter_async_context(running(build(ReactorSettings.model_validate(told)), port))
        yield


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class ByHand:
    """One thread, and a hand to write to it."""

    record: Record
    thread: ThreadId = T1

    async def post(self, message: str = "m1", *, on_conflict: OnConflict = "queue") -> RunId:
        """Ask for a run, which waits its turn on a busy thread."""
        command = Send(
            now=now(),
            user_id=USER,
            role="member",
            message=UIMessage(
                id=MessageId(message), role="user", parts=[{"type": "text", "text": f"secret of {message}"}]
            ),
            message_hash=message,
            config=RunConfig(),
            run_id=RunId(f"run-{self.thread}-{message}"),
            assistant_id=MessageId(f"answer-{self.thread}-{message}"),
            on_conflict=on_conflict,
        )
        await self.record.journal.execute(ORG, self.thread, command)
        return command.run_id

    async def cancel(self, run: RunId | None = None) -> None:
        command = Cancel(now=now(), user_id=USER, role="member", run_id=run)
        await self.record.journal.execute(ORG, self.thread, command)

    async def delete(self) -> int:
        """Delete the thread; returns its tombstone's sequence."""
        command = Delete(now=now(), user_id=USER, role="member")
        executed = await self.record.journal.execute(ORG, self.thread, command)
        assert executed.appended is not None
        return executed.sequence

    async def start(self, run: RunId, attempt: int = 1) -> None:
        command = Start(now=now(), run_id=run, attempt=attempt, runner_id="by hand")
        await self.record.journal.execute(ORG, self.thread, command)

    async def hand_back(self, run: RunId, attempt: int = 1) -> None:
        command = HandBack(now=now(), run_id=run, attempt=attempt, runner_id="by hand")
        await self.record.journal.execute(ORG, self.thread, command)

    async def pump(self, run: RunId, attempt: int = 1) -> Pump:
        """Make the pump of a run that has no frame yet."""
        state = (await self.record.journal.load(ORG, self.thread)).state
        return Pump(self.record.store, ORG, self.thread, run, attempt=attempt, previous=state.last_frame)

    async def requested(self, run: RunId) -> RunRequested:
        found = [recorded.event for recorded in await self.record.events(self.thread)]
        return next(event for event in found if isinstance(event, RunRequested) and event.run_id == run)

    async def open(self, run: RunId, pump: Pump) -> None:
        """Write how a run begins."""
        for chunk in [
            *opening(await self.requested(run), 1),
            {"type": "start-step"},
            {"type": "text-start", "id": "t"},
        ]:
            await pump.write(chunk)
        await pump.barrier()

    async def say(self, pump: Pump, words: str = "secret") -> None:
        await pump.write({"type": "text-delta", "id": "t", "delta": words})
        await pump.barrier()

    async def seal(self, run: RunId, pump: Pump, outcome: Outcome = DONE) -> Cursor:
        """Write how a run ends."""
        for chunk in ({"type": "text-end", "id": "t"}, {"type": "finish-step"}):
            await pump.write(chunk)
        return await pump.close(closing(await self.requested(run), outcome, {}), outcome)

    async def end(self, run: RunId, sealed: Cursor, outcome: Outcome = DONE) -> None:
        """Append a run's terminal event, and nothing else."""
        message = UIMessage(
            id=(await self.requested(run)).assistant_id,
            role="assistant",
            parts=[{"type": "step-start"}, {"type": "text", "text": "secret", "state": "done"}],
        )
        command = End(now=now(), run_id=run, attempt=1, outcome=outcome, message=message, end=sealed)
        await self.record.journal.execute(ORG, self.thread, command)

    async def whole_run(self, message: str = "m1", outcome: Outcome = DONE) -> RunId:
        """A run from its request to its end."""
        run = await self.post(message)
        await self.start(run)
        async with await self.pump(run) as pump:
            await self.open(run, pump)
            await self.say(pump)
            sealed = await self.seal(run, pump, outcome)
        await self.end(run, sealed, outcome)
        return run
