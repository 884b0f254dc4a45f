"""Quotas: how much one user and one org may ask for, and have going on, at once."""

import hashlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from decopilot.contracts.ids import RunId, ThreadId, UserId
from decopilot.domain.thread import ThreadState

WINDOW_S = 60
ORG = "org"
"""In whose name an org's messages are counted; no user has it."""
SERVICE = "service"
"""The role of a backend that acts for many: it is counted for its org only; and in whose name its runs are."""

_NAME_LENGTH = 32
_ENDED = {"completed", "requires_action", "failed", "withdrawn"}

Full = Literal["user", "org"]


@dataclass(frozen=True, slots=True)
class Quotas:
    """Messages are per minute: whatever has a run begin or queue; runs are those that go on at once."""

    messages_per_user: int
    messages_per_org: int
    runs_per_user: int
    runs_per_org: int


UNLIMITED = Quotas(*[sys.maxsize] * 4)


class Place(NamedTuple):
    """What a run that goes on takes: `who` asked for it; in a thread goes on one run at a time.

    One that `lasts` is that of a run which is in the log; every other one is a claim, newer than those of a smaller
    sequence.
    """

    who: str
    thread: ThreadId
    run: RunId
    sequence: int = 0
    lasts: bool = True


def who_asks(role: str | None, user: UserId) -> str:
    """Tell in whose name somebody of this role is counted, as a token of a subject."""
    return SERVICE if role == SERVICE else hashlib.sha256(user.encode()).hexdigest()[:_NAME_LENGTH]


def window_of(now: datetime) -> tuple[int, int]:
    """Tell in which window of a minute a message is counted, and in how many seconds that ends: 1 to 60."""
    at = int(now.timestamp())
    return at // WINDOW_S, WINDOW_S - at % WINDOW_S


def full_for(mine: Place, others: Iterable[Place], quotas: Quotas) -> Full | None:
    """Tell whose room is full without this claim, if somebody's is.

    A claim stands back behind every place that lasts and every claim that came before it: of any number at once as many
    are granted as there is room for, and never one more, though none of them waits for another. What the thread has
    already is not taken twice.
    """
    ahead = [
        place for place in others if place.thread != mine.thread and (place.lasts or place.sequence < mine.sequence)
    ]
    if len({place.thread for place in ahead}) >= quotas.runs_per_org:
        return "org"
    if mine.who != SERVICE and len({place.thread for place in ahead if place.who == mine.who}) >= quotas.runs_per_user:
        return "user"
    return None


def is_free(run: RunId, state: ThreadState) -> bool:
    """Tell whether the place of a run of this thread is to be given back.

    Where a queue waits the thread goes on by itself, and its next run is refused nothing: it takes over the place of
    the last one. A run that the thread does not know is a claim, and whoever made it has yet to use it.
    """
    if state.active is not None:
        if run == state.active.run_id:
            return False
    elif state.queue:
        return False
    record = state.runs.get(run)
    return state.is_deleted or (record is not None and record.status in _ENDED)
