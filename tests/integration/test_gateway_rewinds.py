"""What viewers get of a run that was resumed: wherever they stand and whatever they can take back, the same answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from random import Random

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.chunks import Chunk, transient
from decopilot.contracts.frames import Frame, Ranges
from decopilot.contracts.ids import MessageId, OrgId, RunId, ThreadId
from decopilot.domain.fold import fold
from decopilot.domain.resuming import is_void, replay
from decopilot.log.chunklog import ChunkLog
from decopilot.log.store import Store
from decopilot_gateway import sse
from support.gateways import ORG, Run, read_run, running_gateway, until, whole_run
from support.streams import valid_stream
from support.viewer import Viewer

THREAD = "t1"
Tell = Callable[[Run], Awaitable[None]]
Seen = list[tuple[str, Chunk]]
STEP: Chunk = {"type": "start-step"}
END_STEP: Chunk = {"type": "finish-step"}


def text(name: str, *deltas: str, ends: bool = True) -> list[Chunk]:
    """Make a block of text; one that an attempt dies in has no end."""
    end: list[Chunk] = [{"type": "text-end", "id": name}] if ends else []
    said: list[Chunk] = [{"type": "text-delta", "id": name, "delta": delta} for delta in deltas]
    return [{"type": "text-start", "id": name}, *said, *end]


async def die_in_second_step(run: Run) -> None:
    """Leave a run whose last cut stands in the middle of a frame, with three frames behind it."""
    await run.open()
    await run.frame(STEP, *text("a", "kept ", ends=False))
    await run.frame({"type": "text-end", "id": "a"}, END_STEP, STEP, *text("b", "void", ends=False))
    await run.frame({"type": "text-delta", "id": "b", "delta": " void"})


async def one_takeover(run: Run) -> None:
    await die_in_second_step(run)
    await run.take_over()


async def another_takeover(run: Run) -> None:
    await run.frame(STEP, *text("c", "kept too "), END_STEP, STEP)
    await run.frame(*text("d", "void again", ends=False))
    await run.take_over()


async def two_takeovers(run: Run) -> None:
    await one_takeover(run)
    await another_takeover(run)


async def two_takeovers_at_one_cut(run: Run) -> None:
    await one_takeover(run)
    await run.frame(STEP, *text("c", "void too", ends=False))
    await run.take_over()


async def two_takeovers_of_which_one_only_fenced(run: Run) -> None:
    await die_in_second_step(run)
    await run.fence()
    await run.take_over()


async def three_takeovers_and_one_that_left_nothing_void(run: Run) -> None:
    await two_takeovers(run)
    await run.frame(STEP, *text("e", "and this "), END_STEP)
    await run.take_over()
    await another_takeover(run)


async def take_over_from_the_opening(run: Run) -> None:
    await run.open()
    await run.frame(STEP, *text("a", "void", ends=False))
    await run.take_over()


TALES = [
    one_takeover,
    two_takeovers,
    two_takeovers_at_one_cut,
    two_takeovers_of_which_one_only_fenced,
    three_takeovers_and_one_that_left_nothing_void,
    take_over_from_the_opening,
]


async def end_well(run: Run) -> int:
    await run.frame(STEP, *text("z", "the", " end"), END_STEP)
    return await run.close()


class Log:
    """A run as it is stored, and what those hold who followed it up to some chunk."""

    def __init__(self, frames: list[Frame]) -> None:
        self.void: Ranges = frames[-1].void
        self.chunks: Seen = [
            (f"{frame.sequence}-{place}", chunk) for frame in frames for place, chunk in enumerate(frame.chunks)
        ]
        self.id: str = frames[0].chunks[0]["messageId"]
        self.message = replay(MessageId(self.id), frames).message()

    @classmethod
    async def of(cls, store: Store, run: Run, thread: str = THREAD) -> "Log":
        return cls(await ChunkLog(store).of_run(ORG, ThreadId(thread), run.run_id, until=0))

    def living(self, start: int = 0) -> Seen:
        return self._without(self.void, start)

    def held_at(self, last: int) -> dict[str, Seen]:
        """Tell what clients may hold whose last chunk is this one, by when they came."""
        known = tuple((start, end) for start, end in self.void if end < last)
        held = {"was there": self.chunks[: last + 1], "came in between": self._without(known, 0, last + 1)}
        if not is_void(last, self.void):
            held["came afterwards"] = self._without(self.void, 0, last + 1)
        return held

    def is_tainted(self, last: int) -> bool:
        return any(last in range(start, end + 1) for start, end in self.void)

    def _without(self, void: Ranges, start: int = 0, end: int | None = None) -> Seen:
        places = range(start, len(self.chunks) if end is None else end)
        return [self.chunks[place] for place in places if not is_void(place, void)]


@pytest.mark.parametrize("is_last", [True, False])
@pytest.mark.parametrize("tell", TALES)
async def test_whatever_the_cursor_the_answer_is_the_same_in_the_end(
    own_broker: EmbeddedBroker, store: Store, tell: Tell, *, is_last: bool
) -> None:
    before = await whole_run(store, THREAD, "before")
    async with Run(store, THREAD, 2, previous=before) as run:
        await run.record_request()
        await tell(run)
        end = await end_well(run)
        await run.record_end()
    if not is_last:
        await whole_run(store, THREAD, "after", 3, previous=end)
    log = await Log.of(store, run)
    assert "kept" in log.message.text or tell is take_over_from_the_opening
    async with running_gateway(own_broker.url) as gateway:
        for last, (cursor, _) in enumerate(log.chunks[:-1]):
            for came, held in log.held_at(last).items():
                for rewind in (True, False):
                    if came == "was there" and not rewind and log.held_at(last)["came in between"] != held:
                        continue  # its stream was ended before it could come this far
                    viewer = gateway.viewer(THREAD, cursor, rewind=rewind)
                    viewer.seen = list(held)
                    assert await viewer.watch_run(), (cursor, came, rewind)
                    wanted = held + log.living(last + 1)
                    if log.is_tainted(last) and not rewind:
                        wanted = [*held, _reset(f"{before}-0"), *log.living()]
                    assert wanted == viewer.seen, (cursor, came, rewind)
                    assert log.message == viewer.messages[log.id], (cursor, came, rewind)


@pytest.mark.parametrize("tell", TALES)
async def test_who_begins_at_a_resumed_run_is_given_what_counts_of_it_each_once(
    own_broker: EmbeddedBroker, store: Store, tell: Tell
) -> None:
    before = await whole_run(store, THREAD, "before")
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD, 2, previous=before) as run:
        await tell(run)
        viewers = [gateway.viewer(THREAD, rewind=rewind) for rewind in (True, False)]
        viewers += [gateway.viewer(THREAD, f"{before}-0", rewind=rewind) for rewind in (True, False)]
        async with AsyncExitStack() as attached:
            streams = [await attached.enter_async_context(viewer.attached()) for viewer in viewers]
            await asyncio.gather(*(_read_until(chunks, "data-run") for chunks in streams))
            await end_well(run)
            await asyncio.gather(*map(read_run, streams))
    log = await Log.of(store, run)
    for viewer in viewers:
        assert log.living() == viewer.seen
        assert log.message == viewer.messages[log.id]


async def test_a_live_viewer_that_takes_rewinds_gets_everything_and_replaces_its_message(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD) as run:
        viewer = gateway.viewer(THREAD, rewind=True)
        async with viewer.attached() as chunks:
            await two_takeovers(run)
            await end_well(run)
            await read_run(chunks)
    log = await Log.of(store, run)
    assert 2 == len(log.void)
    assert log.chunks == viewer.seen
    assert log.message == viewer.messages[log.id]


async def test_a_live_viewer_that_takes_none_is_sent_away_before_each_and_comes_back_to_a_reset(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD) as run:
        await run.record_request()
        viewer = gateway.viewer(THREAD)
        for tell in (one_takeover, another_takeover):
            async with viewer.attached() as chunks, asyncio.timeout(10):
                await tell(run)
                assert "data-run" == [chunk async for chunk in chunks][-1]["type"]
            assert bytes(viewer.raw).endswith(b"\n\nretry: 1000\n\ndata: [DONE]\n\n")
        async with viewer.attached() as chunks:
            await end_well(run)
            await read_run(chunks)
    log = await Log.of(store, run)
    resets = [seen for seen in viewer.seen if seen[1]["type"] == "data-thread-reset"]
    assert [_reset("0-0")] * 2 == resets
    assert [_reset("0-0"), *log.living()] == viewer.seen[-len(log.living()) - 1 :]
    assert log.message == viewer.messages[log.id]


async def test_one_that_comes_back_without_a_cursor_begins_the_run_anew(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD) as run:
        viewer = gateway.viewer(THREAD)
        async with viewer.attached() as chunks, asyncio.timeout(10):
            await one_takeover(run)
            assert "data-run" == [chunk async for chunk in chunks][-1]["type"]
        assert b"void" in viewer.raw
        viewer.cursor = None
        viewer.seen.clear()
        async with viewer.attached() as chunks:
            await end_well(run)
            await read_run(chunks)
    log = await Log.of(store, run)
    assert log.living() == viewer.seen
    assert log.message == viewer.messages[log.id]


async def test_a_takeover_that_leaves_nothing_void_goes_unnoticed(own_broker: EmbeddedBroker, store: Store) -> None:
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD) as run:
        viewer = gateway.viewer(THREAD)
        async with viewer.attached() as chunks:
            await run.open()
            await run.frame(STEP, *text("a", "kept"), END_STEP)
            await run.take_over()
            await end_well(run)
            await read_run(chunks)
    log = await Log.of(store, run)
    assert () == log.void
    assert log.chunks == viewer.seen


async def test_a_client_that_never_moves_its_cursor_passes_resumed_runs_too(
    own_broker: EmbeddedBroker, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _count_last_of_run(monkeypatch)
    async with (
        running_gateway(own_broker.url) as gateway,
        Run(store, THREAD) as small,
        gateway.viewer("big").attached(),
    ):
        await two_takeovers(small)
        end = await end_well(small)
        async with Run(store, THREAD, 2, previous=end) as big:
            await one_takeover(big)
            for number in range(10):
                await big.frame(STEP, *text(str(number), "x" * 200_000), END_STEP)
            end = await end_well(big)
        await whole_run(store, THREAD, "after", 3, previous=end)
        asked.clear()
        viewer = gateway.viewer(THREAD, "0-0")
        async with viewer.attached() as chunks:
            for _ in range(3):
                await read_run(chunks)
    logs = [await Log.of(store, run) for run in (small, big)]
    told = logs[0].living() + logs[1].living()
    assert told == viewer.seen[: len(told)]
    assert ["run_2"] == asked  # whose end was not at hand


async def test_a_client_that_returns_into_a_run_whose_first_frames_are_purged_is_reset_as_ever(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    async with Run(store, THREAD) as run:
        await run.record_request()
        await one_takeover(run)
        end = await end_well(run)
        await run.record_end()
    cursors = [cursor for cursor, _ in (await Log.of(store, run)).chunks]
    await ChunkLog(store).purge(ORG, ThreadId(THREAD), run.run_id)
    async with running_gateway(own_broker.url) as gateway:
        for cursor in cursors[:-2]:
            async with gateway.viewer(THREAD, cursor).attached() as chunks, asyncio.timeout(10):
                assert {"cursor": f"{end}-1", "reason": "cursor"} == (await anext(chunks))["data"]


async def test_behind_a_hole_in_a_resumed_run_the_stream_goes_on_for_those_who_take_no_rewinds_too(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD) as run:
        await run.record_request()
        await one_takeover(run)
        await run.frame(STEP, *text("c", "lost"))
        await run.frame(END_STEP)
        await store.js.delete_msg(subjects.CHUNKS_STREAM, 7)
        viewer = gateway.viewer(THREAD)
        async with viewer.attached() as chunks:
            await _read_until(chunks, "data-thread-reset")
            await end_well(run)
            await read_run(chunks)
    assert "the end" == viewer.text[-7:]
    assert b"[DONE]" not in viewer.raw


@pytest.mark.parametrize("rewind", [True, False])
async def test_a_continuation_that_was_resumed_keeps_the_message_it_goes_on_with(
    own_broker: EmbeddedBroker, store: Store, *, rewind: bool
) -> None:
    async with Run(store, THREAD) as first:
        await first.record_request()
        await first.open()
        await first.frame(STEP, *text("q", "Shall I?"), END_STEP)
        end = await first.close()
        await first.record_end()
    base = (await Log.of(store, first)).message
    async with running_gateway(own_broker.url) as gateway:
        viewer = gateway.viewer(THREAD, "0-0", rewind=rewind)
        async with Run(store, THREAD, 2, previous=end, continues=1, base=base) as run, viewer.attached() as chunks:
            await read_run(chunks)
            await run.record_request()
            await one_takeover(run)
            if rewind:
                await end_well(run)
                await read_run(chunks)
            else:
                async with asyncio.timeout(10):
                    assert "data-run" == [chunk async for chunk in chunks][-1]["type"]
                await end_well(run)
                assert await viewer.watch_run()
    log = await Log.of(store, run)
    assert "Shall I?\nkept \nthe end" == log.message.text
    assert {"a1": log.message} == viewer.messages


async def test_what_stays_of_an_erased_thread_is_delivered_as_it_is(own_broker: EmbeddedBroker, store: Store) -> None:
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD) as run:
        viewers = [gateway.viewer(THREAD, rewind=rewind) for rewind in (True, False)]
        async with viewers[0].attached() as first, viewers[1].attached() as second:
            await run.open()
            await asyncio.gather(_read_until(first, "data-user-message"), _read_until(second, "data-user-message"))
            await run.seal(transient("data-thread-deleted", {}))
            await ChunkLog(store).purge(ORG, ThreadId(THREAD), run.run_id)
            await asyncio.gather(_read_until(first, "data-thread-deleted"), _read_until(second, "data-thread-deleted"))
            await whole_run(store, THREAD, "after", 2, previous=2)
            await asyncio.gather(read_run(first), read_run(second))
    assert ["after", "after"] == [viewer.text for viewer in viewers]


async def test_a_resumed_run_is_framed_once_too_and_cut_from_what_all_share(
    own_broker: EmbeddedBroker, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    encode = sse.chunk_events

    def counting(frame: Frame) -> bytes:
        made.append(frame.sequence)
        return encode(frame)

    monkeypatch.setattr(sse, "chunk_events", counting)
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD) as run:
        watching = gateway.viewer(THREAD, rewind=True)
        async with watching.attached() as chunks:
            await one_takeover(run)
            end = await end_well(run)
            await read_run(chunks)
            for _ in range(3):
                assert await gateway.viewer(THREAD, "0-0").watch_run()
    assert list(range(1, end + 1)) == sorted(made)


async def test_where_nothing_is_void_no_viewer_costs_the_broker_anything_more(
    own_broker: EmbeddedBroker, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await whole_run(store, THREAD, "before")
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD, 2, previous=before) as run:
        await run.start("ab")
        await run.say("cd")
        asked = _count_last_of_run(monkeypatch)
        places = (None, "0-0", f"{before}-0", f"{before + 1}-1", f"{before + 2}-0")
        viewers = [gateway.viewer(THREAD, cursor) for cursor in places]
        async with AsyncExitStack() as attached:
            streams = [await attached.enter_async_context(viewer.attached()) for viewer in viewers]
            assert await streams[0].__anext__()
            await run.finish()
            await asyncio.gather(*map(read_run, streams))
        assert [] == asked
        # Only of a run that is neither the newest nor closed by the very frame is it asked.
        assert await gateway.viewer(THREAD, "1-0").watch_run()
    assert ["run_1"] == asked


@pytest.mark.parametrize("said", ["", "1", "True", "yes"])
async def test_a_declaration_that_says_neither_yes_nor_no_is_refused(
    own_broker: EmbeddedBroker, store: Store, said: str
) -> None:
    del store
    async with running_gateway(own_broker.url) as gateway:
        status, problem = await gateway.api.get(f"decopilot/attach/{THREAD}?rewind={said}")
    assert (400, "invalid_query") == (status, problem["code"])


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_is_said_wherever_it_dies_whenever_they_drop_all_see_one_answer(
    own_broker: EmbeddedBroker, store: Store, seed: int
) -> None:
    chance = Random(seed)
    script = valid_stream(chance, "a1")[1:-1]
    is_told = asyncio.Event()
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD) as run:
        await run.record_request()
        keeping = [
            _Watching(gateway.viewer(THREAD, rewind=rewind), Random(10 * seed + number))
            for number, rewind in enumerate((True, True, False, False))
        ]
        forgetting = [_Watching(gateway.viewer(THREAD), Random(-10 * seed - n), forgets=True) for n in range(2)]
        async with asyncio.TaskGroup() as group:
            for watching in (*keeping, *forgetting):
                group.create_task(watching.watch(is_told))
            await _tell(run, script, chance)
            tip = (await Log.of(store, run)).chunks[-1][0]
            is_told.set()
            # Without a cursor one only gets a run that is still active.
            await until(lambda: all(watching.viewer.cursor == tip for watching in forgetting))
            await until(lambda: all(watching.viewer.cursor for watching in keeping))
            await run.close()
    log = await Log.of(store, run)
    whole = fold(MessageId("a1"), [{"type": "start", "messageId": "a1"}, *script])
    assert whole == log.message
    for watching in (*keeping, *forgetting):
        assert log.message == watching.viewer.messages["a1"]


class _Watching:
    """A client that drops now and then; one that forgets comes back without a cursor."""

    def __init__(self, viewer: Viewer, chance: Random, *, forgets: bool = False) -> None:
        self.viewer = viewer
        self._chance = chance
        self._forgets = forgets

    async def watch(self, is_told: asyncio.Event) -> None:
        async with asyncio.timeout(30):
            while not await self._watch_once(is_told):
                pass

    async def _watch_once(self, is_told: asyncio.Event) -> bool:
        left = self._chance.randint(1, 40)
        async with self.viewer.attached() as chunks:
            async for chunk in chunks:
                left -= 1
                if chunk["type"] == "finish":
                    return True
                if left <= 0 and not is_told.is_set():
                    break
            if self._forgets:
                self.viewer.cursor = None
        return False


async def _tell(run: Run, script: list[Chunk], chance: Random) -> None:
    """Tell a script as attempts do that die at random: each goes on with what does not count any more."""
    told: dict[int, int] = {}
    await run.open()
    end = 3
    at = takeovers = 0
    while at < len(script):
        size = chance.randint(1, 4)
        await run.frame(*script[at : at + size])
        for place in range(at, min(at + size, len(script))):
            told[end], end = place, end + 1
        at += size
        if takeovers < 4 and chance.random() < 0.3:
            point = await run.take_over()
            takeovers += 1
            # The fence, and what rewinds where anything is void.
            end += 2 if point.void and point.void[-1][1] == end else 1
            at = max((place for index, place in told.items() if not is_void(index, point.void)), default=-1) + 1
        await asyncio.sleep(chance.choice((0, 0.002)))


def _count_last_of_run(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []
    read = ChunkLog.last_of_run

    async def counting(self: ChunkLog, org: OrgId, thread: ThreadId, run: RunId) -> Frame | None:
        asked.append(run)
        return await read(self, org, thread, run)

    monkeypatch.setattr(ChunkLog, "last_of_run", counting)
    return asked


async def _read_until(chunks: AsyncIterator[Chunk], kind: str) -> None:
    async with asyncio.timeout(10):
        async for chunk in chunks:
            if chunk["type"] == kind:
                return


def _reset(cursor: str) -> tuple[str, Chunk]:
    return cursor, transient("data-thread-reset", {"cursor": cursor, "reason": "rewind"})
