"""Judging runs: what their logs promise, whatever died while they were written."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from decopilot.cli.chaos.evidence import Evidence, Limits
from decopilot.cli.chaos.odds import COMMAND
from decopilot.cli.chaos.sabotage import Hit
from decopilot.cli.chaos.truth import Ended, RunTruth, ThreadTruth
from decopilot.cli.chaos.verdict import Verdict
from decopilot.contracts.chunks import MESSAGES_DROPPED, RUN, RUN_END, RUN_REWIND, USER_MESSAGE
from decopilot.contracts.events import RunFailed, RunStarted, RunWithdrawn, StepCompleted
from decopilot.contracts.interactions import Approval
from decopilot.domain.fold import FoldError
from decopilot.domain.outcome import ABORTED
from decopilot.domain.resuming import LogLostError, replay

RECOVERY_S = 30.0
"""So long after the last blow to broker, reactors or its runner a run may take, beside what its answer takes."""
MARGIN_S = 2.0
_MARGINS = {"start", RUN, USER_MESSAGE, MESSAGES_DROPPED, RUN_REWIND, RUN_END, "error", "finish", "finish-step"}
_MARGINS |= {"text-end", "reasoning-end", "tool-output-error", "tool-input-error", "tool-output-denied"}


def judge_runs(evidence: Evidence, verdict: Verdict) -> None:
    """Judge every run of every thread."""
    unwatched = evidence.threads.keys() - {viewer.thread for viewer in evidence.viewers}
    for thread in evidence.threads.values():
        _one_writer(thread, verdict)
        for run in thread.runs.values():
            if run.request is None:
                if any(isinstance(recorded.event, RunWithdrawn) for recorded in run.events):
                    verdict.check("ONE-CLOSE", not run.frames, f"{run.run_id} was withdrawn and has a log")
                continue
            _one_close(thread, run, verdict)
            _one_end(thread, run, evidence, verdict)
            _purge(thread, run, verdict)
            _fold(thread, run, verdict)
            if thread.name in unwatched:
                whole = run.closing is not None and len(run.ends) == 1
                verdict.check("DETACHED", whole, f"{thread.name}: {run.run_id} did not end without viewers")
            _resumed(run, verdict)
    if evidence.has_marks:
        _calls(evidence, verdict)
    for took, run in takeovers(evidence):
        what = f"{run.run_id} ({run.text}) was taken over {took.total_seconds():.1f} s after the blow to its runner"
        verdict.check("RESUME", took.total_seconds() < RECOVERY_S, what)
    for conflict in evidence.conflicts:
        verdict.check("PERSIST-FIRST", holds=False, text=conflict)


def _one_writer(thread: ThreadTruth, verdict: Verdict) -> None:
    before = 0
    for frame in thread.frames:
        what = f"{thread.name}: frame {frame.sequence} of {frame.run} follows on {frame.previous}, not on {before}"
        verdict.check("ONE-WRITER", frame.previous == before, what)
        before = frame.sequence
    for run in thread.runs.values():
        index = attempt = 0
        for frame in run.frames + run.markers:
            what = f"{thread.name}: frame {frame.sequence} of {run.run_id}"
            verdict.check("ONE-WRITER", frame.index == index, f"{what} begins at {frame.index}, not at {index}")
            verdict.check("ONE-WRITER", frame.attempt >= attempt, f"{what} is of {frame.attempt}, after {attempt}")
            index, attempt = frame.index + len(frame.lines), frame.attempt
        present = 0
        for recorded in run.events:
            match recorded.event:
                case RunStarted(attempt=number):
                    what = f"{thread.name}: attempt {number} of {run.run_id} began after {present}"
                    verdict.check("ONE-WRITER", number > present, what)
                    present = number
                case StepCompleted(attempt=number, step=step):
                    what = f"{thread.name}: step {step} of {run.run_id} by attempt {number}, in {present}"
                    verdict.check("ONE-WRITER", number == present, what)
                case _:
                    pass


def _one_close(thread: ThreadTruth, run: RunTruth, verdict: Verdict) -> None:
    what = f"{thread.name}: {run.run_id} ({run.text})"
    if not verdict.check("ONE-CLOSE", run.closing is not None, f"{what} is not closed; {len(run.frames)} frames"):
        return
    verdict.check("ONE-CLOSE", [f for f in run.frames if f.outcome] == run.frames[-1:], f"{what} is closed twice")
    kinds = [chunk["type"] for frame in run.frames for chunk in frame.chunks]
    ends = [number for number, kind in enumerate(kinds) if kind == "finish"]
    verdict.check("ONE-CLOSE", ends == [len(kinds) - 1], f"{what} has its finish at {ends} of {len(kinds)}")
    verdict.check("ONE-CLOSE", kinds[0] == "start" and kinds.count("start") == 1, f"{what} begins with {kinds[:3]}")
    outcome = run.frames[-1].outcome
    broken = []
    if outcome is not None and outcome.status == "failed":
        if outcome.reason in ABORTED:
            broken = ["abort"]
        elif outcome.finish_reason == "error":
            broken = ["error"]
    found = [chunk["type"] for chunk in run.frames[-1].chunks]
    told = [RUN_END, *broken, "finish"]
    # Ahead of it what was open is closed.
    verdict.check("ONE-CLOSE", found[-len(told) :] == told, f"{what} is closed by {found} as {outcome}")


def _one_end(thread: ThreadTruth, run: RunTruth, evidence: Evidence, verdict: Verdict) -> None:
    what = f"{thread.name}: {run.run_id} ({run.text})"
    # What a deleted thread held is erased, its ends too.
    is_known = thread.deleted_at is None
    if not verdict.check("ONE-END", len(run.ends) == 1 or not is_known, f"{what} has {len(run.ends)} ends"):
        return
    if not run.ends or run.closing is None or run.request is None or run.closing.outcome is None:
        return
    end, closing = run.ends[0], run.closing
    said = (type(end).__name__, end.finish_reason, getattr(end, "reason", None), end.last_frame, end.last_index)
    status = {"completed": "RunCompleted", "requires_action": "RunRequiresAction", "failed": "RunFailed"}
    outcome = run.closing.outcome
    sealed = (status[outcome.status], outcome.finish_reason, outcome.reason, closing.sequence, closing.end.index)
    verdict.check("ONE-END", said == sealed, f"{what} ended as {said}, its log as {sealed}")
    names = [recorded.event.type for recorded in run.events]
    verdict.check("ONE-END", names.index("run_requested") < names.index(end.type), f"{what}: {names}")
    cause = _missing_cause(thread, run, end, evidence.limits)
    verdict.check("ONE-END", cause is None, f"{what} ended without a cause: {cause}; {names}")
    since = max((hit.ended for hit in hits_on(run, evidence.hits)), default=run.request.at)
    took_s = (end.at - max(since, run.request.at)).total_seconds()
    limit_s = lasts_s(run.text, evidence.limits) + RECOVERY_S
    verdict.check("ONE-END", took_s < limit_s, f"{what} took {took_s:.1f} s after what hit it; {names}")


def hits_on(run: RunTruth, hits: Sequence[Hit]) -> Iterator[Hit]:
    """The faults that may have held up a run between its request and its end."""
    request = run.request
    if request is None or not run.ends:
        return
    drivers = {driver_of(start) for start in run.starts}
    for hit in hits:
        if hit.began < run.ends[0].at and hit.ended > request.at:
            # Before anybody took it up it may have been on its way to any runner.
            is_untaken = not run.starts or hit.began < run.starts[0].at
            services = {"nats", "reactor"} | ({"runner", "driver", "tool"} if is_untaken else set())
            # What a deployment's owner commands may hit anything.
            if hit.fault.service in services or hit.pid in drivers or hit.fault.blow == COMMAND:
                yield hit


def driver_of(start: RunStarted) -> int:
    """The process id of the runner that began an attempt."""
    return int(start.runner_id.rpartition("-")[2])


def lasts_s(text: str, limits: Limits) -> float:
    """How long an answer takes if nothing happens, and a good deal more."""
    words = text.split()
    match words:
        case ["/count", last, delay]:
            return int(last) * (int(delay) + 5) / 1000 + MARGIN_S
        case ["/slowtool", seconds]:
            return float(seconds) + MARGIN_S
        case ["/steps", count, *_]:
            return 1.5 * int(count) + MARGIN_S
        case ["/hang"]:
            return limits.idle_limit_s + limits.look_s + MARGIN_S
        case _:
            return 2 * MARGIN_S


def cancelled_at(thread: ThreadTruth, run: RunTruth) -> datetime | None:
    """When the log first held that a run's end was asked for: whoever asked may have been held up before."""
    asked = [
        recorded.at
        for recorded in thread.events
        if (recorded.event.type == "run_cancel_requested" and recorded.event.run_id == run.run_id)
        or (recorded.event.type == "run_queued" and recorded.event.supersedes == run.run_id)
    ]
    if thread.deleted_at is not None:
        asked.append(thread.deleted_at)
    return min(asked, default=None)


