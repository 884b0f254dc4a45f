"""`decopilot replay`: a run's message made again from its chunks, one by one, at the pace at which they came."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import typer
from pydantic_core import from_json

from decopilot.cli.errors import CliError
from decopilot.cli.logs import clean, clean_json
from decopilot.cli.looking.events import no_such_thread
from decopilot.cli.looking.reading import an_id, read_log
from decopilot.cli.looking.reading import events as read_events
from decopilot.cli.reaching import Where
from decopilot.contracts import subjects
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.events import RunRequested, Terminal
from decopilot.contracts.frames import Ranges
from decopilot.contracts.ids import MessageId, OrgId, RunId, ThreadId
from decopilot.contracts.messages import UIMessage
from decopilot.domain.compacting import compact
from decopilot.domain.fold import Fold, FoldError
from decopilot.domain.resuming import is_void
from decopilot.log.chunklog import ChunkLog
from decopilot.log.store import Store

PAUSE_MAX_S = 5.0
"""However long a run said nothing, a replay does not for longer."""
_WORDS = ("delta", "inputTextDelta", "text", "toolName", "toolCallId", "errorText", "finishReason", "messageId")


@dataclass(frozen=True, slots=True)
class Replayed:
    """One chunk where it stood; void, if its attempt died behind its last cut. When it came is not always known."""

    chunk: Chunk
    index: int
    attempt: int
    is_void: bool = False
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A run, the id of its answer, and what its end says, if it has ended."""

    org: OrgId
    thread: ThreadId
    run: RunId
    answer: MessageId
    end: Terminal | None
    begins_with: UIMessage | None = None
    """The answer that it goes on with, which another run began."""


def replay(where: Where, ids: list[str], org: str, *, speed: float, as_json: bool) -> None:
    """Replay runs, or all runs of threads; `speed` 2 is twice as fast as it was, 0 without any pause.

    Raises:
        CliError: there is no such run or thread, or no broker.

    """
    of_org = OrgId(an_id(org, "org"))
    for text in ids:
        an_id(text, "run or thread")

    async def look(store: Store) -> None:
        for text in ids:
            is_found = False
            async for found in _find(store, of_org, text):
                is_found = True
                await _play(store, found, speed=speed, as_json=as_json)
            if not is_found:
                message = f"{no_such_thread(org, text)} There is no run {text!r} either."
                raise CliError(message)

    read_log(where, look)


async def _find(store: Store, org: OrgId, text: str) -> AsyncGenerator[Found, None]:
    """Find the runs of a thread of this id; where there is none, the run of this id."""
    if await store.last(subjects.EVENTS_STREAM, subjects.events_of(org, ThreadId(text))) is not None:
        asked: list[RunId] = []
        async for _, recorded in read_events(store, subjects.events_of(org, ThreadId(text)), after=0):
            if recorded is not None and isinstance(recorded.event, RunRequested):
                asked.append(recorded.event.run_id)
        for run in asked:
            yield await _of_thread(store, org, ThreadId(text), run)
        return
    filter_ = f"{subjects.EVENT_PREFIX}.{org}.*.run_requested"
    async for _, recorded in read_events(store, filter_, after=0):
        event = None if recorded is None else recorded.event
        if recorded is not None and isinstance(event, RunRequested) and event.run_id == text:
            yield await _of_thread(store, org, recorded.thread, RunId(text))
            return


async def _of_thread(store: Store, org: OrgId, thread: ThreadId, run: RunId) -> Found:
    ended: dict[RunId, Terminal] = {}
    asked: RunRequested | None = None
    async for _, recorded in read_events(store, subjects.events_of(org, thread), after=0):
        event = None if recorded is None else recorded.event
        if isinstance(event, RunRequested) and event.run_id == run:
            asked = event
            ended = {} if event.continues is None else {key: ended[key] for key in {event.continues} & ended.keys()}
        elif isinstance(event, Terminal):
            if asked is None:
                ended = {event.run_id: event}  # of what goes on, only the one right before it matters
            elif event.run_id == run:
                return Found(org, thread, run, asked.assistant_id, event, _message_of(ended))
    return Found(org, thread, run, MessageId("") if asked is None else asked.assistant_id, None, _message_of(ended))


