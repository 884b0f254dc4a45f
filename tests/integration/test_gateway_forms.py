"""Replay forms: however a stream begins, the message is the same in the end, and every chunk known to its client."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from random import Random
from typing import Any

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.ids import MessageId, ThreadId
from decopilot.contracts.messages import UIMessage
from decopilot.domain.fold import Fold, fold
from decopilot.domain.resuming import replay
from decopilot.log.chunklog import ChunkLog
from decopilot.log.store import Store
from support.gateways import ORG, Gateway, Run, read_run, running_gateway, until, whole_run
from support.streams import valid_stream
from support.viewer import Viewer

THREAD = "t1"
STEP: Chunk = {"type": "start-step"}
END_STEP: Chunk = {"type": "finish-step"}
APPROVAL: list[Chunk] = [
    {"type": "tool-input-available", "toolCallId": "c", "toolName": "delete", "input": {"name": "x"}},
    {"type": "tool-approval-request", "toolCallId": "c", "approvalId": "ok"},
]


async def logged(store: Store, run: Run) -> UIMessage:
    """The message as the log has it."""
    log = ChunkLog(store)
    last = await log.last_of_run(ORG, ThreadId(THREAD), run.run_id)
    assert last is not None
    frames = await log.of_run(ORG, ThreadId(THREAD), run.run_id, until=last.sequence)
    return replay(run.requested.assistant_id, frames).message()


def text(name: str, said: str, *, ends: bool = True) -> list[Chunk]:
    """Make a block of text, a delta a character."""
    end: list[Chunk] = [{"type": "text-end", "id": name}] if ends else []
    deltas: list[Chunk] = [{"type": "text-delta", "id": name, "delta": letter} for letter in said]
    return [{"type": "text-start", "id": name}, *deltas, *end]


async def write(run: Run, chunks: Sequence[Chunk], rng: Random) -> None:
    """Write chunks in frames of any size."""
    rest = list(chunks)
    while rest:
        size = rng.randint(1, 5)
        await run.frame(*rest[:size])
        del rest[:size]


@pytest.mark.parametrize("seed", range(12))
async def test_whoever_comes_in_the_middle_has_the_same_message_in_few_chunks(
    own_broker: EmbeddedBroker, store: Store, seed: int
) -> None:
    rng = Random(seed)
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD) as run, asyncio.timeout(30):
        await run.record_request()
        await run.open()
        chunks = [STEP, *text("long", "x" * 50), END_STEP, *valid_stream(rng, run.requested.assistant_id)[1:-1]]
        cut = rng.randint(0, len(chunks))
        await write(run, chunks[:cut], rng)
        comers = [gateway.viewer(THREAD, replay="compact"), gateway.viewer(THREAD, replay="compact", rewind=True)]
        for comer in comers:
            assert not await comer.watch_run(at_most=1)  # at least its `start`; it is cut off in what has no ids
            assert comer.cursor is None
            comer.seen.clear()
        reading = [asyncio.create_task(comer.watch_run()) for comer in comers]
        await until(lambda: all(comer.cursor for comer in comers))
        so_far = [len(comer.seen) for comer in comers]
        await write(run, chunks[cut:], rng)
        await run.close()
        await asyncio.gather(*reading)
        whole = await gateway_message(gateway)
    for comer, count in zip(comers, so_far, strict=True):
        assert count <= 4 + cut
        assert cut < 55 or count < cut - 40
        assert 1 == [chunk["type"] for chunk in comer.chunks].count("start")
        assert [whole] == list(comer.messages.values())
        assert all(id_ for id_, _ in comer.seen[count - 1 :])
        assert not any(id_ for id_, _ in comer.seen[: count - 1])


async def gateway_message(gateway: Gateway) -> UIMessage:
    """The message as one sees it who gets everything."""
    full = gateway.viewer(THREAD, "0-0")
    assert await full.watch_run()
    (message,) = full.messages.values()
    return message


async def test_what_was_folded_once_is_not_read_again(
    own_broker: EmbeddedBroker, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    read = Store.read

    def counting(self: Store, stream: str, subject: str, after: int, *, until: int = 0) -> AsyncIterator[Any]:
        asked.append(stream)
        return read(self, stream, subject, after, until=until)

    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD) as run, asyncio.timeout(30):
        await run.record_request()
        await run.start("a" * 100)
        async with gateway.viewer(THREAD, replay="compact").attached():
            monkeypatch.setattr(Store, "read", counting)
            for letter in "bcd":
                await run.say(letter)
                comer = gateway.viewer(THREAD, replay="compact")
                async with comer.attached() as chunks:
                    async for chunk in chunks:
                        if chunk.get("delta", "").endswith(letter):
                            break
                assert comer.text.startswith("a" * 100 + "b")
    assert subjects.CHUNKS_STREAM not in asked


async def test_a_resumed_run_is_compacted_without_what_counts_no_more(own_broker: EmbeddedBroker, store: Store) -> None:
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD) as run, asyncio.timeout(30):
        await run.record_request()
        await run.open()
        await run.frame(STEP, *text("a", "kept"), END_STEP, STEP, *text("b", "lost", ends=False))
        before = gateway.viewer(THREAD, replay="compact", rewind=True)
        async with before.attached() as chunks:
            async for chunk in chunks:
                if chunk.get("delta") == "lost":
                    break
            await run.take_over()
            await run.frame(STEP, *text("c", "found"), END_STEP)
            behind = gateway.viewer(THREAD, replay="compact")
            reading = asyncio.create_task(behind.watch_run())
            await until(lambda: behind.cursor)
            await run.close()
            await read_run(chunks)
            await reading
        message = await gateway_message(gateway)
    assert ["kept", "found"] == [part["text"] for part in message.parts if part["type"] == "text"]
    assert [message] == list(before.messages.values()) == list(behind.messages.values())
    assert "lost" not in behind.text


async def continued(store: Store, run: Run) -> tuple[Run, UIMessage]:
    """End a run that waits for an approval; returns the run that goes on with its answer, and what that began with."""
    await run.record_request()
    await run.open()
    await run.frame(STEP, *text("a", "May I?"), *APPROVAL, END_STEP)
    end = await run.seal({"type": "finish", "finishReason": "tool-calls"})
    asked = await logged(store, run)
    parts = [
        part | {"state": "approval-responded", "approval": {"id": "ok", "approved": True}}
        if part["type"] == "tool-delete"
        else part
        for part in asked.parts
    ]
    base = UIMessage(id=asked.id, role="assistant", parts=parts)
    return Run(store, THREAD, 2, previous=end, continues=1, base=base), base


def stock(chunks: Sequence[Chunk]) -> list[UIMessage]:
    """Fold as a client does that knows no rewinds and begins each run with nothing."""
    folds: list[Fold] = []
    for chunk in chunks:
        if chunk["type"] == "start":
            folds.append(Fold(chunk["messageId"]))
        if not chunk["type"].startswith("data-run"):
            folds[-1].add(chunk)
    return [one.message() for one in folds]


@pytest.mark.parametrize("comes", ["before", "behind the opening", "in the middle", "behind a cursor"])
async def test_a_continued_message_is_told_whole_from_its_first_start_to_those_who_begin_with_nothing(
    own_broker: EmbeddedBroker, store: Store, comes: str
) -> None:
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD) as first, asyncio.timeout(30):
        second, _ = await continued(store, first)
        viewer = gateway.viewer(THREAD, replay="message")
        if comes == "behind a cursor":
            viewer.cursor = "0-0"
        reading = asyncio.create_task(_runs(viewer, 2 if comes == "behind a cursor" else 1))
        if comes != "before":
            reading.cancel()
            await asyncio.wait([reading])
            viewer.seen.clear()
            viewer.cursor = "0-0" if comes == "behind a cursor" else None
        else:
            await until(partial(_has_begun, viewer))
        async with second as run:
            await run.open()
            if comes == "behind the opening":
                reading = asyncio.create_task(_runs(viewer, 1))
                await until(lambda: viewer.seen)
            await run.frame({"type": "tool-output-available", "toolCallId": "c", "output": "gone"}, END_STEP)
            await run.frame(STEP, *text("b", "Done", ends=False))
            if comes in {"in the middle", "behind a cursor"}:
                reading = asyncio.create_task(_runs(viewer, 2 if comes == "behind a cursor" else 1))
                await until(lambda: viewer.seen)
            await run.frame({"type": "text-end", "id": "b"}, END_STEP)
            await run.close()
            await reading
        whole = await logged(store, second)
    assert whole.parts[-1]["text"] == "Done"
    told = stock(viewer.chunks)[-1]
    # Who approved is not told before `ai` 7.
    assert [_without_approval(part) for part in whole.parts] == [_without_approval(part) for part in told.parts]
    assert {"a1"} == {chunk["messageId"] for chunk in viewer.chunks if chunk["type"] == "start"}
    assert (2 if comes == "behind a cursor" else 1) == kinds_of(viewer.chunks).count("finish")


def kinds_of(chunks: Sequence[Chunk]) -> list[str]:
    return [chunk["type"] for chunk in chunks]


def _without_approval(part: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name != "approval"}


def _has_begun(viewer: Viewer) -> bool:
    return b"retry" in viewer.raw


async def _runs(viewer: Viewer, count: int) -> None:
    async with viewer.attached() as chunks:
        for _ in range(count):
            await read_run(chunks)


async def test_who_wants_nothing_of_what_was_begins_with_the_next_run(own_broker: EmbeddedBroker, store: Store) -> None:
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD) as run, asyncio.timeout(30):
        await run.record_request()
        await run.start("ab")
        viewer = gateway.viewer(THREAD, replay="none")
        async with viewer.attached() as chunks:
            await run.say("cd")
            end = await run.finish()
            await run.record_end("abcd")
            await whole_run(store, THREAD, "next", 2, previous=end)
            await read_run(chunks)
    assert "next" == viewer.text
    assert "start" == viewer.chunks[0]["type"]


async def test_who_wants_nothing_of_a_run_is_not_sent_away_by_its_takeover(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD) as run, asyncio.timeout(30):
        await run.record_request()
        await run.open()
        await run.frame(STEP, *text("a", "lost", ends=False))
        viewer = gateway.viewer(THREAD, replay="none")
        async with viewer.attached() as chunks:
            await run.take_over()
            await run.frame(STEP, *text("b", "found"), END_STEP)
            end = await run.close()
            await run.record_end("found")
            await whole_run(store, THREAD, "next", 2, previous=end)
            await read_run(chunks)
    assert "next" == viewer.text


async def test_ai_5_is_given_nothing_that_it_dies_of_and_no_chunk_less(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD) as run, asyncio.timeout(30):
        await run.record_request()
        live, late = gateway.viewer(THREAD, sdk="5"), gateway.viewer(THREAD, "0-0", sdk="5")
        async with live.attached() as chunks:
            await run.open()
            await run.frame(STEP, *text("a", "May I?"), *APPROVAL, END_STEP)
            await run.frame({"type": "tool-output-denied", "toolCallId": "c"})
            await run.close()
            await read_run(chunks)
        await late.watch_run()
        other = gateway.viewer(THREAD, "0-0", sdk="6")
        await other.watch_run()
    assert live.seen == late.seen
    kinds = kinds_of(live.chunks)
    assert "tool-approval-request" not in kinds
    assert "tool-output-denied" not in kinds
    assert [kind for kind in kinds_of(other.chunks) if kind != "tool-approval-request"] == [
        "tool-output-denied" if kind == "tool-output-error" else kind for kind in kinds
    ]
    assert "output-error" == fold(MessageId("a1"), live.chunks).parts[-1]["state"]


async def test_a_chunk_that_nobody_can_read_holds_up_nobody(own_broker: EmbeddedBroker, store: Store) -> None:
    deep: Any = []
    for _ in range(250):
        deep = [deep]
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD) as run, asyncio.timeout(30):
        viewers = [gateway.viewer(THREAD, sdk=sdk) for sdk in ("5", "6", "5", "6")]
        reading = []
        for viewer in viewers:
            reading.append(asyncio.create_task(viewer.watch_run()))
            await until(partial(_has_begun, viewer))
        await run.record_request()
        await run.open()
        await run.frame({"type": "tool-input-available", "toolCallId": "c", "toolName": "search", "input": {}})
        await run.frame({"type": "tool-output-available", "toolCallId": "c", "output": {"title": deep}})
        await run.close()
        await asyncio.gather(*reading)
        late = [gateway.viewer(THREAD, "0-0", sdk=sdk) for sdk in ("5", "6")]
        for viewer in late:
            await viewer.watch_run()
    for viewer in (*viewers, *late):
        assert viewers[1].seen == viewer.seen


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "text-delta", "id": "never began", "delta": "x"},
        {"type": "data-note", "data": "deep"},
    ],
)
async def test_a_run_that_does_not_fold_is_told_as_it_is_to_those_who_ask_for_few_chunks(
    own_broker: EmbeddedBroker, store: Store, odd: Chunk
) -> None:
    if odd.get("data") == "deep":
        data: Any = []
        for _ in range(250):
            data = [data]
        odd = odd | {"data": data}
    async with running_gateway(own_broker.url) as gateway, Run(store, THREAD) as run, asyncio.timeout(30):
        await run.record_request()
        await run.open()
        await run.frame(STEP, *text("a", "abc"), odd)
        comers = [gateway.viewer(THREAD, replay="compact") for _ in range(2)]
        reading = [asyncio.create_task(comer.watch_run()) for comer in comers]
        await until(lambda: all(comer.text.startswith("abc") for comer in comers))
        await run.close()
        await asyncio.gather(*reading)
        whole = gateway.viewer(THREAD, "0-0")
        await whole.watch_run()
    for comer in comers:
        assert whole.seen == comer.seen


@pytest.mark.parametrize(
    "query",
    [
        "replay=all",
        "replay=",
        "sdk=4",
        "sdk=",
        "sdk=v5",
        "rewind=yes",
        "replay=full&sdk=5.0",
        "replay=full&replay=full",
    ],
)
async def test_a_form_that_nobody_knows_is_refused(own_broker: EmbeddedBroker, store: Store, query: str) -> None:
    del store
    async with running_gateway(own_broker.url) as gateway:
        status, problem = await gateway.api.get(f"decopilot/attach/{THREAD}?{query}")
    assert (400, "invalid_query") == (status, problem["code"])


async def test_a_cursor_wins_over_a_form(own_broker: EmbeddedBroker, store: Store) -> None:
    end = await whole_run(store, THREAD, "abc def")
    async with running_gateway(own_broker.url) as gateway:
        for form in ("full", "compact", "message", "none"):
            viewer = gateway.viewer(THREAD, "2-1", replay=form)
            await viewer.watch_run()
            assert "cdef" == viewer.text
            assert f"{end}-0" == viewer.cursor
