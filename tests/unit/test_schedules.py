"""When something is due: as cron says it, through every shift of the clock."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decopilot.domain.schedules import Schedule, ScheduleError
from decopilot.kit.configuration import ConfigurationFileError, read_configuration

BERLIN = "Europe/Berlin"
FORWARD = datetime(2026, 3, 29, 1, tzinfo=UTC)
"""In Berlin the clock goes from 2 to 3."""
BACK = datetime(2026, 10, 25, 1, tzinfo=UTC)
"""And here from 3 back to 2."""


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("cron", "zone", "after", "due"),
    [
        ("0 8 * * *", "UTC", "2026-01-01T08:00Z", "2026-01-02T08:00Z"),
        ("0 8 * * *", "UTC", "2026-01-01T07:59:59.999Z", "2026-01-01T08:00Z"),
        ("0 8 * * 1-5", BERLIN, "2026-07-03T08:00+02:00", "2026-07-06T08:00+02:00"),
        ("*/5 * * * * *", "UTC", "2026-01-01T00:00:00.5Z", "2026-01-01T00:00:05Z"),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00Z", "2028-02-29T00:00Z"),
        # The clock leaves 2:30 out: right after the gap.
        ("30 2 * * *", BERLIN, "2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00"),
        # It comes twice: the first time counts, wherever in the second hour one asks.
        ("30 2 * * *", BERLIN, "2026-10-25T02:29+02:00", "2026-10-25T02:30+02:00"),
        ("30 2 * * *", BERLIN, "2026-10-25T02:10+01:00", "2026-10-26T02:30+01:00"),
        ("0 * * * *", BERLIN, "2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"),
    ],
)
def test_it_is_due_as_cron_says(cron: str, zone: str, after: str, due: str) -> None:
    assert at(due) == Schedule.read(cron, zone).next(at(after))


@pytest.mark.parametrize(
    ("cron", "zone", "until", "due"),
    [
        ("0 8 * * *", "UTC", "2026-01-01T08:00Z", "2026-01-01T08:00Z"),
        ("0 8 * * *", "UTC", "2026-01-01T07:59:59.999Z", "2025-12-31T08:00Z"),
        ("30 2 * * *", BERLIN, "2026-03-29T03:15+02:00", "2026-03-29T03:00+02:00"),
        ("30 2 * * *", BERLIN, "2026-10-25T02:10+01:00", "2026-10-25T02:30+02:00"),
        ("* * * * * *", BERLIN, "2026-10-25T02:10:07.3+01:00", "2026-10-25T02:10:07+01:00"),
    ],
)
def test_the_latest_due_time_is_the_one_before(cron: str, zone: str, until: str, due: str) -> None:
    assert at(due) == Schedule.read(cron, zone).latest(after=at("2025-01-01T00:00Z"), until=at(until))


CRONS = [
    "* * * * *",
    "*/7 * * * *",
    "30 2 * * *",
    "15,45 1-3 * * *",
    "0 * * * *",
    "0 3 * * 0",
    "0 0 2 * * *",
    "*/20 * * * * *",
]


@given(
    cron=st.sampled_from(CRONS),
    zone=st.sampled_from(["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe"]),
    begin=st.one_of(
        st.sampled_from([FORWARD, BACK, datetime(2026, 11, 1, 6, tzinfo=UTC), datetime(2026, 4, 4, 15, tzinfo=UTC)]),
        st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  hypothesis wants them so
    ),
    minutes=st.integers(-240, 240),
    span=st.timedeltas(timedelta(0), timedelta(hours=5)),
)
def test_forwards_and_backwards_the_same_times_are_due(
    cron: str, zone: str, begin: datetime, minutes: int, span: timedelta
) -> None:
    schedule = Schedule.read(cron, zone)
    after = begin + timedelta(minutes=minutes)
    until, latest, moment = after + span, None, after
    while (due := schedule.next(moment)) is not None and due <= until:
        assert due > moment
        latest = moment = due
    assert latest == schedule.latest(after=after, until=until)


@pytest.mark.parametrize(
    ("cron", "zone", "why"),
    [
        ("", "UTC", "Wrong number of fields"),
        ("61 * * * *", "UTC", "Bad minute"),
        ("0 0 30 2 *", "UTC", "Bad day-of-month"),
        ("@daily", "UTC", "Wrong number of fields"),
        ("0 8 * * *", "Mars/Olympus", "there is no such time zone"),
        ("0 8 * * *", "../etc/passwd", "there is no such time zone"),
        ("0 8 * * *", "", "there is no such time zone"),
    ],
)
def test_what_can_not_be_read_is_refused_and_says_why(cron: str, zone: str, why: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        Schedule.read(cron, zone)
    assert why == caught.value.why


def test_a_file_with_a_schedule_that_can_not_be_read_is_refused_and_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "decopilot.toml"
    wrong = 'schedule = "61 * * * *"', 'schedule = "0 8 * * *"\ntimezone = "Mars/Olympus"'
    path.write_text("".join(f'[automations.a{n}]\norg = "o"\nmessage = "m"\n{line}\n' for n, line in enumerate(wrong)))
    monkeypatch.setenv("DECOPILOT_CONFIG", str(path))
    with pytest.raises(ConfigurationFileError) as caught:
        read_configuration()
    said = ["schedule: '61 * * * *': Bad minute", "timezone: 'Mars/Olympus': there is no such time zone"]
    for number, (problem, wanted) in enumerate(zip(caught.value.problems, said, strict=True)):
        assert problem.endswith(f"automations.a{number}.{wanted}")
