"""Judging branches: other answers, forks, files, and what was put aside."""

from collections import defaultdict
from typing import Any

from decopilot.cli.chaos.evidence import Evidence
from decopilot.cli.chaos.judging_threads import shown_messages
from decopilot.cli.chaos.truth import ThreadTruth
from decopilot.cli.chaos.verdict import Verdict
from decopilot.contracts.events import (
    RunCompleted,
    RunFailed,
    RunQueued,
    RunRequested,
    RunRequiresAction,
    ThreadArchived,
    ThreadDeleted,
    ThreadForked,
)
from decopilot.contracts.ids import RunId
from decopilot.contracts.messages import UIMessage
from decopilot.domain.thread import INITIAL, evolve
from decopilot.log.history import left_behind

GONE = 404


def judge_branches(evidence: Evidence, verdict: Verdict) -> None:
    """Judge what was wished of threads beside messages."""
    for thread in evidence.threads.values():
        if thread.deleted_at is None and thread.events:
            _order(thread, evidence, verdict)
            _archived(thread, evidence, verdict)
            _began(thread, evidence, verdict)
    _regenerated(evidence, verdict)
    for fork in evidence.ledger.forks:
        begun = _beginning(evidence.threads[fork.thread])
        told = None if begun is None else (begun.source, begun.until)
        verdict.check("BRANCH", told == (fork.source, fork.until), f"{fork} was told, the log holds {told}")
    _files(evidence, verdict)


def _beginning(thread: ThreadTruth) -> ThreadForked | None:
    first = thread.events[0].event if thread.events else None
    return first if isinstance(first, ThreadForked) else None


def _order(thread: ThreadTruth, evidence: Evidence, verdict: Verdict) -> None:
    """What every gateway shows of a thread with branches is in order, and holds nothing that was dropped."""
    ids: list[str] = []
    has_branches = False
    for recorded in thread.events:
        match recorded.event:
            case ThreadForked(messages=messages):
                has_branches, ids = True, [message.id for message in messages]
            case RunRequested(regenerates=question) if question is not None:
                is_there = question in ids
                verdict.check("BRANCH", is_there, f"{thread.name}: {question}, which is to be answered anew, is gone")
                has_branches, ids = True, ids[: ids.index(question) + 1] if is_there else ids
            case RunRequested(message=UIMessage(id=id_)):
                ids.append(id_)
            case RunCompleted(message=message) | RunRequiresAction(message=message) | RunFailed(message=message):
                ids += [] if message is None or message.id in ids else [message.id]
            case _:
                pass
    if not has_branches:
        return
    for (name, url), answer in evidence.histories.items():
        if name == thread.name:
            told = [] if answer is None else [message["id"] for message in answer.body.get("messages", ())]
            verdict.check("BRANCH", told == ids, f"{name} at {url} shows {told}, not {ids}")


def _archived(thread: ThreadTruth, evidence: Evidence, verdict: Verdict) -> None:
    archived = False
    wishes: set[bool] = set()
    queued: set[str] = set()
    for recorded in thread.events:
        match recorded.event:
            case ThreadArchived(archived=archived):
                wishes.add(archived)
            case RunQueued(run_id=run_id):
                queued.add(run_id)
                archived = False
            case RunRequested(run_id=run_id, message=UIMessage()) if run_id not in queued:
                archived = False
            case _:
                pass
    for receipt in evidence.ledger.receipts:
        if receipt.thread == thread.name and receipt.wish in {"archive", "unarchive"}:
            is_so = receipt.status == f"{receipt.wish}d"
            verdict.check("ARCHIVE", is_so and (receipt.wish != "archive" or True in wishes), f"{receipt}: {wishes}")
    if not wishes:
        return
    for (name, url), answer in evidence.shown.items():
        if name == thread.name:
            told = None if answer is None else answer.body.get("archived")
            verdict.check("ARCHIVE", told == archived, f"{name} at {url} is archived: {told}, not {archived}")


def _began(thread: ThreadTruth, evidence: Evidence, verdict: Verdict) -> None:
    """A fork begins with what its source held at some moment, up to the message that was told."""
    begun = _beginning(thread)
    source = None if begun is None else evidence.threads.get(begun.source)
    # What a deleted thread held may have been erased before it was read.
    if begun is None or source is None or source.deleted_at is not None:
        return
    expected = [_without_addresses(message) for message in begun.messages]
    state, is_found = INITIAL, False
    for number, recorded in enumerate(source.events, 1):
        state = evolve(state, recorded.event)
        ids = [ref.id for ref in state.messages]
        # Most moments are not it: look at the ids before all else.
        if ids[: len(expected)] == [message["id"] for message in expected]:
            held = shown_messages(source.events[:number], state, left_behind)
            is_found = is_found or [_without_address(message) for message in held[: len(expected)]] == expected
    ends = bool(expected) and expected[-1]["id"] == begun.until
    verdict.check("BRANCH", is_found and ends, f"{thread.name} begins as {begun.source} never was: {expected}"[:600])


def _without_addresses(message: UIMessage) -> dict[str, Any]:
    return _without_address(message.model_dump(mode="json", exclude_none=True))


def _without_address(message: dict[str, Any]) -> dict[str, Any]:
    """Files are copied: everything but where they are is the same."""
    parts = [
        {key: value for key, value in part.items() if key != "url"} if part["type"] == "file" else part
        for part in message["parts"]
    ]
    return message | {"parts": parts}


def _regenerated(evidence: Evidence, verdict: Verdict) -> None:
    runs: dict[tuple[str, str], set[str]] = defaultdict(set)
    for told in evidence.ledger.regenerated:
        runs[told.thread, told.request].add(told.run_id)
        thread = evidence.threads[told.thread]
        if thread.deleted_at is None:
            run = thread.runs.get(RunId(told.run_id))
            question = None if run is None or run.request is None else run.request.regenerates
            verdict.check(
                "BRANCH", question == told.message_id, f"{told} was accepted, the log answers {question} anew"
            )
    for (thread_name, request), found in runs.items():
        # Who asks while another's run answers the same message is told of that, and asking again later begins one.
        others = {run for (_, other), told in runs.items() if other != request for run in told}
        verdict.check("BRANCH", len(found - others) <= 1, f"{thread_name}: {request} is {found}")


def _files(evidence: Evidence, verdict: Verdict) -> None:
    for served in evidence.files:
        known = evidence.ledger.uploads.get(served.filename)
        what = f"{served.thread}: {served.filename} at {served.url}"
        thread = evidence.threads[served.thread]
        if thread.deleted_at is not None:
            verdict.check("DELETE", served.status == GONE, f"{what} is answered by {served.status}")
            continue
        source = None if known is None else evidence.threads.get(known.thread)
        is_source = known is not None and served.url.endswith(known.url) and served.thread != known.thread
        if is_source and source is not None and served.status == GONE and _was_deleted(source, before=thread):
            continue  # it was gone before the fork could have it for its own
        is_same = known is not None and served.digest == known.digest
        verdict.check("FILES", served.status == 200 and is_same, f"{what}: {served}, not {known}")


def _was_deleted(thread: ThreadTruth, *, before: ThreadTruth) -> bool:
    """Tell whether a thread was deleted before another one began."""
    ends = [recorded.sequence for recorded in thread.events if isinstance(recorded.event, ThreadDeleted)]
    return bool(ends) and bool(before.events) and ends[0] < before.events[0].sequence
