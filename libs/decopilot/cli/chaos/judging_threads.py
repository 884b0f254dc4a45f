"""Judging threads: what their events promise, what was said to clients of them, and what follows from them."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import zip_longest
from typing import Any

from decopilot.cli.chaos.evidence import Evidence
from decopilot.cli.chaos.judging_runs import MARGIN_S, cancelled_at, hits_on
from decopilot.cli.chaos.ledger import Posted, Receipt
from decopilot.cli.chaos.truth import ThreadTruth
from decopilot.cli.chaos.verdict import Verdict
from decopilot.contracts.events import (
    InteractionsResolved,
    Recorded,
    RunQueued,
    RunRequested,
    RunWithdrawn,
    ThreadDeleted,
)
from decopilot.contracts.ids import RunId
from decopilot.contracts.interactions import Approval, Resolution
from decopilot.contracts.messages import UIMessage
from decopilot.domain.outcome import ABORTED
from decopilot.domain.thread import INITIAL, ThreadState, evolve
from decopilot.domain.watching import watch_events_of
from decopilot.log.history import messages_of, shown

Show = Callable[[UIMessage, ThreadState], UIMessage]
CANCEL_S = 20.0
"""So long after the last blow to broker, reactors or its runner a run that is to end may go on: both reactors may have
been killed so often that the supervisor waits for 10 s before it starts them again."""


def judge_threads(evidence: Evidence, verdict: Verdict) -> None:
    """Judge every thread, and every answer that was given of it."""
    for thread in evidence.threads.values():
        if thread.deleted_at is None:
            _one_run(thread, verdict)
            _cancels(thread, evidence, verdict)
            _views(thread, evidence, verdict)
            _history(thread, evidence, verdict)
        else:
            _deleted(thread, evidence, verdict)
        _watch_log(thread, evidence, verdict)
    _answers(evidence, verdict)
    for watcher in evidence.watchers:
        _watcher(evidence, [event for connection in watcher.connections for event in connection.events], verdict)


def _answers(evidence: Evidence, verdict: Verdict) -> None:
    for posted in evidence.ledger.posts.values():
        _posted(evidence.threads[posted.thread], posted, verdict)
    for resolved in evidence.ledger.resolved:
        thread = evidence.threads[resolved.thread]
        if thread.deleted_at is None:
            found = [(run, one) for run, one in _resolutions(thread) if one.key == resolved.interaction]
            what = f"{thread.name}: {resolved} was accepted, the log holds {found}"
            verdict.check("ONE-RUN", [run for run, _ in found] == [resolved.run_id], what)
            said = [one.approved for _, one in found if isinstance(one, Approval)]
            verdict.check("ONE-RUN", set(said) <= {resolved.approves}, what)
    for receipt in evidence.ledger.receipts:
        _receipt(evidence.threads[receipt.thread], receipt, verdict)
    for probe in evidence.ledger.trespasses:
        told = (probe.status, probe.code)
        verdict.check("TENANT-WALL", told in {probe.expected, (503, "broker_unavailable")}, f"{probe}")
    for probe in evidence.ledger.blunders:
        told = (probe.status, probe.code)
        verdict.check("BAD-INPUT", told in {probe.expected, (503, "broker_unavailable")}, f"{probe}")
    for text in evidence.ledger.unexpected:
        verdict.check("BAD-INPUT", holds=False, text=text)


def _one_run(thread: ThreadTruth, verdict: Verdict) -> None:
    state = INITIAL
    runs: dict[str, RunId] = {}
    requested: Counter[RunId] = Counter()
    for recorded in thread.events:
        event = recorded.event
        what = f"{thread.name}: event {recorded.sequence} {event.type}"
        if isinstance(event, RunRequested):
            requested[event.run_id] += 1
            active = None if state.active is None else state.active.run_id
            verdict.check("ONE-RUN", active is None, f"{what} of {event.run_id} while {active} is active")
            if state.queue and state.may_promote:
                verdict.check("ONE-RUN", event.run_id == state.queue[0].run_id, f"{what}: not the head of the queue")
        if isinstance(event, RunRequested | RunQueued) and event.message is not None:
            known = runs.setdefault(event.message.id, event.run_id)
            verdict.check(
                "ONE-RUN", known == event.run_id, f"{what}: {event.message.id} has {known} and {event.run_id}"
            )
        state = evolve(state, event)
    for run, count in requested.items():
        verdict.check("ONE-RUN", count == 1, f"{thread.name}: {run} was requested {count} times")
    verdict.check("ONE-END", state.active is None, f"{thread.name}: still active: {state.active}")
    stuck = bool(state.queue) and state.waiting is None
    verdict.check("ONE-END", not stuck, f"{thread.name}: nobody starts {[queued.run_id for queued in state.queue]}")
    keys = Counter((resolution.key, run) for run, resolution in _resolutions(thread))
    for key, count in keys.items():
        verdict.check("ONE-RUN", count == 1, f"{thread.name}: {key} was resolved {count} times")


def _resolutions(thread: ThreadTruth) -> Iterator[tuple[RunId, Resolution]]:
    """Everything that was resolved, with the run that the one who did so was told."""
    for recorded in thread.events:
        match recorded.event:
            case RunRequested(run_id=run, resolutions=resolutions):
                yield from ((run, resolution) for resolution in resolutions)
            case InteractionsResolved(run_id=run, resolutions=resolutions):
                yield from ((run, resolution) for resolution in resolutions)
            case _:
                pass


def _posted(thread: ThreadTruth, posted: Posted, verdict: Verdict) -> None:
    told = set(posted.runs)
    if thread.deleted_at is not None:
        verdict.check("ONE-RUN", len(told) <= 1, f"{posted} is several runs")
        return
    logged = {
        recorded.event.run_id
        for recorded in thread.events
        if isinstance(recorded.event, RunRequested | RunQueued)
        and recorded.event.message is not None
        and recorded.event.message.id == posted.message_id
    }
    if told:
        verdict.check("ONE-RUN", told == logged, f"{posted} was accepted, the log has {logged}")
    elif not posted.is_doubtful:
        verdict.check("ONE-RUN", not logged, f"{posted} was refused, the log has {logged}")
        verdict.check("BAD-INPUT", not logged, f"{posted} was refused, the log has {logged}")


def _cancels(thread: ThreadTruth, evidence: Evidence, verdict: Verdict) -> None:
    for run in thread.runs.values():
        asked_at = cancelled_at(thread, run)
        if asked_at is None or run.request is None or not run.ends or run.closing is None:
            continue
        end, closed_at = run.ends[0], run.closing.stored_at or run.ends[0].at
        since = max([asked_at, *(hit.ended for hit in hits_on(run, evidence.hits))])
        what = f"{thread.name}: {run.run_id} ({run.text}), to be ended at {asked_at}, {end.type} at {end.at}"
        took_s = (end.at - since).total_seconds()
        verdict.check("CANCEL", took_s < CANCEL_S, f"{what}: {took_s:.1f} s after what held it up")
        if getattr(end, "reason", None) not in ABORTED:
            # Whoever wins the closing frame decides, until whoever is to end the run has heard of it.
            soon = timedelta(seconds=evidence.limits.cancel_deadline_s + MARGIN_S)
            verdict.check("CANCEL", closed_at < since + soon, f"{what}, closed at {closed_at}")


def _receipt(thread: ThreadTruth, receipt: Receipt, verdict: Verdict) -> None:
    if thread.deleted_at is not None or receipt.run_id is None:
        return
    run = thread.runs.get(RunId(receipt.run_id))
    if not verdict.check("CANCEL", run is not None, f"{receipt}: the log knows no such run") or run is None:
        return
    match receipt.status:
        case "cancelling":
            verdict.check("CANCEL", cancelled_at(thread, run) is not None, f"{receipt}: nobody asked for that")
            verdict.check("CANCEL", len(run.ends) == 1, f"{receipt}: it has {len(run.ends)} ends")
        case "withdrawn":
            is_withdrawn = any(isinstance(recorded.event, RunWithdrawn) for recorded in run.events)
            verdict.check("CANCEL", is_withdrawn and run.request is None, f"{receipt}: it was not, or began")
        case "denied":
            continued = [r.run_id for r in thread.runs.values() if r.request and r.request.continues == run.run_id]
            verdict.check("CANCEL", not continued, f"{receipt}: {continued} goes on with it")
        case _:
            pass


def _views(thread: ThreadTruth, evidence: Evidence, verdict: Verdict) -> None:
    view = evidence.views[thread.name]
    newest = thread.events[-1].sequence if thread.events else 0
    if thread.events:
        told = None if view is None else view.sequence
        verdict.check("VIEWS", told == newest, f"{thread.name}: the view is at {told}, the log at {newest}")
        what = f"{thread.name}: the view is\n{view and view.state}\nthe log says\n{thread.state}"
        verdict.check("VIEWS", view is not None and view.state == thread.state, what)
    listed = {ref.id for ref in thread.state.messages}
    for id_, message in _messages(thread.events).items():
        # What an answer made anew has driven out is nobody's any more.
        if id_ not in listed:
            continue
        there = evidence.messages.get((thread.name, id_))
        verdict.check("VIEWS", there == message, f"{thread.name}: {id_} is\n{there}\nnot\n{message}")


def _messages(events: list[Recorded]) -> dict[str, UIMessage]:
    return {stored.message.id: stored.message for recorded in events for stored in messages_of(recorded)}


def shown_messages(events: list[Recorded], state: ThreadState, show: Show = shown) -> list[dict[str, Any]]:
    """What a history shows of these events."""
    messages = _messages(events)
    return [
        show(messages[ref.id], state).model_dump(mode="json", exclude_none=True)
        for ref in state.messages
        if ref.id in messages
    ]


def _history(thread: ThreadTruth, evidence: Evidence, verdict: Verdict) -> None:
    state = thread.state
    if not thread.events:
        return
    expected = {
        "messages": shown_messages(thread.events, state),
        "cursor": str(state.cursor),
        "status": state.status,
    }
    for (name, url), answer in evidence.histories.items():
        if name == thread.name:
            told = {} if answer is None else {key: answer.body.get(key) for key in expected}
            verdict.check("HISTORY", told == expected, f"{name} at {url}: {_difference(told, expected)}")
    for (name, url), answer in evidence.shown.items():
        if name == thread.name:
            body = {} if answer is None else answer.body
            told = {"status": body.get("status"), "queued": body.get("queued"), "title": body.get("title")}
            is_so = told == {"status": state.status, "queued": len(state.queue), "title": state.title}
            verdict.check("HISTORY", is_so, f"{name} at {url}: {body}")
            pending = [] if state.waiting is None else [one.id for one in state.waiting.pending]
            shown_pending = [one["id"] for one in body.get("pending", [])]
            verdict.check("HISTORY", shown_pending == pending, f"{name} at {url}: {body}")
            verdict.check("HISTORY", body.get("activeRun", 0) is None, f"{name} at {url}: {body}")


def _difference(told: dict[str, Any], expected: dict[str, Any]) -> str:
    """Tell the first thing that is not as it should be."""
    for key, value in expected.items():
        if told.get(key) != value and key != "messages":
            return f"{key} is {told.get(key)!r}, not {value!r}"
    for given, wanted in zip_longest(told.get("messages") or (), expected["messages"]):
        if given != wanted:
            for one, other in zip_longest((given or {}).get("parts", ()), (wanted or {}).get("parts", ())):
                if one != other:
                    return f"{(given or wanted)['id']} holds {one}, not {other}"
            return f"{given} is not {wanted}"
    return "nothing"


def _deleted(thread: ThreadTruth, evidence: Evidence, verdict: Verdict) -> None:
    tombstone = next(
        number for number, recorded in enumerate(thread.events) if isinstance(recorded.event, ThreadDeleted)
    )
    behind = thread.events[tombstone + 1 :]
    what = f"{thread.name}: behind the tombstone stands {behind}"
    verdict.check("DELETE", len(behind) <= 1, what)
    for recorded in behind:
        verdict.check("DELETE", getattr(recorded.event, "message", None) is None, what)
    left = evidence.events_left[thread.name]
    verdict.check("DELETE", left == 1 + len(behind), f"{thread.name}: {left} events are left")
    verdict.check("DELETE", thread.unended is None, f"{thread.name}: {thread.unended} is still active")
    verdict.check("DELETE", evidence.views[thread.name] is None, f"{thread.name}: its view is still there")
    for (name, id_), message in evidence.messages.items():
        if name == thread.name:
            verdict.check("DELETE", message is None, f"{name}: message {id_} is still there")
    for run in thread.runs.values():
        what = f"{thread.name}: of {run.run_id} {[frame.sequence for frame in run.left]} is left"
        verdict.check("DELETE", all(frame in run.markers for frame in run.left) and len(run.left) <= 1, what)
    for (name, url), answer in (evidence.histories | evidence.shown).items():
        if name == thread.name:
            told = "nothing" if answer is None else answer.code
            verdict.check("DELETE", told == "thread_not_found", f"{name} at {url}: {answer}")


def _watch_log(thread: ThreadTruth, evidence: Evidence, verdict: Verdict) -> None:
    told = [event.told for event in evidence.watch if event.told["subject"] == thread.name]
    known = {
        event.id: event.model_dump(mode="json") for recorded in thread.events for _, event in watch_events_of(recorded)
    }
    ids = [event["id"] for event in told]
    order = [tuple(map(int, id_.split("-"))) for id_ in ids]
    verdict.check("WATCH", order == sorted(set(order)), f"{thread.name}: watch events come as {ids}")
    missing = [event for id_, event in known.items() if id_ not in ids]
    verdict.check("WATCH", not missing, f"{thread.name}: never told: {missing}")
    for event in told:
        # Of a deleted thread there are events that were erased before they were read.
        is_known = event["id"] in known or thread.deleted_at is not None
        verdict.check("WATCH", is_known, f"{thread.name}: nothing causes {event}")
        if event["id"] in known:
            verdict.check("WATCH", known[event["id"]] == event, f"{thread.name}: {event} is not {known[event['id']]}")


def _watcher(evidence: Evidence, seen: list[Any], verdict: Verdict) -> None:
    # Whoever watches an org hears of all of its threads, of others' too.
    heard = [
        event for event in seen if event.name != "connected" and json.loads(event.data)["subject"] in evidence.threads
    ]
    for event in seen:
        if event.name == "connected" and event is not seen[0] and event.id != "0":
            verdict.check("WATCH", b'"resumed":true' in event.data, f"a watcher could not resume: {event}")
    first = int(seen[0].id) if seen else 0
    expected = [event.sequence for event in evidence.watch if event.sequence > first]
    got = [int(event.id) for event in heard]
    what = f"a watcher heard {len(got)} of {len(expected)}: misses {sorted(set(expected) - set(got))[:5]}"
    verdict.check("WATCH", got == expected, f"{what}, has besides {sorted(set(got) - set(expected))[:5]}")
