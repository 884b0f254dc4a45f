"""Telling the crowd, from the process that measures."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from signal import SIGKILL
from typing import TypeVar

from pydantic import BaseModel

from decopilot.cli.bench.crowd import LINE_BYTES
from decopilot.cli.bench.orders import (
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
from decopilot.cli.errors import CliError
from decopilot.cli.spawn import bound_to_parent

AnswerT = TypeVar("AnswerT", bound=BaseModel)


class CrowdError(CliError):
    """The viewers could not do as they were told."""


class Telling:
    """The crowd's other end."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise TypeError(process)
        self.pid = process.pid
        self._to, self._from = process.stdin, process.stdout

    async def attach(self, order: Attach) -> Attached:
        """Let viewers attach; raises `CrowdError`, as everything here does."""
        return await self._ask(order, Attached)

    async def settle(self, order: Settle) -> Settled:
        """Wait until all have seen what is expected."""
        return await self._ask(order, Settled)

    async def read(self, order: Read) -> WasRead:
        """Read a stream once."""
        return await self._ask(order, WasRead)

    async def hurry(self, group: str) -> Done:
        """Let slow viewers read fast."""
        return await self._ask(Hurry(group=group), Done)

    async def drop(self, group: str) -> Done:
        """Let viewers go."""
        return await self._ask(Drop(group=group), Done)

    async def _ask(self, order: Order, answer_type: type[AnswerT]) -> AnswerT:
        self._to.write(order.model_dump_json().encode() + b"\n")
        await self._to.drain()
        line = await self._from.readline()
        if not line:
            message = "The process of the viewers ended; what it said is above."
            raise CrowdError(message)
        if line.startswith(b'{"failed"'):
            message = f"The viewers could not {Failed.model_validate_json(line).failed}"
            raise CrowdError(message)
        return answer_type.model_validate_json(line)


@asynccontextmanager
async def crowd() -> AsyncIterator[Telling]:
    """Hold a crowd while the context is open."""
    process = await asyncio.create_subprocess_exec(
        *bound_to_parent((sys.executable, "-m", "decopilot.cli.bench.crowd"), SIGKILL),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C must reach the command alone
        limit=LINE_BYTES,
    )
    try:
        yield Telling(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
