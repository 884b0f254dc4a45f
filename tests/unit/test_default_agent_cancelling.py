import asyncio
from pathlib import Path

import pytest

from support.demo import demo_agent
from support.driven import Driven, KilledError, noted

IN_TIME_S = 5
LOST = "ScopedTask.__init__.<locals>.run"


def others() -> set[asyncio.Task[object]]:
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


async def started(run: Driven, kind: str) -> asyncio.Task[object]:
    """Drive a run as far as a chunk of this kind, and a little further: the agent is at work behind it."""
    task = asyncio.create_task(run.attempt())
    async with asyncio.timeout(IN_TIME_S):
        while kind not in {chunk["type"] for chunk in run.chunks}:
            await asyncio.sleep(0)
    for _ in range(50):
        await asyncio.sleep(0)
    assert not task.done()
    return task


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("/slowtool 600", "tool-input-available"),
        ("/hang", "text-delta"),
        ("/count 5 60000", "start-step"),
        ("/subtask /slowtool 600", "tool-output-available"),
        ("/subtask /hang", "tool-output-available"),
    ],
)
async def test_whatever_an_agent_waits_for_a_cancellation_ends_it_and_nothing_is_left(
    caplog: pytest.LogCaptureFixture, text: str, kind: str
) -> None:
    task = await started(Driven(demo_agent(delay_ms=0), text), kind)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, IN_TIME_S)
    assert set() == others()
    assert [] == caplog.records


@pytest.mark.parametrize(("text", "chunks"), [("/steps 9 /note x", 40), ("/subtask /steps 9 /note x", 14)])
async def test_an_agent_that_is_closed_at_any_chunk_does_nothing_more(tmp_path: Path, text: str, chunks: int) -> None:
    agent = demo_agent(delay_ms=0, demo_dir=tmp_path)
    for kill_at in range(1, chunks):
        with pytest.raises(KilledError):
            await Driven(agent, text).attempt(kill_at=kill_at)
        before = noted(tmp_path)
        for _ in range(20):
            await asyncio.sleep(0)

        assert before == noted(tmp_path)
        # pydantic-ai (2.68) loses the task of a request that is cancelled just as its stream opens: it waits for ever.
        left = others()
        assert {LOST} >= {getattr(task.get_coro(), "__qualname__", "") for task in left}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def test_a_model_that_hangs_says_a_few_words_and_then_nothing() -> None:
    run = Driven(demo_agent(delay_ms=0), "/hang")
    task = await started(run, "text-delta")

    assert "I say a few words and then" == run.message.text
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_slow_tool_takes_as_long_as_it_was_told() -> None:
    run = Driven(demo_agent(delay_ms=0), "/slowtool 0.05")
    begin = asyncio.get_running_loop().time()
    await run.attempt()

    assert asyncio.get_running_loop().time() - begin >= 0.05
    assert "The tool took 0.05 s." == run.message.text
