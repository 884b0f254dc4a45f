"""Waiting for a run's end, whatever dies meanwhile: its chunks are followed, and silence is asked about."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import cast

from decopilot.client.answers import ENDS, Answer, answer_in, result_of
from decopilot.client.attaching import Event
from decopilot.client.calling import TRANSIENT, backoff
from decopilot.client.errors import ApiError, UnreachableError
from decopilot.client.models import Accepted, EndStatus, History, RunResult
from decopilot.contracts.chunks import RESET, THREAD_DELETED, Chunk

LAST_WORDS_S = 2.0
"""How long the stream may still bring the end of a run that is known to have ended."""
SETTLED_S = 10.0
"""How long the end of a run, once its stream has said it, may take to be in the log."""


class Waiter:
    """Waits for the end of one run.

    `attach` gives its thread's chunks from a cursor on. `ask` repeats the request that asked for the run, which tells
    how it stands: the stream alone would wait for ever for a run that was withdrawn, or whose chunks are gone.
    """

    def __init__(
        self,
        accepted: Accepted,
        *,
        attach: Callable[[str], AsyncGenerator[Event, None]],
        ask: Callable[[], Awaitable[Accepted]],
        read: Callable[[], Awaitable[History]],
        on_chunk: Callable[[Chunk], None] | None,
        silence_s: float,
    ) -> None:
        self._accepted = accepted
        self._attach = attach
        self._ask = ask
        self._read = read
        self._on_chunk = on_chunk
        self._silence_s = silence_s
        self._answer = Answer(accepted.run_id)
        self._is_asked_for = asyncio.Event()
        self._heard_at = 0.0

    async def wait(self) -> RunResult:
        """Wait for the end, and tell it.

        Raises:
            ApiError: the gateway refuses for good to tell: the token, or the thread, is no good any more.

        """
        if _has_ended(self._accepted):
            return await self._from_history(self._accepted)
        self._heard_at = self._clock()
        following = asyncio.create_task(self._follow(), name="follow the chunks")
        asking = asyncio.create_task(self._ask_in_silence(), name="ask in silence")
        try:
            await asyncio.wait([following, asking], return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                await asyncio.wait([following], timeout=0 if asking.exception() else LAST_WORDS_S)
            if following.done():
                following.result()
                # The last chunk stands before the event that ends the run: who is told of the end by us may rely on it.
                self._is_asked_for.set()
                if (result := self._answer.result()) is not None:
                    await asyncio.wait([asking], timeout=SETTLED_S)
                    return result
            return await self._from_history(await asking)
        finally:
            following.cancel()
            asking.cancel()
            await asyncio.gather(following, asking, return_exceptions=True)

    async def _follow(self) -> None:
        async with aclosing(self._attach(self._accepted.cursor)) as events:
            async for event in events:
                chunks = self._answer.take(event.chunk)
                if event.chunk["type"] in {RESET, THREAD_DELETED}:
                    self._is_asked_for.set()
                elif chunks:
                    self._heard_at = self._clock()
                for chunk in chunks:
                    if self._on_chunk is not None:
                        self._on_chunk(chunk)
                if self._answer.ended:
                    return

    async def _ask_in_silence(self) -> Accepted:
        """Ask how the run stands whenever nothing of it was heard for a while, until it has ended."""
        pauses = backoff()
        while True:
            try:
                async with asyncio.timeout_at(self._heard_at + self._silence_s):
                    await self._is_asked_for.wait()
            except TimeoutError:
                if self._clock() < self._heard_at + self._silence_s:
                    continue
            self._is_asked_for.clear()
            if (found := await self._asked()) is not None and _has_ended(found):
                return found
            self._heard_at = self._clock()
            if self._answer.ended:
                await asyncio.sleep(next(pauses))
                self._is_asked_for.set()

    async def _asked(self) -> Accepted | None:
        """Ask once; None where the gateway can't tell now."""
        try:
            return await self._ask()
        except UnreachableError:
            return None
        except ApiError as error:
            if error.status not in TRANSIENT:
                raise
            return None

    async def _from_history(self, ended: Accepted) -> RunResult:
        status = cast("EndStatus", ended.status)
        if status == "withdrawn":
            return result_of(ended.run_id, status, None)
        pauses = backoff()
        while True:
            try:
                history = await self._read()
                break
            except UnreachableError:
                await asyncio.sleep(next(pauses))
            except ApiError as error:
                if error.status not in TRANSIENT:
                    raise
                await asyncio.sleep(next(pauses))
        message = answer_in(history.messages, answer=self._answer.message_id, question=ended.message_id)
        result = result_of(ended.run_id, status, message, reason=self._answer.reason)
        # What was resolved already waits in the message until the rest is.
        return replace(result, pending=tuple(asked for asked in result.pending if asked in history.pending))

    def _clock(self) -> float:
        return asyncio.get_running_loop().time()


def _has_ended(accepted: Accepted) -> bool:
    return accepted.status in ENDS
