"""The crowd: a process of viewers that does as it is told on stdin, and answers on stdout."""

import asyncio
import gc
import sys
import time
from pathlib import Path

import uvloop
from pydantic import BaseModel, ValidationError

from decopilot.cli.bench.latency import latency
from decopilot.cli.bench.orders import (
    ORDERS,
    Attach,
    Attached,
    Done,
    Drop,
    Failed,
    Hurry,
    Order,
    Read,
    Settle,
    Settled,
    WasRead,
)
from decopilot.cli.bench.viewers import Group, NotAttachedError, Reader
from decopilot.cli.ports import HOST

LINE_BYTES = 64 << 20
SHOWN = 5


class Crowd:
    """All groups of viewers."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}

    async def obey(self, order: Order) -> BaseModel:
        """Carry out an order; what can't be done is told."""
        try:
            return await self._obey(order)
        except (OSError, TimeoutError, ValueError, NotAttachedError) as error:
            return Failed(failed=f"{order.do}: {str(error) or type(error).__name__}")

    async def _obey(self, order: Order) -> BaseModel:
        match order:
            case Attach():
                return await self._attach(order)
            case Settle():
                return await self._settle(order)
            case Read():
                return await _read(order)
            case Hurry():
                group = self._groups[order.group]
                group.hurry.set()
                return Done(bytes_read=group.bytes_read)
            case Drop():
                group = self._groups.pop(order.group)
                await group.close()
                gc.collect()
                return Done(bytes_read=group.bytes_read)

    async def _attach(self, order: Attach) -> Attached:
        group = self._groups.setdefault(order.group, Group(order.door, order.unmeasured))
        began = time.monotonic()
        await group.attach(order.streams, order.slow_bytes_s)
        return Attached(took_s=time.monotonic() - began)

    async def _settle(self, order: Settle) -> Settled:
        group = self._groups[order.group]
        await group.settle(order.expected, order.timeout_s)
        found = [viewer.trouble(order.expected[viewer.stream.thread]) for viewer in group.viewers]
        troubles = [trouble for trouble in found if trouble is not None]
        return Settled(
            viewers=len(found),
            exact=len(found) - len(troubles),
            latency=latency(group.latencies),
            bytes_read=group.bytes_read,
            troubles=tuple(troubles[:SHOWN]),
        )


async def _read(order: Read) -> WasRead:
    reader = Reader(order.door, order.path, order.until.encode())
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: reader, HOST, order.door.port)
    try:
        async with asyncio.timeout(order.timeout_s):
            took_s = await reader.done
    finally:
        transport.abort()
    body = b"".join(reader.pieces)
    await asyncio.to_thread(Path(order.keep).write_bytes, body)
    return WasRead(status=reader.body.status, took_s=took_s, body_bytes=len(body))


async def main() -> None:
    """Obey until stdin ends."""
    # A collection over thousands of viewers would be taken for a stall of the server.
    gc.disable()
    reader = asyncio.StreamReader(limit=LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    crowd = Crowd()
    while line := await reader.readline():
        try:
            answer = await crowd.obey(ORDERS.validate_json(line))
        except ValidationError as error:
            answer = Failed(failed=str(error))
        sys.stdout.write(answer.model_dump_json() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(main())
