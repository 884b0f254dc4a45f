"""Replaying: in which form a viewer is given what was before it came, and chunks that its AI SDK knows."""

from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from aiohttp import web

from decopilot.contracts.chunks import RUN_REWIND, Chunk, encode_chunk
from decopilot.contracts.frames import Cursor, Ranges
from decopilot.domain.fold import FoldError
from decopilot.domain.replaying import V5_NEEDLES, for_sdk5, whole_message_opening
from decopilot.log.blocks import Block
from decopilot.log.tail import Stretch
from decopilot_gateway import sse
from decopilot_gateway.problems import ProblemError
from decopilot_gateway.rewinding import cut

Replay = Literal["full", "compact", "message", "none"]
REPLAYS: tuple[Replay, ...] = get_args(Replay)
SaidT = TypeVar("SaidT", bound=str)
_REWIND = b'"' + RUN_REWIND.encode() + b'"'


@dataclass(frozen=True, slots=True)
class Form:
    """What a client declared: how it wants to be told what was before it came, and what it understands.

    `replay` says how a stream begins that has no cursor; `message` also tells every run that goes on with an answer
    from the answer's first `start`. `is_sdk5` withholds what `ai` 5 does not know.
    """

    replay: Replay = "full"
    takes_rewinds: bool = False
    is_sdk5: bool = False

    def shape(self, block: Block[Stretch], position: int, void: Ranges) -> bytes:
        """Make the events of a block behind a position, without void chunks."""
        whole = self.replay == "message" and block.ordinal_behind(position) == 0
        if not (void or whole or self.is_sdk5):
            return block.behind(position)
        how = (position, void, whole, self.is_sdk5)
        return block.shaped(how, lambda: self._shape(block, position, void, whole=whole))

    def _shape(self, block: Block[Stretch], position: int, void: Ranges, *, whole: bool) -> bytes:
        events = cut(block.behind(position), block.ordinal_behind(position), void)
        return self.shape_events(_whole(events) if whole else events)

    def shape_events(self, events: bytes) -> bytes:
        """Leave out of events what the client does not know."""
        if not self.is_sdk5 or not any(needle in events for needle in V5_NEEDLES):
            return events
        return b"".join(_for_sdk5(event) for event in sse.split(events))


def form_of(request: web.Request) -> Form:
    """Read what a request declares.

    Raises:
        ProblemError: it is none of what can be declared.

    """
    return Form(
        replay=_said(request, "replay", REPLAYS),
        takes_rewinds=_said(request, "rewind", ("false", "true")) == "true",
        is_sdk5=_said(request, "sdk", ("6", "5", "7")) == "5",
    )


def _said(request: web.Request, name: str, known: tuple[SaidT, ...]) -> SaidT:
    """Read one of what is known; the first of them where nothing is said."""
    said = request.query.getall(name, [known[0]])
    for one in known:
        if [one] == said:
            return one
    raise ProblemError("invalid_query", f"{name} is one of {', '.join(sorted(known))}.")


def encode(chunks: list[Chunk], cursor: Cursor) -> bytes:
    """Frame chunks of which only the last has an id: who is cut off before it has got nothing of them."""
    lines = [encode_chunk(chunk) for chunk in chunks]
    return b"".join(sse.event(line) for line in lines[:-1]) + sse.event(lines[-1], id_=str(cursor))


def _whole(events: bytes) -> bytes:
    """Let a run that goes on with an answer begin with all of it."""
    split = sse.split(events)
    sequence = sse.cursor_of(split[0]).sequence
    count = sum(sse.cursor_of(event).sequence == sequence for event in split)
    opening = split[:count]
    if not any(_REWIND in event for event in opening):
        return events
    try:
        chunks = whole_message_opening(sse.chunks_of(b"".join(opening)))
    except (FoldError, ValueError):
        return events
    return encode(chunks, sse.cursor_of(opening[-1])) + b"".join(split[count:])


def _for_sdk5(event: bytes) -> bytes:
    if not any(needle in event for needle in V5_NEEDLES):
        return event
    try:
        (chunk,) = sse.chunks_of(event)
    except ValueError:
        # Nested more deeply than we can read.
        return event
    head = event[: event.index(b"data: ")]
    return b"".join(head + sse.event(encode_chunk(told)) for told in for_sdk5(chunk))
