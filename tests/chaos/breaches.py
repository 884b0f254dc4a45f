"""Breaches: evidence of broken promises, made from that of kept ones, to know that each of them is looked for."""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace

from chaos.narrowing import finished, has_ended, is_put_aside
from decopilot.cli.chaos.doors import Answer
from decopilot.cli.chaos.evidence import Evidence
from decopilot.cli.chaos.judging_runs import cancelled_at
from decopilot.cli.chaos.judging_viewers import stretches
from decopilot.cli.chaos.ledger import Receipt
from decopilot.cli.chaos.truth import ThreadTruth
from decopilot.cli.chaos.viewers import Connection, Event
from decopilot.contracts.events import RunRequested, ThreadForked

Breach = Callable[[Evidence], None]


def _busy(evidence: Evidence) -> ThreadTruth:
    watched = {viewer.thread for viewer in evidence.viewers}
    return next(t for t in evidence.threads.values() if t.deleted_at is None and t.name in watched)


def _unwatched(evidence: Evidence) -> ThreadTruth:
    watched = {viewer.thread for viewer in evidence.viewers}
    return next(t for t in evidence.threads.values() if t.name not in watched and has_ended(t))


def _erased(evidence: Evidence) -> ThreadTruth:
    return next(t for t in evidence.threads.values() if t.deleted_at is not None)


def _watching(evidence: Evidence) -> Connection:
    """A connection of a viewer that takes rewinds: nothing of what it got is given twice."""
    steady = next(v for v in evidence.viewers if v.name == f"{_busy(evidence).name}/steady")
    return max(steady.stream.connections, key=lambda connection: len(connection.events))


