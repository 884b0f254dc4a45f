"""Narrowing: evidence of a few threads, copied so that it can be bent."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from decopilot.cli.chaos.evidence import Evidence
from decopilot.cli.chaos.ledger import Ledger
from decopilot.cli.chaos.truth import RunTruth, ThreadTruth
from decopilot.cli.chaos.viewers import Viewer
from decopilot.contracts.events import ThreadArchived


def narrowed(evidence: Evidence) -> Evidence:
    """Copy the evidence of the busiest thread, a deleted one, the one without viewers, and some with branches."""
    watched = {viewer.thread for viewer in evidence.viewers}
    kept = [thread for thread in evidence.threads.values() if thread.deleted_at is None]
    deleted = [thread for thread in evidence.threads.values() if thread.deleted_at is not None and thread.frames]
    names = {
        max(
            (thread for thread in kept if thread.name in watched), key=lambda thread: len(_notable(evidence, thread))
        ).name,
        max(deleted, key=lambda thread: len(thread.frames)).name,
        next(thread.name for thread in kept if thread.name not in watched and has_ended(thread)),
    }
    shown_to = set(names)
    names |= set(_branching(evidence, kept))
    return replace(
        evidence,
        ledger=_ledger(evidence.ledger, names),
        viewers=[_viewer(viewer) for viewer in evidence.viewers if viewer.thread in shown_to],
        watchers=[],
        threads={name: _thread(evidence.threads[name]) for name in sorted(names)},
        events_left=Counter(evidence.events_left),
        views=dict(evidence.views),
        messages=dict(evidence.messages),
        histories=dict(evidence.histories),
        shown=dict(evidence.shown),
        files=[served for served in evidence.files if served.thread in names],
        watch=list(evidence.watch),
        notes=list(evidence.notes),
        first_after=dict(evidence.first_after),
    )


def has_ended(thread: ThreadTruth) -> bool:
    return any(run.ends for run in thread.runs.values())


def _branching(evidence: Evidence, kept: Sequence[ThreadTruth]) -> Iterator[str]:
    """A fork and its source, and threads with another answer, with a file, and put aside."""
    ledger, names = evidence.ledger, {thread.name for thread in kept}
    fork = next(fork for fork in ledger.forks if {fork.thread, fork.source} <= names)
    yield from (fork.thread, fork.source)
    yield next(told.thread for told in ledger.regenerated if told.thread in names)
    yield next(served.thread for served in evidence.files if served.thread in names)
    yield next(thread.name for thread in kept if is_put_aside(thread))


def is_put_aside(thread: ThreadTruth) -> bool:
    return any(isinstance(recorded.event, ThreadArchived) for recorded in thread.events)


def _notable(evidence: Evidence, thread: ThreadTruth) -> list[RunTruth]:
    """The runs of a thread that finished, if it has what breaches are made of."""
    has_snapshot = any(snapshot.thread == thread.name for snapshot in evidence.ledger.snapshots)
    has_calls = any(run.text.startswith("/steps") and "/note" in run.text for run in finished(thread))
    return finished(thread) if has_snapshot and has_calls else []


def finished(thread: ThreadTruth) -> list[RunTruth]:
    return [run for run in thread.runs.values() if run.ends and run.ends[0].type == "run_completed"]


def _ledger(ledger: Ledger, names: set[str]) -> Ledger:
    return replace(
        ledger,
        posts={
            id_: replace(posted, runs=list(posted.runs))
            for id_, posted in ledger.posts.items()
            if posted.thread in names
        },
        receipts=[receipt for receipt in ledger.receipts if receipt.thread in names],
        resolved=[resolved for resolved in ledger.resolved if resolved.thread in names],
        regenerated=[told for told in ledger.regenerated if told.thread in names],
        forks=[fork for fork in ledger.forks if fork.thread in names],
        uploads=dict(ledger.uploads),
        snapshots=[snapshot for snapshot in ledger.snapshots if snapshot.thread in names],
        trespasses=list(ledger.trespasses),
        blunders=list(ledger.blunders),
        unexpected=list(ledger.unexpected),
    )


def _viewer(viewer: Viewer) -> Viewer:
    connections = [replace(connection, events=list(connection.events)) for connection in viewer.stream.connections]
    return replace(viewer, stream=replace(viewer.stream, connections=connections))


def _thread(thread: ThreadTruth) -> ThreadTruth:
    runs = {
        id_: replace(run, ends=list(run.ends), frames=list(run.frames), left=list(run.left))
        for id_, run in thread.runs.items()
    }
    return ThreadTruth(thread.name, list(thread.events), list(thread.frames), set(thread.stored), runs)
