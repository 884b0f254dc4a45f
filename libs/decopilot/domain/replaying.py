"""Replaying: the forms other than `full` in which a client may ask for a run, made of its stored chunks alone."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from decopilot.contracts.chunks import (
    MESSAGES_DROPPED,
    RUN,
    RUN_END,
    RUN_REWIND,
    THREAD_DELETED,
    USER_MESSAGE,
    Chunk,
    transient,
)
from decopilot.contracts.ids import MessageId
from decopilot.contracts.messages import Part, UIMessage
from decopilot.domain.compacting import OpenPart, compact, compact_parts
from decopilot.domain.fold import Fold, FoldError

DENIED = "This tool call was not approved."
"""What a client of `ai` 5, which knows no approvals, is told of a call that was denied."""

_OPENING = (RUN, MESSAGES_DROPPED, USER_MESSAGE)
# Ahead of an error: what follows one is not looked at by every client.
_END = (RUN_END, "abort", "error", "finish", THREAD_DELETED)
_KEPT = frozenset({*_OPENING, *_END})


class RunSoFar:
    """One run as it stands, for `?replay=compact`: fed with its living chunks, from its first one on, in order.

    A chunk costs the same however long the run is, and is folded once, however often it is asked for. A takeover may
    be fed as it is stored: the rewind in it drops what became void.
    """

    def __init__(self) -> None:
        self._fold: Fold | None = None
        self._kept: dict[str, Chunk] = {}

    def add(self, chunk: Chunk) -> None:
        """Take one chunk, which must not be changed afterwards.

        Raises:
            FoldError: the chunk is out of order or incomplete; the run stays as it was.

        """
        kind = chunk["type"]
        if self._fold is not None:
            self._fold.add(chunk)
        elif kind == "start":
            self._fold = _begun(chunk)
        elif not chunk.get("transient"):
            raise FoldError(kind, "start", "a run begins with its start")
        if kind in _KEPT:
            self._kept[kind] = chunk
        elif kind == "start":
            # What ended before it has begun again.
            self._kept = {name: kept for name, kept in self._kept.items() if name in _OPENING}

    def compacted(self) -> list[Chunk]:
        """Make the chunks that bring a client which has nothing to where the run is; its later ones go on from there.

        In this order: `start`; the newest `data-run`; `data-messages-dropped`; `data-user-message`; a
        `data-run-rewind` to the empty message, so that whoever takes rewinds drops what it holds of it; the metadata;
        the parts (`compact_parts`); of a run that has ended `data-run-end`, then `abort` or `error`, then its one
        `finish`. Verdicts on approvals can't be told in parts: where there are any, a second rewind behind the part of
        the last one tells the message up to there, as far as nothing streams in it. Other transient chunks are news of
        their moment, and left out. Before its `start` a run has no more than those kept transient ones.
        """
        opening, end = ([self._kept[kind] for kind in kinds if kind in self._kept] for kinds in (_OPENING, _END))
        if self._fold is None:
            return [*opening, *end]
        fold, parts = self._fold, list(self._fold.open_parts())
        told = compact_parts(parts, in_step=fold.in_step)
        judged = _judged(parts)
        chunks: list[Chunk] = [{"type": "start", "messageId": fold.message_id}, *opening]
        chunks += self._rewind({"id": fold.message_id, "role": "assistant", "parts": []})
        if fold.metadata is not None:
            chunks.append({"type": "message-metadata", "messageMetadata": fold.metadata})
        chunks += chain.from_iterable(told[: len(judged)])
        if judged:
            metadata = {} if fold.metadata is None else {"metadata": fold.metadata}
            chunks += self._rewind({"id": fold.message_id, "role": "assistant", **metadata, "parts": judged})
        return [*chunks, *chain.from_iterable(told[len(judged) :]), *end]

    def _rewind(self, message: dict[str, Any]) -> list[Chunk]:
        run = self._kept.get(RUN)
        return [] if run is None else [transient(RUN_REWIND, {**run["data"], "message": message})]


def _begun(start: Chunk) -> Fold:
    if "messageId" not in start:
        raise FoldError("start", "messageId", "a required field is there")
    fold = Fold(MessageId(start["messageId"]))
    fold.add(start)
    return fold


def _judged(parts: Sequence[OpenPart]) -> list[Part]:
    """Copy the parts up to the last one whose approval has a verdict, of those before anything that streams."""
    end = 0
    for number, (part, open_id) in enumerate(parts, 1):
        if open_id is not None or part.get("state") == "input-streaming":
            break
        if "approved" in part.get("approval", ()):
            end = number
    return [dict(part) for part, _ in parts[:end]]


def whole_message_opening(first_frame_chunks: Sequence[Chunk]) -> list[Chunk]:
    """Make what `?replay=message` has in the place of a run's first frame: the answer from its own beginning.

    Of a run that goes on with an answer: one `start`, the transient chunks, the parts of that answer, and only then
    the `data-run-rewind`, which says the same to those who take rewinds, and what parts can't say. So a client that
    begins with nothing and takes no rewinds folds all of the answer, whose outputs and denials come next. Of any
    other run: its chunks.

    Such a client never learns how a person judged. A call that was approved is a call without an approval; one that
    was denied is asked for and denied, without the `approved: false` that `validateUIMessages` wants to see there:
    that message is valid only as read from history.
    """
    at = next((index for index, chunk in enumerate(first_frame_chunks) if chunk["type"] == RUN_REWIND), None)
    if at is None:
        return list(first_frame_chunks)
    rewind = first_frame_chunks[at]
    message = UIMessage.model_validate(rewind["data"]["message"])
    fold = Fold(message.id)
    fold.restore(message)
    start, *parts = compact(fold)
    seen = [chunk for chunk in first_frame_chunks[:at] if chunk.get("transient")]
    return [start, *seen, *parts, *first_frame_chunks[at:]]


_NEVER_IN_5 = frozenset(
    {"tool-approval-request", "tool-approval-response", "reasoning-file", "custom", "steering-message", "reset-step"}
)
_REASONS = ("stop", "length", "content-filter", "tool-calls", "error", "other")
_OF_OUTPUT = frozenset({"providerMetadata", "toolMetadata"})
_OF_INPUT = frozenset({"title", "toolMetadata"})
_NEVER_IN_5_OF: Mapping[str, frozenset[str]] = {
    "tool-input-start": _OF_INPUT | {"providerMetadata", "inputEncoding"},
    "tool-input-available": _OF_INPUT,
    "tool-input-error": _OF_INPUT,
    "tool-output-available": _OF_OUTPUT,
    "tool-output-error": _OF_OUTPUT,
    "text-end": frozenset({"citations"}),
    "abort": frozenset({"reason"}),
}
V5_NEEDLES: tuple[bytes, ...] = tuple(
    f'"{name}"'.encode()
    for name in sorted({*_NEVER_IN_5, "tool-output-denied", "finishReason"}.union(*_NEVER_IN_5_OF.values()))
)
"""An encoded chunk that has none of these in it is the same for `ai` 5."""


def for_sdk5(chunk: Chunk) -> list[Chunk]:
    """Make what `?sdk=5` has in a chunk's place, for clients from `ai` 5.0.100 on; most chunks are left as they are.

    What is unknown to `ai` 5 is left out, types and fields, and a denial becomes an error. A call that waits for an
    approval looks as if it was running, what a `reset-step` drops stays, and of a dynamic call `ai` 5 refuses the
    error that stands for its denial, since a denial does not say that its call is dynamic.
    """
    kind = chunk["type"]
    if kind in _NEVER_IN_5:
        return []
    if kind == "tool-output-denied":
        return [{"type": "tool-output-error", "toolCallId": chunk["toolCallId"], "errorText": DENIED}]
    if kind == "finish" and chunk.get("finishReason", "other") not in _REASONS:
        return [chunk | {"finishReason": "other"}]
    unknown = _NEVER_IN_5_OF.get(kind, frozenset()).intersection(chunk)
    return [{name: value for name, value in chunk.items() if name not in unknown}] if unknown else [chunk]
