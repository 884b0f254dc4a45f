"""Frames: one stored message of the chunk log, holding one or more chunks of one run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pydantic import Field
from pydantic_core import from_json

from decopilot.contracts import subjects
from decopilot.contracts.chunks import Chunk, FinishReason
from decopilot.contracts.events import FailureReason
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.contracts.messages import Frozen, Usage

FRAME_ID = "Decopilot-Frame"
ATTEMPT = "Decopilot-Attempt"
INDEX = "Decopilot-Index"
PREVIOUS = "Decopilot-Previous"
OUTCOME = "Decopilot-Outcome"
VOID = "Decopilot-Void"
REWIND = "Decopilot-Rewind"

Ranges = tuple[tuple[int, int], ...]
"""Half-open ranges of physical chunk indices within a run, in order."""
_BEHIND_ALL = 999_999_999
"""No frame has so many chunks: it would be larger than any message of the broker."""


class Outcome(Frozen):
    """How a run ended; written once, by whoever wins the closing frame."""

    status: Literal["completed", "requires_action", "failed"]
    finish_reason: FinishReason
    usage: Usage = Usage()
    reason: FailureReason | None = None
    error_category: str = "unknown"
    error_text: str = Field(default="", max_length=2000)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Position behind one chunk: the sequence of its frame and its index in it; `0-0` is before all."""

    sequence: int
    index: int

    def __str__(self) -> str:
        return f"{self.sequence}-{self.index}"

    @classmethod
    def behind(cls, sequence: int) -> "Cursor":
        """Return the position behind all of a frame that is gone, of which nobody knows how many chunks it had."""
        return cls(sequence, _BEHIND_ALL)

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Read `<sequence>-<index>`.

        Raises:
            ValueError: it is not two decimal numbers of at most 18 digits joined by a dash.

        """
        sequence, dash, index = text.partition("-")
        if not dash or not all(n.isascii() and n.isdigit() and len(n) <= 18 for n in (sequence, index)):  # noqa: PLR2004  fits 64 bits
            msg = f"not a cursor: {text[:64]!r}"
            raise ValueError(msg)
        return cls(int(sequence), int(index))


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as stored.

    `index` is the physical index, within the run, of the frame's first chunk: 0 begins a run.
    `previous` is the sequence of the thread's frame before this one, across runs; 0 if there was none
    (docs/adr/0006). `outcome` is set on the closing frame and only there. `void` are the run's chunks that count no
    more, as far as they were known when the frame was written: an attempt that died left them behind its last cut.
    A frame that `rewinds` makes the last of them known, and says what the message is without them.
    """

    org: OrgId
    thread: ThreadId
    run: RunId
    sequence: int
    frame_id: str
    attempt: int
    index: int
    previous: int
    body: bytes
    outcome: Outcome | None = None
    void: Ranges = ()
    rewinds: bool = False
    stored_at: datetime | None = field(default=None, compare=False)
    """By the broker's clock; known only where the leader was asked for the frame, so it makes no difference."""

    @property
    def lines(self) -> list[bytes]:
        """Each chunk, encoded."""
        return self.body.split(b"\n")

    @property
    def chunks(self) -> list[Chunk]:
        """Each chunk, decoded."""
        return [from_json(line) for line in self.lines]

    @property
    def end(self) -> Cursor:
        """The position behind the frame's last chunk."""
        return Cursor(self.sequence, self.body.count(b"\n"))


def frame_headers(
    frame_id: str,
    attempt: int,
    index: int,
    previous: int,
    outcome: Outcome | None,
    *,
    void: Ranges = (),
    rewinds: bool = False,
) -> dict[str, str]:
    """Make the headers of a frame; all values are ASCII."""
    headers = {FRAME_ID: frame_id, ATTEMPT: str(attempt), INDEX: str(index), PREVIOUS: str(previous)}
    if outcome is not None:
        headers[OUTCOME] = outcome.model_dump_json(exclude_defaults=True, ensure_ascii=True)
    if void:
        headers[VOID] = ",".join(f"{start}-{end}" for start, end in void)
    if rewinds:
        headers[REWIND] = "1"
    return headers


def decode_frame(
    subject: str, sequence: int, headers: Mapping[str, str], body: bytes, stored_at: datetime | None = None
) -> Frame:
    """Read a frame as stored or as re-published.

    Raises:
        KeyError, ValueError: it is not a frame.

    """
    org, thread, run = subjects.owner_of(subject)
    outcome = headers.get(OUTCOME)
    return Frame(
        org=org,
        thread=thread,
        run=RunId(run),
        sequence=sequence,
        frame_id=headers[FRAME_ID],
        attempt=int(headers[ATTEMPT]),
        index=int(headers[INDEX]),
        previous=int(headers[PREVIOUS]),
        body=body,
        outcome=None if outcome is None else Outcome.model_validate_json(outcome),
        void=_ranges(headers.get(VOID, "")),
        rewinds=REWIND in headers,
        stored_at=stored_at,
    )


def _ranges(text: str) -> Ranges:
    pairs = (pair.split("-", 1) for pair in text.split(",") if pair)
    return tuple((int(start), int(end)) for start, end in pairs)
