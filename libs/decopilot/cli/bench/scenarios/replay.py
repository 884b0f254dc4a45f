"""Replay of a long run that is still open, cold and warm, whole and compacted, beside a bare server's same bytes."""

import re
import statistics
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import ClassVar

from pydantic_core import from_json

from decopilot.cli.bench.ground import Ground, Server, attach_path
from decopilot.cli.bench.orders import Attach, Read, WasRead
from decopilot.cli.bench.parsing import Events, Transcript
from decopilot.cli.bench.results import Beside, Block, Row
from decopilot.cli.bench.writing import ANSWER, ORG, Said, writing
from decopilot.contracts.frames import Cursor
from decopilot.contracts.ids import ThreadId
from decopilot.contracts.messages import UIMessage
from decopilot.domain.fold import Fold
from decopilot.log.chunklog import ChunkLog

TIMEOUT_S = 120.0
GROUP = "beside"
COMPACT = "replay=compact"
NOT_SUPPORTED = "not supported by this gateway"
_ID = re.compile(rb"^id: (\S+)\ndata: ", re.MULTILINE)
_DATA = re.compile(rb"^data: (.*)$", re.MULTILINE)
_OK = 200


@dataclass(frozen=True, slots=True)
class Replay:
    """So many chunks, `each` so many a frame, read so many times by further readers."""

    name: ClassVar[str] = "replay"
    version: ClassVar[int] = 1
    limit_s: ClassVar[float] = 300.0
    is_pinned: ClassVar[bool] = True
    connections: ClassVar[int] = 2
    chunks: int = 20_000
    each: tuple[int, ...] = (1, 16)
    reads: int = 5

    async def measure(self, ground: Ground) -> AsyncIterator[Block]:
        """Measure for each size of frames."""
        for each in self.each:
            yield await _Replaying(ground, self, each).measure()


class _Replaying:
    def __init__(self, ground: Ground, replay: Replay, each: int) -> None:
        self._ground, self._replay, self._each = ground, replay, each
        self._thread = f"replay-{each}"
        self._keep = ground.folder / f"{self._thread}.txt"
        self._troubles: list[str] = []
        self._reads = 0

    async def measure(self) -> Block:
        said = await self._write()
        cold, warm, compacted = await self._ours(said)
        bare_cold, bare_warm = await self._bare(said)
        chunks = said.expected.chunks
        rows = [
            _speed("whole, first reader", chunks, cold, bare_cold),
            _speed("whole, others", chunks, _median(warm), _median(bare_warm)),
            *compacted,
        ]
        return Block(
            scenario="replay",
            title=f"{self._replay.chunks:,} chunks, {self._each} a frame",
            rows=tuple(rows),
            viewers=self._reads,
            exact=self._reads - len(self._troubles),
            troubles=tuple(self._troubles),
            facts={"body_bytes": warm[0].body_bytes},
        )

    async def _write(self) -> Said:
        chunks = self._replay.chunks
        self._ground.progress.step(f"Writing {chunks:,} chunks, {self._each} a frame", chunks)
        async with writing(self._ground.store, self._thread) as run:
            await run.open()
            async for written in run.rush(chunks, self._each):
                self._ground.progress.done(written)
            newest = await ChunkLog(self._ground.store).last_of_thread(ORG, ThreadId(self._thread))
            return run.said(Cursor(0, 0) if newest is None else newest.end)

    async def _ours(self, said: Said) -> tuple[WasRead, list[WasRead], list[Row]]:
        path = attach_path(self._thread, "cursor=0-0").path
        beside = attach_path(self._thread, f"cursor={said.end}")
        times = range(self._replay.reads)
        async with self._ground.gateway() as server:
            self._ground.progress.step("First reader of a fresh gateway")
            cold = await self._read(server, path, said)
            await self._ground.crowd.attach(Attach(group=GROUP, door=server.door, streams=(beside,)))
            self._ground.progress.step("Further readers")
            warm = [await self._read(server, path, said) for _ in times]
            whole = _folded(self._keep.read_bytes())
            found = [await self._read_compact(server, said, whole) for _ in times]
            await self._ground.crowd.drop(GROUP)
        return cold, warm, await self._compacted(said, whole, [one for one in found if one is not None])

    async def _compacted(self, said: Said, whole: UIMessage, warm: list[WasRead]) -> list[Row]:
        if not warm:
            return [Row(measure="compacted", unit="ms", value=None, note=NOT_SUPPORTED)]
        async with self._ground.gateway() as server:
            self._ground.progress.step("Compacted, first reader of a fresh gateway")
            cold = await self._read_compact(server, said, whole)
        return [
            Row(measure="compacted, first reader", unit="ms", value=None if cold is None else cold.took_s * 1000),
            Row(measure="compacted, others", unit="ms", value=_median(warm).took_s * 1000),
        ]

    async def _bare(self, said: Said) -> tuple[WasRead, list[WasRead]]:
        async with self._ground.bare(self._keep) as server:
            self._ground.progress.step("Readers of the bare server")
            cold = await self._read(server, "/replay", said)
            return cold, [await self._read(server, "/replay", said) for _ in range(self._replay.reads)]

    async def _read(self, server: Server, path: str, said: Said) -> WasRead:
        keep = self._keep.with_suffix(".read")
        order = Read(door=server.door, path=path, until=said.last.decode(), keep=str(keep), timeout_s=TIMEOUT_S)
        found = await self._ground.crowd.read(order)
        body = keep.rename(self._keep).read_bytes()
        seen = Transcript()
        seen.take_all(Events().feed(body))
        self._reads += 1
        if (seen.count, seen.crc) != (said.expected.chunks, said.expected.crc) or not seen.is_ordered:
            self._troubles.append(f"{path}: {seen.count} chunks are not the {said.expected.chunks} written")
        return found

    async def _read_compact(self, server: Server, said: Said, whole: UIMessage) -> WasRead | None:
        keep = self._keep.with_suffix(".compact")
        path = attach_path(self._thread, COMPACT).path
        found = await self._ground.crowd.read(Read(door=server.door, path=path, keep=str(keep), timeout_s=TIMEOUT_S))
        body = keep.read_bytes()
        first = _ID.search(body)
        if found.status != _OK or first is None or first[1].decode() != str(said.end):
            return None
        self._reads += 1
        if _folded(body[: body.index(b"\n\n", first.start())]) != whole:
            self._troubles.append(f"{path}: it does not fold to the message")
        return found


def _folded(body: bytes) -> UIMessage:
    fold = Fold(ANSWER)
    for data in _DATA.findall(body):
        fold.add(from_json(data))
    return fold.message()


def _median(reads: list[WasRead]) -> WasRead:
    middle = statistics.median_low([read.took_s for read in reads])
    return next(read for read in reads if read.took_s == middle)


def _speed(measure: str, chunks: int, ours: WasRead, bare: WasRead) -> Row:
    return Row(
        measure=measure,
        unit="chunks/s",
        value=chunks / ours.took_s,
        beside=(Beside(what="bare SSE", value=chunks / bare.took_s),),
    )
