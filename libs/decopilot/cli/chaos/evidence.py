"""The evidence: everything that is judged, gathered once all is quiet, so that judging is a matter of reading."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from decopilot.cli.chaos.doors import Answer, Doors
from decopilot.cli.chaos.ledger import Ledger
from decopilot.cli.chaos.recorder import Recorder, whole
from decopilot.cli.chaos.sabotage import Hit
from decopilot.cli.chaos.truth import ThreadTruth, truths
from decopilot.cli.chaos.viewers import Event, Stream, Viewer
from decopilot.contracts import subjects
from decopilot.contracts.ids import ThreadId
from decopilot.contracts.messages import UIMessage
from decopilot.log.views import ThreadView, Views


@dataclass(frozen=True, slots=True)
class Limits:
    """What the services were told, in seconds, and how many attempts may fail."""

    purge_grace_s: float = 10.0
    cancel_deadline_s: float = 2.0
    idle_limit_s: float = 15.0
    start_limit_s: float = 60.0
    run_limit_s: float = 120.0
    erase_again_s: float = 12.0
    look_s: float = 3.0
    attempts: int = 3

    @property
    def environment(self) -> dict[str, str]:
        """How they were told."""
        return {f"DECOPILOT_{name.upper()}": str(getattr(self, name)) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """A watch event as stored: its sequence, and what it says."""

    sequence: int
    told: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Served:
    """A file as a gateway served it: its status, and the SHA-256 of what came."""

    thread: str
    filename: str
    url: str
    status: int | None
    digest: str


@dataclass(slots=True)
class Evidence:
    """What everybody saw, and what there is."""

    limits: Limits
    ledger: Ledger
    hits: Sequence[Hit]
    viewers: Sequence[Viewer]
    watchers: Sequence[Stream]
    recorder: Recorder
    conflicts: list[str] = field(default_factory=list)
    threads: dict[str, ThreadTruth] = field(default_factory=dict)
    events_left: Counter[str] = field(default_factory=Counter)
    views: dict[str, ThreadView | None] = field(default_factory=dict)
    messages: dict[tuple[str, str], UIMessage | None] = field(default_factory=dict)
    histories: dict[tuple[str, str], Answer | None] = field(default_factory=dict)
    shown: dict[tuple[str, str], Answer | None] = field(default_factory=dict)
    files: list[Served] = field(default_factory=list)
    watch: list[WatchEvent] = field(default_factory=list)
    notes: list[dict[str, str]] = field(default_factory=list)
    has_marks: bool = True
    """Whether what tools did could be read here."""
    failures: list[str] = field(default_factory=list)
    """Faults that could not be begun or ended."""
    first_after: dict[tuple[str, str], list[Event]] = field(default_factory=dict)
    """What a viewer with a cursor that was purged got first, by thread and cursor."""

    async def gather(self, names: Sequence[str], doors: Doors) -> None:
        """Read the logs, the views, and what the gateways show."""
        store = self.recorder.store
        self.watch.clear()
        self.files.clear()
        self.messages.clear()
        self.conflicts = self.recorder.conflicts
        await self.recorder.read_frames()
        await self.recorder.read_copy()
        await self.recorder.read_events()
        org = self.recorder.org
        left = [
            stored
            for name in names
            for stored in await whole(store, subjects.CHUNKS_STREAM, self.recorder.chunks_of(name))
        ]
        self.threads = truths(names, self.recorder, left)
        for name in names:
            events = await whole(store, subjects.EVENTS_STREAM, subjects.events_of(org, ThreadId(name)))
            self.events_left[name] = len(events)
            for stored in await whole(store, subjects.WATCH_STREAM, subjects.watch_of_thread(org, ThreadId(name))):
                self.watch.append(WatchEvent(stored.sequence, json.loads(stored.data)))
        self.watch.sort(key=lambda event: event.sequence)
        views = Views(store)
        for name, thread in self.threads.items():
            self.views[name], _ = await views.read_thread(org, ThreadId(name))
            ids = {ref.id for ref in thread.state.messages} | {
                end.message.id for run in thread.runs.values() for end in run.ends if end.message is not None
            }
            for id_ in ids:
                found = await views.read_message(org, ThreadId(name), id_)
                self.messages[name, id_] = None if found is None else found.message
            for url in doors.urls:
                path = f"{url}/{doors.org}/decopilot/threads/{name}"
                self.histories[name, url] = await doors.call_url("GET", f"{path}/messages")
                self.shown[name, url] = await doors.call_url("GET", path)
        await self._read_files(doors)

    async def _read_files(self, doors: Doors) -> None:
        """Read every file that is stored, and every one that a history shows, each at another gateway."""
        found = {(one.thread, one.filename, one.url) for one in self.ledger.uploads.values()}
        for (name, _), answer in self.histories.items():
            for message in () if answer is None else answer.body.get("messages", ()):
                parts = (part for part in message["parts"] if part["type"] == "file")
                found |= {(name, part["filename"], part["url"]) for part in parts}
        for number, (name, filename, path) in enumerate(sorted(found)):
            url = f"{doors.urls[number % len(doors.urls)]}{path}"
            status, content = await doors.fetch(url) or (None, b"")
            self.files.append(Served(name, filename, url, status, hashlib.sha256(content).hexdigest()))


def marks_in(notes: Path) -> list[dict[str, str]]:
    """Read the marks that tools have left."""
    return [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []
