"""Ending: a task ends though it loses what it is told."""

import asyncio
from contextlib import suppress

import pytest

from decopilot.kit import tasks
from decopilot.kit.tasks import end


async def losing(cancellations: int) -> None:
    """Lose so many cancellations, as `wait_for` of Python 3.11 may; then go on for ever."""
    for _ in range(cancellations):
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    await asyncio.Event().wait()


async def test_tasks_end_though_they_lose_cancellations_also_those_that_others_wait_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "CANCEL_AGAIN_S", 0.01)

    async def several() -> None:
        await asyncio.gather(losing(1), losing(2))

    started = [asyncio.create_task(losing(0)), asyncio.create_task(losing(3)), asyncio.create_task(several())]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end(started)
    assert [True, True, True] == [task.cancelled() for task in started]


async def test_a_task_that_fails_on_its_way_out_is_left_to_whoever_awaits_it() -> None:
    async def failing() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ZeroDivisionError

    task = asyncio.create_task(failing())
    await asyncio.sleep(0)
    await end([task])
    with pytest.raises(ZeroDivisionError):
        await task
