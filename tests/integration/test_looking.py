"""`decopilot runs`, `events` and `replay`: what they tell of a log that is known."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from nats.js.errors import APIError

from decopilot.cli.errors import CliError
from decopilot.cli.looking.events import events
from decopilot.cli.looking.reading import read_log, sequence_before, time_of
from decopilot.cli.looking.replay import replay
from decopilot.cli.looking.runs import Asked, runs
from decopilot.cli.reaching import Where
from decopilot.contracts import subjects
from decopilot.contracts.frames import Outcome
from decopilot.contracts.ids import MessageId, ThreadId
from decopilot.domain.fold import fold
from decopilot.log.store import Store
from support.reactors import ByHand
from support.services import ORG, Record

CANCELLED = Outcome(status="failed", finish_reason="other", reason="cancelled")


@pytest.fixture
def where(broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Where:
    monkeypatch.setenv("DECOPILOT_NATS_URL", broker_url)
    return Where(tmp_path, None, {"DECOPILOT_NATS_URL": broker_url})


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    async def told(command: Callable[..., None], *args: object, **options: object) -> list[str]:
        await asyncio.to_thread(command, *args, **options)
        return capsys.readouterr().out.splitlines()

    return told


async def test_runs_are_told_of_with_how_they_stand(store: Store, where: Where, lines: Callable[..., Any]) -> None:
    record = Record.of(store)
    await ByHand(record, ThreadId("t1")).whole_run()
    await ByHand(record, ThreadId("t2")).whole_run(outcome=CANCELLED)
    await ByHand(record, ThreadId("t3")).post()
    await ByHand(record, ThreadId("t3")).post("m2")

    told = [json.loads(line) for line in await lines(runs, where, Asked(as_json=True))]
    assert [
        ("t1", "completed"),
        ("t2", "failed"),
        ("t3", "in_progress"),
        ("t3", "queued"),
    ] == [(run["thread"], run["status"]) for run in told]
    assert ["run-t1-m1"] == [
        json.loads(x)["run_id"] for x in await lines(runs, where, Asked("acme", "t1", as_json=True))
    ]
    assert ["run-t2-m1"] == [
        json.loads(x)["run_id"] for x in await lines(runs, where, Asked(status="failed", as_json=True))
    ]
    assert ["run-t3-m2"] == [json.loads(x)["run_id"] for x in await lines(runs, where, Asked(limit=1, as_json=True))]
    assert [] == await lines(runs, where, Asked(org="other"))
    rows = await lines(runs, where, Asked())
    assert "REQUESTED" == rows[0].split()[0]
    assert ["cancelled"] == [word for word in rows[2].split() if word == "cancelled"]


async def test_where_a_time_is_in_the_log_is_found_without_reading_it(store: Store) -> None:
    record = Record.of(store)
    for number in range(7):
        await ByHand(record, ThreadId(f"t{number}")).post()
    stored = [await store.get(subjects.EVENTS_STREAM, sequence) for sequence in range(1, 8)]
    times = [message.at for message in stored if message is not None and message.at is not None]
    every = f"{subjects.EVENT_PREFIX}.>"
    assert [0, 1, 2, 3, 4, 5, 6] == [await sequence_before(store, every, at) for at in times]
    assert 7 == await sequence_before(store, every, times[-1] + timedelta(seconds=1))


async def test_a_threads_log_is_told_line_by_line(store: Store, where: Where, lines: Callable[..., Any]) -> None:
    await ByHand(Record.of(store)).whole_run()
    await store.publish(
        subjects.EVENTS_STREAM, subjects.event(ORG, ThreadId("t1"), "run_dreamt"), b'{"type":"run_dreamt"}'
    )
    told = await lines(events, where, "acme", "t1", follow=False, as_json=False)
    assert ["run_requested", "run_started", "run_completed", "run_dreamt"] == [line.split()[3] for line in told]
    assert 'asks="secret of m1"' in told[0]
    assert "says=secret" in told[2]
    assert "a newer version wrote this" in told[3]
    as_json = [json.loads(line) for line in await lines(events, where, "acme", "t1", follow=False, as_json=True)]
    assert ["run_requested", "run_started", "run_completed", "run_dreamt"] == [
        line["event"]["type"] for line in as_json
    ]


async def test_a_runs_message_is_made_again_chunk_by_chunk(
    store: Store, where: Where, lines: Callable[..., Any]
) -> None:
    record = Record.of(store)
    run = await ByHand(record).whole_run()
    told = [json.loads(line) for line in await lines(replay, where, [run], "acme", speed=0, as_json=True)]
    assert await record.chunks_of("t1", run) == [line["chunk"] for line in told]
    assert "secret" == fold(MessageId("a"), [line["chunk"] for line in told]).parts[-1]["text"]
    of_thread = [json.loads(line) for line in await lines(replay, where, ["t1"], "acme", speed=0, as_json=True)]
    assert told == of_thread

    await record.frames.purge(ORG, ThreadId("t1"), run)
    again = [json.loads(line) for line in await lines(replay, where, [run], "acme", speed=0, as_json=True)]
    assert "secret" == fold(MessageId("a"), [line["chunk"] for line in again]).parts[-1]["text"]
    words = await lines(replay, where, [run], "acme", speed=0, as_json=False)
    assert "from its terminal event" in words[0]
    assert "secret" == words[-1]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (lambda where: events(where, "acme", "nowhere", follow=False, as_json=False), "decopilot runs"),
        (lambda where: events(where, "acme", "a b", follow=False, as_json=False), "1 to 64 letters"),
        (lambda where: replay(where, ["nowhere"], "acme", speed=0, as_json=True), "There is no run 'nowhere' either"),
        (lambda where: runs(where, Asked(status="done")), "in_progress"),
        (lambda where: runs(where, Asked(since="yesterday")), "30m, 2h, 7d"),
    ],
)
async def test_what_is_not_there_is_refused_with_where_to_look(
    store: Store, where: Where, command: Callable[[Where], None], words: str
) -> None:
    del store  # it makes the streams
    with pytest.raises(CliError, match=words):
        await asyncio.to_thread(command, where)


async def test_a_broker_without_our_streams_says_so_and_sends_to_the_doctor(where: Where) -> None:
    async def look(store: Store) -> None:
        await store.js.stream_info(subjects.EVENTS_STREAM)

    with pytest.raises(CliError, match="decopilot doctor") as caught:
        await asyncio.to_thread(read_log, where, look)
    assert isinstance(caught.value.__cause__, APIError)


def test_times_are_ago_or_of_iso_8601() -> None:
    now = datetime(2026, 11, 28, 12, tzinfo=UTC)
    assert datetime(2026, 11, 28, 11, 30, tzinfo=UTC) == time_of("30m", now)
    assert datetime(2026, 11, 21, 12, tzinfo=UTC) == time_of("7d", now)
    assert datetime(2026, 11, 28, 10, tzinfo=UTC) == time_of("2026-11-28T12:00+02:00", now)
