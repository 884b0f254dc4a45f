"""The Python client against a real gateway and a real command service; the test itself is the runner."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

import pytest
from aiohttp import web

from decopilot.cli.broker import EmbeddedBroker
from decopilot.client import Accepted, ApiError, Approval, Client, Event, RunResult, UnreachableError
from decopilot.contracts import subjects
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.events import FailureReason
from decopilot.contracts.ids import ThreadId
from decopilot.domain.commands import Start
from decopilot.domain.fold import Fold
from decopilot.domain.margins import opening, rewind_chunk
from decopilot.domain.outcome import forced, resolve
from decopilot.domain.resuming import resume_point
from decopilot.kit.settings import Settings
from decopilot.log.chunklog import ChunkLog
from decopilot.log.ending import Attempt, Ender
from decopilot.log.history import Histories
from decopilot.log.journal import Journal
from decopilot.log.pump import Pump
from decopilot.log.store import Store
from decopilot.log.views import Views
from decopilot_command.app import build
from support.brokers import as_user
from support.gateways import ORG, Gateway, make_token, running_gateway, until
from support.services import running
from support.stack import free_port

THREAD = "t1"
DEADLINE_S = 30
STEP: list[Chunk] = [{"type": "start-step"}]
CALL: list[Chunk] = [
    {"type": "start-step"},
    {"type": "tool-input-available", "toolCallId": "c1", "toolName": "rm", "input": {}},
    {"type": "tool-approval-request", "toolCallId": "c1", "approvalId": "p1"},
]


@dataclass(slots=True)
class Attempting:
    """One attempt at a run, under way."""

    ender: Ender
    attempt: Attempt
    pump: Pump
    fold: Fold

    async def write(self, *chunks: Chunk) -> None:
        """Write one frame."""
        for chunk in chunks:
            self.fold.add(chunk)
        await self.pump.frame(list(chunks))

    async def say(self, text: str, *, ends: bool = True) -> None:
        """Write a step that says something, a delta a word."""
        id_ = f"t{len(self.fold.message().parts)}"
        deltas: list[Chunk] = [
            {"type": "text-delta", "id": id_, "delta": word} for word in text.replace(" ", " \0").split("\0")
        ]
        end: list[Chunk] = [{"type": "text-end", "id": id_}, {"type": "finish-step"}] if ends else []
        for chunk in [*STEP, {"type": "text-start", "id": id_}, *deltas, *end]:
            await self.write(chunk)

    async def end(self, reason: FailureReason | None = None) -> None:
        """End the run: as its message implies, or for a reason."""
        message = self.fold.message()
        outcome = resolve("stop", message) if reason is None else forced(message, reason)
        await self.ender.end(self.attempt, self.fold, self.pump, outcome)


@dataclass(slots=True)
class Runner:
    """A runner that does what the test says: every event and frame is as runners write them."""

    store: Store
    journal: Journal
    histories: Histories
    ender: Ender

    @classmethod
    def of(cls, store: Store) -> "Runner":
        views = Views(store)
        journal = Journal(store, views)
        histories = Histories(journal, views)
        return cls(store, journal, histories, Ender(store, journal, histories))

    @asynccontextmanager
    async def attempting(self, run_id: str | None = None, number: int = 1) -> AsyncIterator[Attempting]:
        """Begin an attempt at the thread's active run, as soon as that is there."""
        attempt = await self._start(run_id, number)
        fold = Fold(attempt.requested.assistant_id)
        async with self.ender.fencing_pump(attempt) as (pump, fence):
            going = Attempting(self.ender, attempt, pump, fold)
            if fence is None:
                await going.write(*opening(attempt.requested, number, await self.ender.earlier(attempt)))
            else:
                frames = await ChunkLog(self.store).of_run(ORG, attempt.thread, attempt.run, until=fence.sequence)
                point = resume_point(attempt.requested.assistant_id, frames)
                going.fold = point.fold
                rewind = rewind_chunk(attempt.requested, number, point.fold.message())
                await pump.frame([rewind], void=point.void, rewinds=True)
            yield going

    async def _start(self, run_id: str | None, number: int) -> Attempt:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                state = (await self.journal.load(ORG, ThreadId(THREAD))).state
                if state.active is not None and run_id in {state.active.run_id, None}:
                    break
                await asyncio.sleep(0.01)
        start = Start(now=datetime.now(UTC), run_id=state.active.run_id, attempt=number, runner_id="r")
        started = await self.journal.execute(ORG, ThreadId(THREAD), start)
        return replace(Attempt.of(ORG, ThreadId(THREAD), started.state), number=number)

    async def answer(self, text: str) -> None:
        """Drive a whole run."""
        async with self.attempting() as going:
            await going.say(text)
            await going.end()

    async def purge(self) -> None:
        """Let go of all frames but the last, as happens to runs that ended long ago."""
        await self.store.js.purge_stream(subjects.CHUNKS_STREAM, keep=1)