def _in_the_middle(connection: Connection) -> int:
    """A chunk of text: it is not void unless its runner died, so one of the longest run there is."""
    deltas = [number for number, event in enumerate(connection.events) if b'"text-delta"' in event.data]
    return deltas[len(deltas) // 2]


def lose_a_chunk(evidence: Evidence) -> None:
    """A living chunk never came."""
    thread, connection = _busy(evidence), _watching(evidence)
    living = {f"{line.position[0]}-{line.position[1]}" for line in thread.lines if not line.is_void}
    place = next(n for n in range(_in_the_middle(connection), 0, -1) if connection.events[n].id in living)
    del connection.events[place]


def repeat_a_chunk(evidence: Evidence) -> None:
    """A chunk came twice."""
    connection = _watching(evidence)
    place = _in_the_middle(connection)
    connection.events.insert(place, connection.events[place])


def swap_two_chunks(evidence: Evidence) -> None:
    """Two chunks came in the other order."""
    events, place = _watching(evidence).events, _in_the_middle(_watching(evidence))
    events[place], events[place + 1] = events[place + 1], events[place]


def change_a_chunk(evidence: Evidence) -> None:
    """A chunk came otherwise than it is stored."""
    events, place = _watching(evidence).events, _in_the_middle(_watching(evidence))
    events[place] = replace(events[place], data=b'{"type":"text-delta","id":"text-0","delta":"!"}')


def forget_an_end_without_viewers(evidence: Evidence) -> None:
    """A run that nobody watched has no end."""
    next(run for run in _unwatched(evidence).runs.values() if run.ends).ends.clear()


def leave_open(evidence: Evidence) -> None:
    """A run's log has no closing frame."""
    finished(_busy(evidence))[0].frames.pop()


def let_a_zombie_write(evidence: Evidence) -> None:
    """A frame of an attempt stands before one of an earlier attempt."""
    frames = finished(_busy(evidence))[0].frames
    frames[0] = replace(frames[0], attempt=99)


def end_twice(evidence: Evidence) -> None:
    """A run has two ends."""
    ends = finished(_busy(evidence))[0].ends
    ends.append(ends[0])


def answer_twice(evidence: Evidence) -> None:
    """A message was accepted as two runs."""
    next(posted for posted in evidence.ledger.posts.values() if posted.runs).runs.append("run_another")


def execute_again(evidence: Evidence) -> None:
    """A call was executed more often than anybody approved."""
    calls = {
        part["toolCallId"]
        for run in finished(_busy(evidence))
        for part in (run.ends[0].message.parts if run.ends[0].message else ())
        if "toolCallId" in part
    }
    evidence.notes.extend(5 * [note for note in evidence.notes if note["call"] in calls])


def ignore_a_cancellation(evidence: Evidence) -> None:
    """A cancellation was accepted, and nothing came of it."""
    thread = _busy(evidence)
    run = next(run for run in finished(thread) if cancelled_at(thread, run) is None)
    evidence.ledger.receipts.append(Receipt(thread.name, "cancel", "cancelling", run.run_id))


def tear_the_seam(evidence: Evidence) -> None:
    """A history came with the cursor of another moment."""
    snapshots = evidence.ledger.snapshots
    place = next(n for n, snapshot in enumerate(snapshots) if snapshot.thread == _busy(evidence).name)
    snapshots[place] = replace(snapshots[place], cursor="1-1")


def pass_over_a_lost_cursor(evidence: Evidence) -> None:
    """A cursor that is purged was answered as if nothing were missing."""
    went_on = Event("1-0", b'{"type":"text-delta","id":"text-0","delta":"!"}', 0.0)
    evidence.first_after[_busy(evidence).name, "1-0"] = [went_on]


def let_a_stranger_in(evidence: Evidence) -> None:
    """A door was open to another org."""
    evidence.ledger.trespasses[0] = replace(evidence.ledger.trespasses[0], status=200, code="")


def forget_an_acknowledged_title(evidence: Evidence) -> None:
    """A title was acknowledged, and is not in the log."""
    receipt = Receipt(_busy(evidence).name, "retitle", "titled", None, "Another")
    evidence.ledger.receipts.append(receipt)


def keep_what_was_to_be_deleted(evidence: Evidence) -> None:
    """A deletion was acknowledged, and the thread is there."""
    evidence.ledger.receipts.append(Receipt(_busy(evidence).name, "delete", "deleted", None))


def delete_what_nobody_wanted_deleted(evidence: Evidence) -> None:
    """A thread is deleted whose user did not ask for that."""
    evidence.ledger.deleting = evidence.ledger.deleting - {_erased(evidence).name}


def store_another_text(evidence: Evidence) -> None:
    """A message is stored with another text than was posted."""
    posts = evidence.ledger.posts
    id_ = next(id_ for id_, posted in posts.items() if posted.runs and posted.thread == _busy(evidence).name)
    posts[id_] = replace(posts[id_], post=replace(posts[id_].post, text="Another text"))


def pass_over_a_run(evidence: Evidence) -> None:
    """One that came to what was present got nothing of the run that followed, and all of those after it."""
    for viewer in evidence.viewers:
        thread, first = evidence.threads[viewer.thread], stretches(viewer)[0]
        frames = [thread.by_sequence[position[0]] for position in first.positions]
        later = [frame for frame in frames if frame.run != frames[0].run]
        if viewer.stream.connections and later and frames[0].index == 0:
            passed = {str(frame.sequence) for frame in frames if frame.run == frames[0].run}
            viewer.start, viewer.stream.stood = None, f"{frames[0].previous}-9999"
            for connection in viewer.stream.connections:
                connection.events[:] = [one for one in connection.events if one.id.partition("-")[0] not in passed]
            return


def take_a_blunder(evidence: Evidence) -> None:
    """A senseless request was accepted."""
    evidence.ledger.blunders[0] = replace(evidence.ledger.blunders[0], status=202, code="")


def end_with_another_message(evidence: Evidence) -> None:
    """A run's end holds a message that its log does not add up to."""
    run = finished(_busy(evidence))[0]
    run.ends[0] = run.ends[0].model_copy(update={"message": None})


def hold_a_view_back(evidence: Evidence) -> None:
    """A view was not written."""
    evidence.views[_busy(evidence).name] = None


def empty_a_history(evidence: Evidence) -> None:
    """A gateway shows no messages."""
    key = next(key for key in evidence.histories if key[0] == _busy(evidence).name)
    evidence.histories[key] = Answer(200, {"messages": []})


def lose_a_watch_event(evidence: Evidence) -> None:
    """A watch event was never told."""
    place = next(n for n, event in enumerate(evidence.watch) if event.told["subject"] == _busy(evidence).name)
    del evidence.watch[place]


def purge_nothing(evidence: Evidence) -> None:
    """A run's frames are still there."""
    run = finished(_busy(evidence))[0]
    run.left[:] = run.frames


def erase_by_half(evidence: Evidence) -> None:
    """A deleted thread has an event left."""
    evidence.events_left[_erased(evidence).name] += 1


def show_what_was_dropped(evidence: Evidence) -> None:
    """What stood behind a message that is answered anew is still shown."""
    # Of a deleted thread no gateway shows anything.
    told = next(told for told in evidence.ledger.regenerated if evidence.threads[told.thread].deleted_at is None)
    key = next(key for key in evidence.histories if key[0] == told.thread)
    evidence.histories[key] = Answer(200, {"messages": [{"id": "msg_dropped", "parts": []}]})


def begin_a_fork_otherwise(evidence: Evidence) -> None:
    """A fork begins with another text than its source held."""
    thread, forked = next(_forks(evidence))
    first, *rest = forked.messages
    other = first.model_copy(update={"parts": [{"type": "text", "text": "Another text"}]})
    begun = forked.model_copy(update={"messages": [other, *rest]})
    thread.events[0] = replace(thread.events[0], event=begun)


def _forks(evidence: Evidence) -> Iterator[tuple[ThreadTruth, ThreadForked]]:
    """Those whose sources are there to be compared with."""
    for thread in evidence.threads.values():
        match [recorded.event for recorded in thread.events[:1]]:
            case [ThreadForked(source=source) as forked] if source in evidence.threads:
                if thread.deleted_at is None and evidence.threads[source].deleted_at is None:
                    yield thread, forked


def change_a_file(evidence: Evidence) -> None:
    """A file was served otherwise than it was stored."""
    living = {thread.name for thread in evidence.threads.values() if thread.deleted_at is None}
    place = next(n for n, served in enumerate(evidence.files) if served.thread in living and served.status == 200)
    evidence.files[place] = replace(evidence.files[place], digest="0")


def list_what_is_put_aside(evidence: Evidence) -> None:
    """A gateway shows otherwise whether a thread was put aside."""
    thread = next(thread for thread in evidence.threads.values() if is_put_aside(thread) and thread.deleted_at is None)
    key = next(key for key in evidence.shown if key[0] == thread.name)
    told = evidence.shown[key]
    if told is not None:
        evidence.shown[key] = replace(told, body=told.body | {"archived": not told.body["archived"]})


def run_two_at_once(evidence: Evidence) -> None:
    """A run was requested while another was active."""
    events = _busy(evidence).events
    first, second = [n for n, recorded in enumerate(events) if isinstance(recorded.event, RunRequested)][:2]
    later = copy(events[second])
    del events[second]
    events.insert(first + 1, later)


BREACHES: tuple[tuple[str, Breach], ...] = (
    ("NO-GAP", lose_a_chunk),
    ("NO-GAP", pass_over_a_run),
    ("NO-DUP", repeat_a_chunk),
    ("ORDER", swap_two_chunks),
    ("PERSIST-FIRST", change_a_chunk),
    ("DETACHED", forget_an_end_without_viewers),
    ("ONE-CLOSE", leave_open),
    ("ONE-WRITER", let_a_zombie_write),
    ("ONE-END", end_twice),
    ("ONE-RUN", answer_twice),
    ("ONE-RUN", run_two_at_once),
    ("RESUME", execute_again),
    ("CANCEL", ignore_a_cancellation),
    ("SNAPSHOT-SEAM", tear_the_seam),
    ("HONEST-CURSOR", pass_over_a_lost_cursor),
    ("TENANT-WALL", let_a_stranger_in),
    ("BAD-INPUT", take_a_blunder),
    ("ACK", forget_an_acknowledged_title),
    ("ACK", keep_what_was_to_be_deleted),
    ("ACK", delete_what_nobody_wanted_deleted),
    ("ACK", store_another_text),
    ("FOLD", end_with_another_message),
    ("VIEWS", hold_a_view_back),
    ("HISTORY", empty_a_history),
    ("WATCH", lose_a_watch_event),
    ("PURGE", purge_nothing),
    ("BRANCH", show_what_was_dropped),
    ("BRANCH", begin_a_fork_otherwise),
    ("FILES", change_a_file),
    ("ARCHIVE", list_what_is_put_aside),
    ("DELETE", erase_by_half),
)
