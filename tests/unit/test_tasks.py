"""Tasks: what goes on until it is told to end does end, though it loses what it is told."""

import asyncio
from contextlib import suppress

import pytest

from decopilot.kit import tasks
from decopilot.kit.tasks import end, keeping


async def losing(cancellations: int) -> None:
    """Lose so many cancellations, as `wait_for` of Python 3.11 may; then go on for ever."""
    for _ in range(cancellations):
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    await asyncio.Event().wait()


async def failing() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise ZeroDivisionError


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "CANCEL_AGAIN_S", 0.01)


async def test_tasks_end_though_they_lose_cancellations() -> None:
    started = [asyncio.create_task(losing(count)) for count in (0, 1, 3)]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end(started)
    assert [True, True, True] == [task.cancelled() for task in started]


async def test_a_task_that_fails_on_its_way_out_is_left_to_whoever_awaits_it() -> None:
    task = asyncio.create_task(failing())
    await asyncio.sleep(0)
    await end([task])
    with pytest.raises(ZeroDivisionError):
        await task


@pytest.mark.parametrize("error", [None, KeyError()])
async def test_what_is_kept_has_ended_behind_the_context_however_that_was_left(error: Exception | None) -> None:
    async def starting_more() -> None:
        await asyncio.wait([start(losing(2))])

    async with asyncio.timeout(10):
        with suppress(ExceptionGroup):
            async with keeping() as start:
                start(losing(1))
                start(starting_more())
                await asyncio.sleep(0.01)
                if error is not None:
                    raise error
    assert {asyncio.current_task()} == asyncio.all_tasks()


async def test_who_fails_ends_the_others_and_is_told() -> None:
    async def failing_at_once() -> None:
        raise ZeroDivisionError

    async def working() -> None:
        async with asyncio.timeout(10), keeping() as start:
            start(losing(0))
            start(failing_at_once())
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as told:
        await working()
    assert [ZeroDivisionError] == [type(error) for error in told.value.exceptions]
    assert {asyncio.current_task()} == asyncio.all_tasks()
