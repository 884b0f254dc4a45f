"""Schedules: when something is due, by cron and a time zone."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_SHIFT = timedelta(hours=3)
"""Within so long behind a shift of the clock the same time of day may come twice."""


class ScheduleError(ValueError):
    """The schedule or its time zone can't be read; `key` is the one to be mended."""

    def __init__(self, said: str, why: str, key: str = "schedule") -> None:
        self.said, self.why, self.key = said, why, key
        super().__init__(f"{said!r}: {why}")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A cron expression of five fields, or of six with the seconds first, in a time zone.

    As in Debian's cron, a job at a fixed time of day that the clock leaves out comes right after the gap, and one that
    comes twice counts the first time. Times of day with stars, and six fields, follow the clock as it goes.
    """

    cron: str
    zone: ZoneInfo

    @classmethod
    def read(cls, cron: str, timezone: str) -> "Schedule":
        """Read a schedule.

        Raises:
            ScheduleError: it is no cron expression, never due, or there is no such time zone.

        """
        try:
            zone = ZoneInfo(timezone)
        except (KeyError, ValueError, OSError) as error:
            raise ScheduleError(timezone, "there is no such time zone", key="timezone") from error
        try:
            is_due = next(CronSim(cron, datetime(2026, 1, 1, tzinfo=UTC)), None) is not None
        except (CronSimError, AssertionError, ValueError) as error:
            raise ScheduleError(cron, str(error) or "is no cron expression") from error
        if not is_due:
            raise ScheduleError(cron, "is never due")
        return cls(cron, zone)

    def next(self, after: datetime) -> datetime | None:
        """Tell the first due time behind a moment; None where there is none in fifty years."""
        for due in CronSim(self.cron, after.astimezone(self.zone)):
            # In an hour that comes twice a fixed time of day is looked for from its first one on.
            if (found := due.astimezone(UTC)) > after:
                return found
        return None

    def latest(self, *, after: datetime, until: datetime) -> datetime | None:
        """Tell the last due time behind `after` and not behind `until`; None where nothing was due between them."""
        local = until.astimezone(self.zone)
        before = (until.astimezone(UTC) - _SHIFT).astimezone(self.zone)
        shift = (before.utcoffset() or timedelta(0)) - (local.utcoffset() or timedelta(0))
        start = (until.astimezone(UTC) + max(shift, timedelta(0))).astimezone(self.zone)
        # Going back it leaves the second out that it starts with, unless that has begun.
        for due in CronSim(self.cron, start.replace(microsecond=1), reverse=True):
            found = due.astimezone(UTC)
            if found <= after:
                return None
            if found <= until:
                return found
        return None
