import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from decopilot.contracts.chunks import Chunk
from decopilot_runner.default_agent.asides import Asides


def chunk(name: str) -> Chunk:
    return {"type": name}


async def test_what_is_told_comes_while_the_stream_is_still_waited_for() -> None:
    asides, gate = Asides(), asyncio.Event()

    async def stream() -> AsyncGenerator[Chunk, None]:
        yield chunk("one")
        asides.tell(chunk("aside"))
        await gate.wait()
        yield chunk("two")

    async with aclosing(asides.between(stream())) as between:
        assert [chunk("one"), chunk("aside")] == [await anext(between), await anext(between)]
        gate.set()
        assert [chunk("two")] == [told async for told in between]


async def test_the_stream_goes_on_only_once_its_chunk_was_taken() -> None:
    asides, seen = Asides(), []

    async def stream() -> AsyncGenerator[Chunk, None]:
        for name in ("one", "two"):
            yield chunk(name)
            seen.append(name)

    async with aclosing(asides.between(stream())) as between:
        await anext(between)
        for _ in range(10):
            await asyncio.sleep(0)
        assert [] == seen
        await anext(between)
        assert ["one"] == seen


async def test_an_error_of_the_stream_comes_behind_what_it_said() -> None:
    asides = Asides()

    async def stream() -> AsyncGenerator[Chunk, None]:
        yield chunk("one")
        asides.tell(chunk("aside"))
        raise LookupError

    between = asides.between(stream())
    assert [chunk("one"), chunk("aside")] == [await anext(between), await anext(between)]
    with pytest.raises(LookupError):
        await anext(between)


async def test_closing_it_closes_the_stream_in_its_own_task() -> None:
    asides, tasks = Asides(), []

    async def stream() -> AsyncGenerator[Chunk, None]:
        tasks.append(asyncio.current_task())
        try:
            yield chunk("one")
            yield chunk("two")
        finally:
            tasks.append(asyncio.current_task())

    between = asides.between(stream())
    await anext(between)
    await between.aclose()

    assert 2 == len(tasks)
    assert tasks[0] is tasks[1]
    assert tasks[0] is not asyncio.current_task()


async def test_a_cancellation_of_the_streams_own_is_raised() -> None:
    async def stream() -> AsyncGenerator[Chunk, None]:
        yield chunk("one")
        raise asyncio.CancelledError

    between = Asides().between(stream())
    await anext(between)
    with pytest.raises(asyncio.CancelledError):
        await anext(between)
