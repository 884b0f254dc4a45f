"""How runs end that are ended from outside: once, in time, and so that whoever drove them is fenced."""

import itertools
from contextlib import suppress
from datetime import datetime

import pytest

from decopilot.contracts.events import RunFailed
from decopilot.contracts.ids import RunId
from decopilot.log.pump import FencedError, Pump
from support.reactors import ByHand, now
from support.services import Record

FAR_S = 5.0
"""So much later than due nothing may be done, on a busy machine."""


async def is_closed_once(record: Record, run: RunId, reason: str, thread: str = "t1") -> None:
    """One closing frame, nothing behind it, and one terminal event that says the same."""
    ends = [
        recorded.event
        for recorded in await record.events(thread)
        if isinstance(recorded.event, RunFailed) and recorded.event.run_id == run
    ]
    assert [reason] == [end.reason for end in ends]
    frames = await record.frames_of(thread, run)
    assert [frames[-1]] == [frame for frame in frames if frame.outcome is not None]
    assert frames[-1].outcome is not None
    assert (reason, ends[0].last_frame) == (frames[-1].outcome.reason, frames[-1].sequence)
    kinds = [chunk["type"] for frame in frames for chunk in frame.chunks]
    assert ("start", 1, "finish") == (kinds[0], kinds.count("finish"), kinds[-1])
    assert ("abort" in kinds) == (reason in {"cancelled", "superseded"})
    for before, frame in itertools.pairwise(frames):
        assert before.sequence == frame.previous


async def is_fenced(hand: ByHand, pump: Pump, run: RunId) -> None:
    """Whatever its writer goes on to say is refused."""
    stored = await hand.record.frames_of("t1", run)
    with pytest.raises(FencedError):
        await hand.say(pump)
    assert stored == await hand.record.frames_of("t1", run)


def was_due(began: datetime, limit_s: float) -> None:
    took_s = (now() - began).total_seconds()
    assert limit_s <= took_s < limit_s + FAR_S


async def speak_until_fenced(hand: ByHand, pump: Pump) -> None:
    """Go on as an agent does that hears of nothing."""
    with suppress(FencedError):
        while True:
            await hand.say(pump)
