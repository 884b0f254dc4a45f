"""Checks of the clocks: this machine's, by a question to the broker; the services', by what they wrote last."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from decopilot.cli.doctor.findings import Finding, fault, ok
from decopilot.cli.doctor.patient import Patient
from decopilot.contracts import subjects
from decopilot.contracts.events import RunCancelRequested, RunHandedBack, RunQueued, RunStarted, UnknownEventError
from decopilot.log.journal import decode

MAX_SKEW_S = 2.0
"""More than a slow append explains."""
EVENTS_LOOKED_AT = 2_000
_WHY = "Tokens and links expire at the wrong time, minutes of limits differ, automations are early or late."
_REMEDY = "Have its machine keep time: timedatectl set-ntp true (or chrony), then restart the service."


async def check_clocks(patient: Patient) -> AsyncIterator[Finding]:
    """Compare clocks with that of the broker, which stamps everything."""
    before = datetime.now(UTC)
    told = await patient.broker_now()
    after = datetime.now(UTC)
    if told is not None:
        # The answer was given at some time between the two.
        off_s = max((before - told).total_seconds(), (told - after).total_seconds(), 0.0)
        yield _judged("this machine", off_s, after < told)
    async for who, off_s, is_ahead in _written(patient):
        yield _judged(who, off_s, is_ahead)


def _judged(who: str, off_s: float, is_behind_or_ahead: bool) -> Finding:  # noqa: FBT001  two words
    if off_s <= MAX_SKEW_S:
        return ok("clocks", "clock", f"The clock of {who} agrees with the broker's.")
    way = "behind" if is_behind_or_ahead else "ahead of"
    return fault("clocks", "clock_skew", f"The clock of {who} is {off_s:.0f} s {way} the broker's.", _WHY, _REMEDY)


async def _written(patient: Patient) -> AsyncIterator[tuple[str, float, bool]]:
    """Yield, per writer, how far the newest events that it wrote by its clock are from when they were stored.

    An event is written before it is stored, and an append may have been held up: of several, the nearest counts.
    """
    info = await patient.stream(subjects.EVENTS_STREAM)
    last = int(info.get("state", {}).get("last_seq", 0))
    nearest: dict[str, float] = {}
    for kind in ("run_started", "run_handed_back", "run_queued", "run_cancel_requested"):
        filter_ = subjects.events_of_type(kind)
        async for batch in patient.store.read(subjects.EVENTS_STREAM, filter_, max(0, last - EVENTS_LOOKED_AT)):
            for stored in batch:
                try:
                    recorded = decode(stored)
                except UnknownEventError:
                    continue
                who = _writer(recorded.event)
                if who is None or recorded.stored_at is None:
                    continue
                off_s = (recorded.event.at - recorded.stored_at).total_seconds()
                if who not in nearest or abs(off_s) < abs(nearest[who]):
                    nearest[who] = off_s
    for who, off_s in sorted(nearest.items()):
        yield who, abs(off_s), off_s < 0


def _writer(event: object) -> str | None:
    match event:
        case RunStarted(runner_id=runner) | RunHandedBack(runner_id=runner):
            return f"runner {runner}"
        case RunQueued() | RunCancelRequested():
            return "command"
        case _:
            return None