def _message_of(ended: Mapping[RunId, Terminal]) -> UIMessage | None:
    return next((end.message for end in ended.values()), None)


async def _play(store: Store, found: Found, *, speed: float, as_json: bool) -> None:
    log = ChunkLog(store)
    first, last = (
        await log.first_of_run(found.org, found.thread, found.run),
        await log.last_of_run(found.org, found.thread, found.run),
    )
    is_whole = first is not None and first.index == 0 and last is not None
    if not as_json:
        source = "its chunks" if is_whole else "its terminal event: its chunks were purged, and so was their timing"
        typer.secho(f"Run {found.run} of thread {found.org}/{found.thread}, from {source}", bold=True)
    if is_whole and last is not None:
        chunks = _stored(log, found, last.sequence, last.void)
    elif found.end is not None:
        chunks = _told(found.end)
    else:
        typer.echo("It has no chunks yet. Look what it waits for: decopilot events " + found.thread, err=True)
        return
    fold = Fold(found.answer)
    if is_whole and found.begins_with is not None:
        fold.restore(found.begins_with)
    begun: datetime | None = None
    before: datetime | None = None
    async with aclosing(chunks) as each:
        async for replayed in each:
            begun = begun or replayed.at
            if before is not None and replayed.at is not None and speed > 0:
                await asyncio.sleep(min((replayed.at - before).total_seconds() / speed, PAUSE_MAX_S))
            before = replayed.at or before
            if not replayed.is_void:
                _fold_in(fold, replayed.chunk)
            since_s = None if begun is None or replayed.at is None else (replayed.at - begun).total_seconds()
            _tell(found, replayed, since_s, as_json=as_json)
    if not as_json:
        _sum_up(fold.message(), found)


async def _stored(log: ChunkLog, found: Found, until: int, void: Ranges) -> AsyncGenerator[Replayed, None]:
    async with aclosing(log.batches_of_run(found.org, found.thread, found.run, after=0, until=until)) as batches:
        async for batch in batches:
            for frame in batch:
                for index, line in enumerate(frame.lines, frame.index):
                    chunk: Chunk = from_json(line)
                    yield Replayed(chunk, index, frame.attempt, is_void(index, void), frame.stored_at)


async def _told(end: Terminal) -> AsyncGenerator[Replayed, None]:
    if end.message is None:
        return
    fold = Fold(end.message.id)
    fold.restore(end.message)
    for index, chunk in enumerate(compact(fold)):
        yield Replayed(chunk, index, end.attempt)
    yield Replayed({"type": "finish", "finishReason": end.finish_reason}, -1, end.attempt)


def _fold_in(fold: Fold, chunk: Chunk) -> None:
    try:
        fold.add(chunk)
    except FoldError as error:
        typer.secho(clean(f"This chunk fits nothing before it: {error}"), err=True, fg=typer.colors.RED)


def _tell(found: Found, replayed: Replayed, since_s: float | None, *, as_json: bool) -> None:
    if as_json:
        told: dict[str, Any] = {"run": found.run, "thread": found.thread, "index": replayed.index}
        told |= {"attempt": replayed.attempt, "void": replayed.is_void, "seconds": since_s, "chunk": replayed.chunk}
        typer.echo(clean_json(told))
        return
    when = " " * 10 if since_s is None else f"{since_s:+10.3f}"
    words = " ".join(json.dumps(replayed.chunk[name], ensure_ascii=False) for name in _WORDS if name in replayed.chunk)
    mark = " (void)" if replayed.is_void else ""
    typer.secho(clean(f"{when}  {replayed.attempt}  {replayed.chunk['type']:<24} {words}{mark}"), dim=replayed.is_void)


def _sum_up(message: UIMessage, found: Found) -> None:
    text = "".join(str(part.get("text", "")) for part in message.parts if part.get("type") == "text")
    state = "goes on" if found.end is None else f"ended: {found.end.type.removeprefix('run_')}"
    typer.secho(f"It {state}; its message has {len(message.parts)} parts. Its text:", bold=True)
    typer.echo(clean(text) or "(none)")