class Line:
    """A way to the gateway that can be cut, and on which answers can be held."""

    def __init__(self, to_port: int) -> None:
        self.port = free_port()
        self.talks = asyncio.Event()
        self.talks.set()
        self._to_port = to_port
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """Break all connections."""
        for writer in self._writers:
            writer.transport.abort()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry a connection, in a task of its own."""
        task = asyncio.create_task(self._carry_both(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End everything."""
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry_both(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        ends = {writer, far_writer}
        self._writers |= ends
        ways = [self._carry(reader, far_writer), self._carry(far_reader, writer, held=True)]
        tasks = [asyncio.create_task(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._writers -= ends
            for end in ends:
                end.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, held: bool = False) -> None:
        while data := await reader.read(1 << 16):
            if held:
                await self.talks.wait()
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def connected_line(to_port: int) -> AsyncIterator[Line]:
    line = Line(to_port)
    server = await asyncio.start_server(line.accept, "127.0.0.1", line.port)
    try:
        yield line
    finally:
        server.close()
        await line.close()


@dataclass(slots=True)
class Scene:
    """A gateway, a command service, a way between the client and the gateway that can be cut, and a runner."""

    gateway: Gateway
    line: Line
    runner: Runner
    seen: list[Chunk] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where the way to the gateway begins."""
        return f"http://127.0.0.1:{self.line.port}"

    def client(self, **more: float) -> Client:
        return Client(self.url, make_token, ORG, **more)

    async def run(self, client: Client, text: str = "hello", **more: str) -> RunResult:
        async with asyncio.timeout(DEADLINE_S):
            return await client.run_and_wait(THREAD, text, on_chunk=self.seen.append, **more)  # type: ignore[arg-type]

    @property
    def text(self) -> str:
        """What was seen of text."""
        return "".join(chunk["delta"] for chunk in self.seen if chunk["type"] == "text-delta")


@asynccontextmanager
async def commanding(settings: Settings) -> AsyncIterator[None]:
    port = free_port()
    async with running(build(as_user(settings.model_copy(update={"health_port": port}), "command")), port):
        yield


@pytest.fixture
async def scene(own_broker: EmbeddedBroker, store: Store, settings: Settings) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(commanding(settings))
        gateway = await stack.enter_async_context(running_gateway(own_broker.url))
        line = await stack.enter_async_context(connected_line(int(gateway.url.rpartition(":")[2])))
        yield Scene(gateway, line, Runner.of(store))


def texts(result: RunResult) -> list[str]:
    assert result.message is not None
    return [part["text"] for part in result.message.parts if part["type"] == "text"]


async def test_a_run_is_waited_for_and_its_chunks_are_seen_once_in_order(scene: Scene) -> None:
    async with scene.client() as client, asyncio.TaskGroup() as tasks:
        tasks.create_task(scene.runner.answer("all is well"))
        result = await scene.run(client, message_id="m1")
        history = await client.messages(THREAD)
    assert ("completed", None, "stop", ()) == (result.status, result.reason, result.finish_reason, result.pending)
    assert ["all is well"] == texts(result)
    assert "all is well" == scene.text
    assert ["start", "data-run", "data-user-message"] == [chunk["type"] for chunk in scene.seen[:3]]
    assert "finish" == scene.seen[-1]["type"]
    assert ["m1", "user", "assistant"] == [
        history.messages[0].id,
        history.messages[0].role,
        history.messages[-1].role,
    ]
    assert result.message == history.messages[-1]


async def test_connections_that_are_cut_again_and_again_cost_no_chunk_and_repeat_none(scene: Scene) -> None:
    words = " ".join(map(str, range(200)))

    async def cut() -> None:
        for cuts in range(10):
            await until(partial(_has_seen, scene, 10 + 20 * cuts), deadline_s=DEADLINE_S)
            scene.line.cut()

    async with scene.client() as client, asyncio.TaskGroup() as tasks:
        tasks.create_task(cut())
        tasks.create_task(scene.runner.answer(words))
        result = await scene.run(client)
    assert [words] == texts(result)
    assert words == scene.text


async def test_after_a_takeover_the_result_is_what_history_holds(scene: Scene) -> None:
    async def drive() -> None:
        async with scene.runner.attempting() as first:
            await first.say("kept")
            await first.say("void void", ends=False)
        await until(lambda: "void void" in scene.text)
        async with scene.runner.attempting(number=2) as second:
            await second.say("and new")
            await second.end()

    async with scene.client() as client, asyncio.TaskGroup() as tasks:
        tasks.create_task(drive())
        result = await scene.run(client)
        history = await client.messages(THREAD)
    assert ["kept", "and new"] == texts(result)
    assert result.message == history.messages[-1]
    kinds = [chunk["type"] for chunk in scene.seen]
    assert (1, 0) == (kinds.count("data-run-rewind"), kinds.count("data-thread-reset"))


async def test_a_queued_run_is_waited_for_behind_the_one_before_it(scene: Scene) -> None:
    async with scene.client(silence_s=0.2) as client:
        await client.send(THREAD, "first")
        async with scene.runner.attempting() as going:
            waiting = asyncio.create_task(scene.run(client, "second"))
            await until(lambda: _is_queued(scene))
            await going.say("one")
            await going.end()
        await scene.runner.answer("two")
        result = await waiting
    assert ["two"] == texts(result)
    assert "two" == scene.text


async def test_a_message_that_is_taken_back_ends_the_wait_for_it(scene: Scene) -> None:
    async with scene.client(silence_s=0.2) as client:
        await client.send(THREAD, "first")
        waiting = asyncio.create_task(scene.run(client, "second", message_id="m2"))
        await until(lambda: _is_queued(scene))
        assert ["m2"] == [queued.message_id for queued in await client.queue(THREAD)]
        receipt = await client.withdraw(THREAD, "m2")
        result = await waiting
    assert "withdrawn" == receipt.status
    assert ("withdrawn", None) == (result.status, result.message)
    assert [] == scene.seen


async def test_a_run_that_ended_unseen_and_whose_chunks_are_gone_is_read_from_the_history(scene: Scene) -> None:
    is_cut_off = asyncio.Event()

    def cut_off(_: Accepted) -> None:
        scene.line.talks.clear()
        scene.line.cut()
        is_cut_off.set()

    async with scene.client() as client:
        waiting = asyncio.create_task(client.run_and_wait(THREAD, "hello", on_accepted=cut_off))
        await scene.runner.answer("nobody saw it")
        await scene.runner.purge()
        await is_cut_off.wait()
        scene.line.talks.set()
        scene.line.cut()
        # Well before it would be asked about for its silence.
        async with asyncio.timeout(10):
            result = await waiting
        # And whoever asks again, at any time, gets the same.
        again = await client.send(THREAD, "hello", message_id=(await client.messages(THREAD)).messages[0].id)
    assert ["nobody saw it"] == texts(result)
    assert (result.run_id, "completed") == (again.run_id, again.status)


async def test_a_run_whose_beginning_is_lost_while_it_goes_on_is_read_from_the_history(scene: Scene) -> None:
    is_cut_off = asyncio.Event()

    def cut_off(_: Accepted) -> None:
        scene.line.talks.clear()
        scene.line.cut()
        is_cut_off.set()

    async with scene.client() as client:
        waiting = asyncio.create_task(client.run_and_wait(THREAD, "hello", on_accepted=cut_off))
        async with scene.runner.attempting() as going:
            await is_cut_off.wait()
            await going.say("lost")
            await scene.runner.purge()
            scene.line.talks.set()
            scene.line.cut()
            await going.say("and seen")
            await going.end()
        async with asyncio.timeout(DEADLINE_S):
            result = await waiting
    assert ["lost", "and seen"] == texts(result)


async def test_a_run_that_was_cancelled_says_so(scene: Scene) -> None:
    async with scene.client() as client:
        waiting = asyncio.create_task(scene.run(client))
        async with scene.runner.attempting() as going:
            await going.say("half", ends=False)
            receipt = await client.cancel(THREAD, going.attempt.run)
            await going.end("cancelled")
        result = await waiting
    assert ("cancelling", going.attempt.run) == (receipt.status, receipt.run_id)
    assert ("failed", "cancelled", ["half"]) == (result.status, result.reason, texts(result))


async def test_a_run_that_waits_for_approval_goes_on_once_it_has_it(scene: Scene) -> None:
    async with scene.client() as client:
        waiting = asyncio.create_task(scene.run(client))
        async with scene.runner.attempting() as going:
            await going.write(*CALL)
            await going.end()
        result = await waiting
        assert ("requires_action", ["p1"]) == (result.status, [waits.id for waits in result.pending])
        assert result.pending == (await client.thread(THREAD)).pending
        assert result.pending == (await client.messages(THREAD)).pending
        approval = Approval(approval_id="p1", approved=True)
        goes_on = asyncio.create_task(client.resolve_and_wait(THREAD, [approval]))
        async with scene.runner.attempting() as second:
            await second.write({"type": "tool-output-available", "toolCallId": "c1", "output": "gone"})
            await second.say("done")
            await second.end()
        async with asyncio.timeout(DEADLINE_S):
            end = await goes_on
        again = await client.resolve(THREAD, [approval])
        with pytest.raises(ApiError) as refused:
            await client.resolve(THREAD, [Approval(approval_id="p1", approved=False)])
    assert ("completed", ["done"]) == (end.status, texts(end))
    assert result.message is not None
    assert end.message is not None
    assert result.message.id == end.message.id
    assert again.run_id == end.run_id
    assert (409, "interaction_resolved") == (refused.value.status, refused.value.code)
    assert refused.value.outcome is not None


async def test_threads_are_shown_renamed_and_deleted(scene: Scene) -> None:
    async with scene.client() as client:
        accepted = await client.send(THREAD, "hello")
        thread = await client.thread(THREAD)
        assert thread.active_run is not None
        assert (accepted.run_id, False) == (thread.active_run.run_id, thread.active_run.cancel_requested)
        await client.retitle(THREAD, "A better title")
        assert "archived" == (await client.archive(THREAD)).status
        assert (await client.thread(THREAD)).archived
        assert "unarchived" == (await client.archive(THREAD, archived=False)).status
        assert "A better title" == (await client.thread(THREAD)).title
        await client.delete(THREAD)
        with pytest.raises(ApiError) as refused:
            await client.thread(THREAD)
    assert (404, "thread_not_found") == (refused.value.status, refused.value.code)


async def test_the_wait_for_a_run_of_a_deleted_thread_ends(scene: Scene) -> None:
    async with scene.client(silence_s=0.2) as client:
        waiting = asyncio.create_task(scene.run(client))
        await until(lambda: _is_active(scene))
        await client.delete(THREAD)
        with pytest.raises(ApiError) as refused:
            await waiting
    assert "thread_not_found" == refused.value.code


async def test_attached_one_sees_every_run_from_a_cursor_on_across_a_gateway_that_leaves(
    own_broker: EmbeddedBroker, store: Store, settings: Settings
) -> None:
    runner, port = Runner.of(store), free_port()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(commanding(settings))
        client = await stack.enter_async_context(Client(f"http://127.0.0.1:{port}", make_token(), ORG))
        events = await stack.enter_async_context(aclosing(client.attach(THREAD, "0-0")))
        for text in ("one", "two"):
            async with running_gateway(own_broker.url, http_port=port):
                await client.send(THREAD, text)
                await runner.answer(text)
                assert text == await _text_until_finish(events)


async def test_what_time_cures_is_asked_again_as_the_same_message_and_not_before_it_is_wished() -> None:
    async with answering(503, 429, 502) as way, Client(way.url, make_token(), ORG) as client:
        accepted = await client.send(THREAD, "hello")
    assert "r1" == accepted.run_id
    assert 4 == len(way.bodies)
    assert 1 == len(set(way.bodies))
    assert way.at[1] - way.at[0] >= 1


async def test_who_waits_for_a_message_to_be_taken_is_told_why_and_for_how_long() -> None:
    waits: list[tuple[str, float]] = []
    taken = asyncio.Event()
    async with answering(503, 429) as way, Client(way.url, make_token(), ORG) as client:
        waiting = asyncio.create_task(
            client.run_and_wait(
                THREAD,
                "hello",
                on_accepted=lambda _: taken.set(),
                on_wait=lambda error, seconds: waits.append((str(error), seconds)),
            )
        )
        async with asyncio.timeout(DEADLINE_S):
            await taken.wait()
        told = [*waits]
        waiting.cancel()
        await asyncio.wait((waiting,))
    assert ["test (503): As asked.", "test (429): As asked."] == [why for why, _ in told]
    assert told[0][1] >= 1


async def test_what_time_does_not_cure_is_raised_at_once() -> None:
    async with answering(409) as way, Client(way.url, make_token(), ORG) as client:
        with pytest.raises(ApiError) as refused:
            await client.send(THREAD, "hello")
        assert (409, "test", "As asked.") == (refused.value.status, refused.value.code, refused.value.detail)
        assert {"why": "so"} == refused.value.outcome
        assert 1 == len(way.bodies)


async def test_an_answer_that_was_lost_is_asked_for_again_unless_that_could_be_another_wish() -> None:
    async with answering(0, 0) as way, Client(way.url, make_token(), ORG) as client:
        with pytest.raises(UnreachableError):
            await client.cancel(THREAD)
        assert 1 == len(way.bodies)
        await client.cancel(THREAD, "r1")
    assert ["", '{"runId": "r1"}', '{"runId": "r1"}'] == way.bodies


async def test_who_does_not_answer_within_the_deadline_is_unreachable() -> None:
    async with Client(f"http://127.0.0.1:{free_port()}", make_token(), ORG, deadline_s=0.5) as client:
        with pytest.raises(UnreachableError, match=r"within 0\.5 s"):
            await client.send(THREAD, "hello")


async def test_an_attachment_comes_back_until_it_is_refused_for_good_each_time_with_a_token_of_the_moment() -> None:
    tokens = iter("abcd")
    async with answering(503, 429, 502, 500) as way, Client(way.url, lambda: next(tokens), ORG) as client:
        with pytest.raises(ApiError) as refused:
            await anext(client.attach(THREAD))
    assert 500 == refused.value.status
    assert [f"Bearer {letter}" for letter in "abcd"] == way.tokens


async def test_who_may_not_read_is_told_so_instead_of_waiting(scene: Scene) -> None:
    async with Client(scene.url, make_token(), "elsewhere") as client:
        with pytest.raises(ApiError) as refused:
            await anext(client.attach(THREAD))
    assert (403, "forbidden") == (refused.value.status, refused.value.code)


async def test_where_no_gateway_is_that_is_said() -> None:
    async with answering(200) as way, Client(way.url, make_token(), ORG) as client:
        with pytest.raises(ApiError, match="no gateway"):
            await anext(client.attach(THREAD))


@dataclass(slots=True)
class Way:
    """A server that stands where a gateway should, and what was asked of it."""

    url: str = ""
    bodies: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    at: list[float] = field(default_factory=list)


@asynccontextmanager
async def answering(*statuses: int) -> AsyncIterator[Way]:
    """Answer requests with these statuses, 0 with none at all; then accept what comes."""
    way = Way()
    left = list(statuses)

    async def handle(request: web.Request) -> web.Response:
        way.bodies.append(await request.text())
        way.tokens.append(request.headers["Authorization"])
        way.at.append(asyncio.get_running_loop().time())
        if not left:
            told = {"taskId": THREAD, "runId": "r1", "messageId": "m1", "status": "in_progress", "cursor": "0-0"}
            return web.json_response(told, status=202)
        status = left.pop(0)
        if status == 0:
            assert request.transport is not None
            request.transport.abort()
        problem = {"code": "test", "detail": "As asked.", "outcome": {"why": "so"}}
        return web.json_response(problem, status=status or 200, headers={"Retry-After": "1"} if status == 503 else {})

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handle)
    serving = web.AppRunner(app)
    await serving.setup()
    port = free_port()
    await web.TCPSite(serving, "127.0.0.1", port).start()
    way.url = f"http://127.0.0.1:{port}"
    try:
        yield way
    finally:
        await serving.cleanup()


async def _text_until_finish(events: AsyncIterator[Event]) -> str:
    text = ""
    async with asyncio.timeout(DEADLINE_S):
        async for event in events:
            if event.chunk["type"] == "text-delta":
                text += event.chunk["delta"]
            if event.chunk["type"] == "finish":
                return text
    raise AssertionError(text)


def _has_seen(scene: Scene, chunks: int) -> bool:
    return len(scene.seen) > chunks


async def _is_queued(scene: Scene) -> bool:
    return bool((await scene.runner.journal.load(ORG, ThreadId(THREAD))).state.queue)


async def _is_active(scene: Scene) -> bool:
    return (await scene.runner.journal.load(ORG, ThreadId(THREAD))).state.active is not None
