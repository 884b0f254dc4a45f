"""How long chaos says that things took is what they took, from and to what the promises say."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from decopilot.cli.chaos.doors import Doors
from decopilot.cli.chaos.evidence import Evidence, Limits
from decopilot.cli.chaos.ledger import Ledger
from decopilot.cli.chaos.measuring import recoveries, silences
from decopilot.cli.chaos.outcome import Recovery, Silence
from decopilot.cli.chaos.sabotage import Hit
from decopilot.cli.chaos.schedule import Fault
from decopilot.cli.chaos.truth import RunTruth, ThreadTruth
from decopilot.cli.chaos.viewers import Connection, Event, Stream, Viewer
from decopilot.contracts.events import Recorded, RunStarted
from decopilot.contracts.frames import Frame
from decopilot.contracts.ids import OrgId, RunId, ThreadId

BEGAN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
RUN, THREAD = RunId("run_1"), ThreadId("chaos-1")


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def started(attempt: int, pid: int, seconds: float) -> Recorded:
    event = RunStarted(at=at(seconds), run_id=RUN, attempt=attempt, runner_id=f"runner-{pid}")
    return Recorded(OrgId("local"), THREAD, attempt, f"e{attempt}", event)


def frame(sequence: int, attempt: int, seconds: float) -> Frame:
    return Frame(
        org=OrgId("local"),
        thread=THREAD,
        run=RUN,
        sequence=sequence,
        frame_id=f"f{sequence}",
        attempt=attempt,
        index=0,
        previous=sequence - 1,
        body=b"{}",
        stored_at=at(seconds),
    )


def hit(service: str, pid: int, began_s: float, ended_s: float) -> Hit:
    return Hit(Fault(began_s, service, 0, "KILL"), pid, at(began_s), at(ended_s))


def evidence(run: RunTruth, *hits: Hit, connections: tuple[Connection, ...] = ()) -> Evidence:
    thread = ThreadTruth(THREAD, run.events, run.frames, set(), {RUN: run})
    stream = Stream("attach", _nowhere(), random.Random(1), (0, 0), (0, 0), connections=list(connections))
    viewer = Viewer(f"{THREAD}/steady", THREAD, rewind=True, start=None, stream=stream)
    return Evidence(Limits(), Ledger(), hits, [viewer], [], None, threads={THREAD: thread})  # type: ignore[arg-type]


def _nowhere() -> Doors:
    return Doors(None, (), "")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("hits", "kind", "at_s", "seconds"),
    [
        ([hit("runner", 7, 2, 2)], "runner kill", 2, 5),
        ([hit("runner", 7, 2, 2), hit("nats", 1, 3, 5)], "nats kill", 3, 4),
        ([hit("runner", 7, 2, 2), hit("runner", 9, 3, 3), hit("gateway", 5, 3, 3)], "runner kill", 2, 5),
        ([hit("runner", 7, 0.1, 0.2), hit("runner", 7, 2, 2), hit("runner", 8, 8, 8)], "runner kill", 2, 5),
    ],
)
def test_a_run_is_gone_on_with_from_the_last_blow_to_its_runner_or_broker_to_the_next_attempts_first_frame(
    hits: list[Hit], kind: str, at_s: float, seconds: float
) -> None:
    run = RunTruth(RUN, events=[started(1, 7, 1), started(2, 8, 6)], frames=[frame(1, 1, 1.5), frame(2, 2, 7)])
    found = [one for one in recoveries(evidence(run, *hits), BEGAN) if one.promise == "RESUME"]
    assert [Recovery(promise="RESUME", kind=kind, at_s=at_s, seconds=seconds)] == found


def test_an_attempt_that_followed_on_no_blow_recovers_from_nothing() -> None:
    run = RunTruth(RUN, events=[started(1, 7, 1), started(2, 8, 6)], frames=[frame(1, 1, 1.5), frame(2, 2, 7)])
    assert [] == list(recoveries(evidence(run, hit("runner", 9, 2, 2)), BEGAN))


def test_a_viewer_is_back_when_it_is_attached_again_and_one_that_left_by_itself_was_not_gone() -> None:
    connections = (
        Connection(None, at(1).timestamp(), at(1).timestamp(), broke=at(4).timestamp()),
        Connection("1-0", at(6).timestamp(), at(6.5).timestamp()),
        Connection("1-0", at(9).timestamp(), at(9).timestamp()),
    )
    found = list(recoveries(evidence(RunTruth(RUN), hit("gateway", 5, 3.9, 3.9), connections=connections), BEGAN))
    assert [Recovery(promise="NO-GAP", kind="gateway kill", at_s=4, seconds=2.5)] == found


def test_a_silence_is_what_was_waited_for_of_what_was_stored() -> None:
    run = RunTruth(RUN, frames=[frame(1, 1, 2), frame(2, 1, 2.1), frame(3, 1, 9)])
    came = [Event("1-0", b"{}", at(5).timestamp()), Event("2-0", b"{}", at(5.01).timestamp())]
    came.append(Event("3-0", b"{}", at(9.05).timestamp()))
    connection = Connection(None, at(1).timestamp(), at(1).timestamp(), came)
    found = list(silences(evidence(run, connections=(connection,)), BEGAN))
    assert [Silence(viewer=f"{THREAD}/steady", at_s=5, seconds=3)] == found
