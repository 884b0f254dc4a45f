"""Reading the event log as a stream of events, from a time on, perhaps without an end."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

from nats.errors import Error as NatsError

from decopilot.cli.errors import CliError
from decopilot.cli.reaching import Where, find, reaching
from decopilot.contracts import subjects
from decopilot.contracts.events import Recorded, UnknownEventError
from decopilot.contracts.ids import is_id
from decopilot.log.journal import decode
from decopilot.log.store import Store, Stored

FOLLOW_PAUSE_S = 0.3
_AGO = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def read_log(where: Where, look: Callable[[Store], Coroutine[Any, Any, None]]) -> None:
    """Connect, and look; Ctrl-C ends it quietly.

    Raises:
        CliError: no broker, or it went away.

    """

    async def connect() -> None:
        settings = find(where).settings
        async with reaching(settings, "look") as nc, Store(nc) as store:
            await look(store)

    try:
        asyncio.run(connect())
    except KeyboardInterrupt:
        pass
    except (NatsError, TimeoutError) as error:
        message = f"The broker does not answer ({error!r}). See what is wrong with it: decopilot doctor"
        raise CliError(message) from error


def an_id(text: str, what: str) -> str:
    """Return what may be an id; raises `CliError` for what can't."""
    if not is_id(text):
        message = f"{text!r} is no {what}: ids are 1 to 64 letters, digits, '_' or '-'."
        raise CliError(message)
    return text


def time_of(text: str, now: datetime) -> datetime:
    """Read a time: `30m`, `2h`, `7d` ago, or ISO 8601, local where it names no zone; raises `CliError` for all else."""
    try:
        if (ago := _AGO.fullmatch(text)) is not None:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        message = f"{text!r} is no time. Say how long ago (30m, 2h, 7d), or a time such as 2026-11-28T12:00."
        raise CliError(message) from error


async def sequence_before(store: Store, filter_: str, since: datetime) -> int:
    """Find a sequence of the event log behind which is all that matches and was stored since then, in some 30 reads."""
    low, high = 0, int((await store.js.stream_info(subjects.EVENTS_STREAM)).state.last_seq)
    while low < high:
        middle = (low + high) // 2
        found = await _first_behind(store, filter_, middle)
        if found is None or (found.stored_at is not None and found.stored_at >= since):
            high = middle
        else:
            low = found.sequence
    return low


async def _first_behind(store: Store, filter_: str, sequence: int) -> Stored | None:
    async with aclosing(store.read(subjects.EVENTS_STREAM, filter_, sequence, count=1)) as batches:
        async for batch in batches:
            return batch[0]
    return None


async def events(
    store: Store, filter_: str, *, after: int, follow: bool = False, at_end: Callable[[], None] = lambda: None
) -> AsyncGenerator[tuple[Stored, Recorded | None], None]:
    """Yield the events that match, in order, each also decoded, unless this version does not know it.

    With `follow` it goes on with those that come; `at_end` is called whenever there are no more yet.
    """
    while True:
        async with aclosing(store.read(subjects.EVENTS_STREAM, filter_, after)) as batches:
            async for batch in batches:
                for stored in batch:
                    after = stored.sequence
                    try:
                        yield stored, decode(stored)
                    except UnknownEventError:
                        yield stored, None
        at_end()
        if not follow:
            return
        await asyncio.sleep(FOLLOW_PAUSE_S)