def _moved_at(run: RunTruth, asked_at: datetime) -> datetime:
    """When it moved last before it was closed: by what it said, or by an attempt.

    Who ends a run from outside opens it where nobody did, fences it, and closes what is open. A later attempt that
    had not taken over by then, or began behind the closing frame, is nothing that whoever closed it could see.
    """
    frames = [(frame, frame.stored_at) for frame in run.frames if frame.outcome is None]
    spoken = [at for frame, at in frames if at and not {chunk["type"] for chunk in frame.chunks} <= _MARGINS]
    there = {1} | {frame.attempt for frame, _ in frames}
    starts = [one.at for one in run.events if isinstance(one.event, RunStarted) and one.event.attempt in there]
    return max([asked_at, *spoken, *starts])


def _missing_cause(thread: ThreadTruth, run: RunTruth, end: Ended, limits: Limits) -> str | None:  # noqa: PLR0911  one case per reason
    """Tell what should have been the case for a run to end as it did; None if it was."""
    told = f"{type(end).__name__} {getattr(end, 'reason', '')} {getattr(end, 'error_category', '')}"
    if not isinstance(end, RunFailed):
        is_fine = not run.text.startswith(("/fail", "/length", "/hang"))
        return None if is_fine else told
    request = run.request
    if request is None or run.closing is None:
        return told
    match end.reason:
        case "cancelled" | "superseded":
            return None if cancelled_at(thread, run) is not None else told
        case "crashed":
            return None if run.failed_attempts >= limits.attempts else f"{told} after {run.failed_attempts} attempts"
        case "undeliverable":
            # An attempt that began behind the closing frame found it, and wrote nothing.
            sealed_at = run.closing.stored_at or end.at
            began = [one for one in run.events if isinstance(one.event, RunStarted) and one.at < sealed_at]
            return None if not began else f"{told} although it was started"
        case "timed_out":
            if (end.at - request.at).total_seconds() >= limits.run_limit_s:
                return None
            closed_at = run.closing.stored_at or end.at
            silent_s = (closed_at - _moved_at(run, request.at)).total_seconds()
            return None if silent_s >= limits.idle_limit_s - 1 else f"{told} after {silent_s:.1f} s of silence"
        case _:
            is_asked = run.text.startswith("/fail") and end.error_category not in {"protocol", "log_lost", "unknown"}
            is_cut = run.text == "/length" and end.error_category == "length"
            return None if is_asked or is_cut else f"{told}: {end.error_text}"


