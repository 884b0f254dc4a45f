"""What clients were told: kept while things happen, judged when they are over."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from decopilot.cli.chaos.schedule import Post


@dataclass(slots=True)
class Posted:
    """A user's message and what came of it; it may be in the log without anybody knowing if it `is_doubtful`."""

    thread: str
    message_id: str
    post: Post
    runs: list[str] = field(default_factory=list)
    is_doubtful: bool = False
    files: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a wish that starts no run was answered by; `title` is the one that was asked for."""

    thread: str
    wish: str
    status: str
    run_id: str | None
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """An interaction that was accepted as resolved, by which run it goes on."""

    thread: str
    interaction: str
    approves: bool
    run_id: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A history as it was read; `known` is the newest event that was known to be in the log before."""

    thread: str
    known: int
    messages: list[dict[str, Any]]
    cursor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Regenerated:
    """A message that is answered anew, by which run; `request` is what the wish was called."""

    thread: str
    request: str
    message_id: str
    run_id: str


@dataclass(frozen=True, slots=True)
class Forked:
    """A thread that begins as a fork, up to which message of its source."""

    thread: str
    source: str
    until: str


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that is stored: where, and the SHA-256 of what it holds."""

    thread: str
    filename: str
    url: str
    digest: str


@dataclass(frozen=True, slots=True)
class Probe:
    """A request that had to be refused: how it was."""

    what: str
    expected: tuple[int, str]
    status: int
    code: str

    def __str__(self) -> str:
        status, code = self.expected
        return f"{self.what} was answered {self.status} {self.code or '(no code)'}, not {status} {code}"


@dataclass(slots=True)
class Ledger:
    """Everything that clients were told but streams."""

    posts: dict[str, Posted] = field(default_factory=dict)
    receipts: list[Receipt] = field(default_factory=list)
    resolved: list[Resolved] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    regenerated: list[Regenerated] = field(default_factory=list)
    forks: list[Forked] = field(default_factory=list)
    uploads: dict[str, Upload] = field(default_factory=dict)
    trespasses: list[Probe] = field(default_factory=list)
    blunders: list[Probe] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    deleting: set[str] = field(default_factory=set)