def _purge(thread: ThreadTruth, run: RunTruth, verdict: Verdict) -> None:
    left = [frame.sequence for frame in run.left]
    kept = run.markers[-1:] if thread.deleted_at is not None else run.frames[-1:]
    what = f"{thread.name}: of {run.run_id} {left} is left, {[frame.sequence for frame in kept]} should be"
    verdict.check("PURGE", left == [frame.sequence for frame in kept], what)


def _fold(thread: ThreadTruth, run: RunTruth, verdict: Verdict) -> None:
    if run.request is None or not run.ends or thread.deleted_at is not None:
        return
    what = f"{thread.name}: {run.run_id} ({run.text})"
    try:
        message = replay(run.request.assistant_id, run.frames).message()
    except (FoldError, LogLostError) as error:
        verdict.check("FOLD", holds=False, text=f"{what} can't be folded: {error!r}")
        return
    stored = run.ends[0].message
    is_same = not message.parts if stored is None else stored == message
    verdict.check("FOLD", is_same, f"{what} folds to\n{message}\nbut ended with\n{stored}")


def _resumed(run: RunTruth, verdict: Verdict) -> None:
    """What was gone on with is as if nobody had died."""
    steps = [recorded.event.step for recorded in run.events if isinstance(recorded.event, StepCompleted)]
    verdict.check("RESUME", steps == sorted(set(steps)), f"{run.run_id} ({run.text}) has steps {steps}")
    message = run.ends[0].message if run.ends else None
    if message is None or run.ends[0].type != "run_completed":
        return
    if counting := re.match(r"/count (\d+)", run.text):
        expected = " ".join(map(str, range(1, int(counting[1]) + 1)))
        what = f"{run.run_id} ({run.text}), {len(run.starts)} attempts, counted {message.text[:200]!r}"
        verdict.check("RESUME", message.text == expected, what)
    if stepping := re.match(r"/steps (\d+)", run.text):
        calls = [part for part in message.parts if "toolCallId" in part]
        what = f"{run.run_id} ({run.text}), {len(run.starts)} attempts, has {len(calls)} calls"
        verdict.check("RESUME", len(calls) == int(stepping[1]) == len({c["toolCallId"] for c in calls}), what)


def _calls(evidence: Evidence, verdict: Verdict) -> None:
    """A call is executed once, and again only if a user approved that."""
    lines = Counter(note["call"] for note in evidence.notes)
    for thread in evidence.threads.values():
        approvals: Counter[str] = Counter()
        for run in thread.runs.values():
            for resolution in () if run.request is None else run.request.resolutions:
                if isinstance(resolution, Approval) and resolution.approved:
                    approvals[resolution.approval_id.rpartition(":")[0]] += 1
        seen = set()
        for run in thread.runs.values():
            message = run.ends[0].message if run.ends else None
            if run.request is None or message is None:
                continue
            free = run.request.config.tool_approval_level == "auto"
            for part in message.parts:
                if part["type"] not in {"tool-note", "tool-delete_note"}:
                    continue
                call = part["toolCallId"]
                seen.add(call)
                what = f"{thread.name}: {call} of {run.run_id} was executed {lines[call]} times"
                verdict.check(
                    "RESUME", lines[call] <= approvals[call] + free, f"{what}, approved {approvals[call]} times"
                )
                if part["state"] == "output-available":
                    verdict.check("RESUME", lines[call] >= 1, f"{what}, its output is {part['output']}")


def takeovers(evidence: Evidence) -> Iterator[tuple[timedelta, RunTruth]]:
    """How long after the blow to a run's runner, and to the broker if that came later, its next attempt began."""
    for thread in evidence.threads.values():
        for run in thread.runs.values():
            for before, after in pairwise(run.starts):
                blows = [
                    hit.ended if hit.fault.service == "nats" else hit.began
                    for hit in evidence.hits
                    if hit.began < after.at and (hit.pid == driver_of(before) or hit.fault.service == "nats")
                ]
                if blows:
                    yield after.at - max(min(max(blows), after.at), before.at), run
