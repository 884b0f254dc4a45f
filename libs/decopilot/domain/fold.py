"""The fold: chunks in, the message that a client sees out, as `readUIMessageStream` of `ai` 7 makes it."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

from pydantic import ValidationError

from decopilot.contracts.chunks import RUN_REWIND, Chunk
from decopilot.contracts.ids import MessageId
from decopilot.contracts.messages import Part, UIMessage
from decopilot.domain.parts import FoldError, Growing, given
from decopilot.domain.tool_calls import ToolCalls, closing_chunk

__all__ = ["Fold", "FoldError", "fold"]

# Names that the AI SDK never merges, because they reach into JavaScript's prototypes.
_UNMERGED = frozenset({"__proto__", "constructor", "prototype"})


class Fold:
    """One assistant message, growing chunk by chunk.

    A delta costs the same however long the message is; joining text and parsing partial input wait for
    `message`. A chunk must not be changed after it was added. Unknown types are ignored, and so are `error`
    and `abort`, which say nothing about the message.
    """

    finish_reason: str | None
    """What the last `finish` said."""
    finished: bool
    """No run is open: a `finish` came, and no `start` after it."""

    def __init__(self, message_id: MessageId) -> None:
        self._begin(message_id)

    def _begin(self, message_id: MessageId) -> None:
        self._id = message_id
        self._metadata: dict[str, Any] | None = None
        self._parts: list[Growing] = []
        self._texts: dict[str, Growing] = {}
        self._reasonings: dict[str, Growing] = {}
        self._data: dict[tuple[str, str], Growing] = {}
        self._calls = ToolCalls(self._push)
        self._step_begins = 0
        self._step_open = False
        self.finish_reason = None
        self.finished = False

    def add(self, chunk: Chunk) -> None:
        """Fold one chunk in.

        Raises:
            FoldError: the chunk is out of order or incomplete; the message stays as it was.

        """
        kind: str = chunk.get("type", "")
        fold_in = self._folds.get(kind)
        try:
            if fold_in is not None:
                fold_in(self, chunk)
            elif kind.startswith("tool-"):
                self._calls.add(chunk)
            elif kind == RUN_REWIND:
                self._rewind(_told(chunk))
            elif kind.startswith("data-"):
                self._add_data(chunk)
        except KeyError as missing:
            raise FoldError(kind, str(missing.args[0]), "a required field is there") from missing

    def message(self) -> UIMessage:
        """Return the message so far; later chunks don't change it."""
        # Validation copies each part, and what a part holds is only ever replaced, never changed.
        parts = [part.settle() for part in self._parts]
        return UIMessage(id=self._id, role="assistant", parts=parts, metadata=self._metadata)

    def open_parts(self) -> Iterator[tuple[Part, str | None]]:
        """Yield each part as it stands, with the id of its deltas if it is a text or reasoning in progress.

        Of an input in progress only `rawInput` is up to date: reading it costs more than everything else here.
        """
        open_ids = {id(part): id_ for blocks in (self._texts, self._reasonings) for id_, part in blocks.items()}
        for part in self._parts:
            yield part.join(), open_ids.get(id(part))

    @property
    def message_id(self) -> MessageId:
        """The message's id."""
        return self._id

    @property
    def metadata(self) -> dict[str, Any] | None:
        """The message's metadata so far."""
        return self._metadata

    @property
    def in_step(self) -> bool:
        """Whether a step is open."""
        return self._step_open

    @property
    def is_settled(self) -> bool:
        """Whether no text, no reasoning and no input is in the middle of streaming."""
        return not self._texts and not self._reasonings and not self._calls.is_streaming

    def restore(self, message: UIMessage) -> None:
        """Go on with a message as it is; what was folded before is forgotten."""
        self._begin(message.id)
        self._metadata = message.metadata
        for fields in message.parts:
            part = self._push(dict(fields))
            kind = str(fields.get("type", ""))
            if kind == "step-start":
                self._step_begins = len(self._parts)
            elif kind.startswith("data-") and "id" in fields:
                self._data[kind, fields["id"]] = part
        self._calls.restore(self._parts)

    def stream_ends(self, error_text: str) -> list[Chunk]:
        """Return what ends all that is in the middle of streaming: texts, reasonings, inputs of calls."""
        chunks: list[Chunk] = [{"type": "text-end", "id": text} for text in self._texts]
        chunks += [{"type": "reasoning-end", "id": reasoning} for reasoning in self._reasonings]
        streaming = (part for part in self._parts if part.fields.get("state") == "input-streaming")
        return chunks + [chunk for part in streaming if (chunk := closing_chunk(part, error_text, waits=False))]

    def closing_chunks(self, error_text: str, *, waits: bool = False) -> list[Chunk]:
        """Return what closes all that is open, so that `abort`, `error` or `finish` may follow for every client.

        A call without its final output ends with `error_text`; where the run `waits` for a person, calls that have
        their whole input go on waiting too.
        """
        chunks: list[Chunk] = [{"type": "text-end", "id": text} for text in self._texts]
        chunks += [{"type": "reasoning-end", "id": reasoning} for reasoning in self._reasonings]
        chunks += [chunk for part in self._parts if (chunk := closing_chunk(part, error_text, waits=waits)) is not None]
        if self._step_open:
            chunks.append({"type": "finish-step"})
        return chunks

    def _rewind(self, message: UIMessage) -> None:
        # Where nothing void was folded it is the message already, and knows of open steps besides.
        if message != self.message():
            self.restore(message)

    def _push(self, fields: Part) -> Growing:
        part = Growing(fields)
        self._parts.append(part)
        return part

    def _start(self, chunk: Chunk) -> None:
        message_id = chunk.get("messageId", self._id)
        if message_id != self._id:
            _merged(None, chunk)  # a refused chunk must not have emptied the message
            self._begin(MessageId(message_id))
        self._metadata = _merged(self._metadata, chunk)
        self.finished = False

    def _finish(self, chunk: Chunk) -> None:
        self._metadata = _merged(self._metadata, chunk)
        self.finish_reason = chunk.get("finishReason", self.finish_reason)
        self.finished = True

    def _message_metadata(self, chunk: Chunk) -> None:
        self._metadata = _merged(self._metadata, chunk)

    def _start_step(self, _: Chunk) -> None:
        self._calls.begin_step()
        self._push({"type": "step-start"})
        self._step_begins = len(self._parts)
        self._step_open = True

    def _finish_step(self, _: Chunk) -> None:
        self._step_open = False

    def _reset_step(self, _: Chunk) -> None:
        del self._parts[self._step_begins :]
        self._texts, self._reasonings = {}, {}
        self._calls.reset_step(self._parts)
        of_step = {id(part) for part in self._parts}
        self._data = {key: part for key, part in self._data.items() if id(part) in of_step}

    def _text_start(self, chunk: Chunk) -> None:
        self._texts[chunk["id"]] = self._open({"type": "text"}, chunk)

    def _reasoning_start(self, chunk: Chunk) -> None:
        self._reasonings[chunk["id"]] = self._open({"type": "reasoning", "id": chunk["id"]}, chunk)

    def _open(self, fields: Part, chunk: Chunk) -> Growing:
        _ = chunk["id"]
        part = self._push(fields | {"text": "", "state": "streaming"} | given(chunk, "providerMetadata"))
        part.pieces = []
        return part

    def _text_delta(self, chunk: Chunk) -> None:
        _grow(self._texts, chunk)

    def _reasoning_delta(self, chunk: Chunk) -> None:
        _grow(self._reasonings, chunk)

    def _text_end(self, chunk: Chunk) -> None:
        _close(self._texts, chunk)

    def _reasoning_end(self, chunk: Chunk) -> None:
        _close(self._reasonings, chunk)

    def _add_whole(self, chunk: Chunk) -> None:
        """Add a part that a chunk carries as it is: file, source, custom, steering message."""
        self._push(dict(chunk))

    def _add_data(self, chunk: Chunk) -> None:
        data = chunk["data"]
        if chunk.get("transient"):
            return
        if "id" not in chunk:
            self._push(dict(chunk))
        elif (known := self._data.get((chunk["type"], chunk["id"]))) is not None:
            known.fields["data"] = data
        else:
            self._data[chunk["type"], chunk["id"]] = self._push(dict(chunk))

    _folds: ClassVar[dict[str, Callable[["Fold", Chunk], None]]] = {
        "start": _start,
        "finish": _finish,
        "message-metadata": _message_metadata,
        "start-step": _start_step,
        "finish-step": _finish_step,
        "reset-step": _reset_step,
        "text-start": _text_start,
        "text-delta": _text_delta,
        "text-end": _text_end,
        "reasoning-start": _reasoning_start,
        "reasoning-delta": _reasoning_delta,
        "reasoning-end": _reasoning_end,
        "source-url": _add_whole,
        "source-document": _add_whole,
        "file": _add_whole,
        "reasoning-file": _add_whole,
        "custom": _add_whole,
        "steering-message": _add_whole,
    }


def fold(message_id: MessageId, chunks: Iterable[Chunk]) -> UIMessage:
    """Fold chunks into their message.

    Raises:
        FoldError: a chunk is out of order or incomplete.

    """
    growing = Fold(message_id)
    for chunk in chunks:
        growing.add(chunk)
    return growing.message()


def _told(chunk: Chunk) -> UIMessage:
    """Return the message that a rewind tells."""
    try:
        return UIMessage.model_validate(chunk["data"]["message"])
    except (TypeError, ValidationError) as error:
        raise FoldError(chunk["type"], "message", "a rewind tells a message") from error


def _grow(blocks: dict[str, Growing], chunk: Chunk) -> None:
    part = blocks.get(chunk["id"])
    if part is None or part.pieces is None:
        raise FoldError(chunk["type"], chunk["id"], "a delta comes between its start and its end")
    part.pieces.append(chunk["delta"])
    if "providerMetadata" in chunk:
        part.fields["providerMetadata"] = chunk["providerMetadata"]


def _close(blocks: dict[str, Growing], chunk: Chunk) -> None:
    part = blocks.pop(chunk["id"], None)
    if part is None:
        raise FoldError(chunk["type"], chunk["id"], "an end comes after its start")
    part.freeze().update(given(chunk, "citations", "providerMetadata"), state="done")


def _merged(metadata: dict[str, Any] | None, chunk: Chunk) -> dict[str, Any] | None:
    """Return the metadata with the chunk's merged into it; `null` says nothing."""
    more = chunk.get("messageMetadata")
    if more is None:
        return metadata
    if not isinstance(more, dict):
        raise FoldError(chunk["type"], "messageMetadata", "metadata is an object")
    return more if metadata is None else _merge(metadata, more)


def _merge(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Merge into a new object: objects deeply, everything else, lists and null too, replaces what was there."""
    merged = dict(base)
    for name, value in more.items():
        if name in _UNMERGED:
            continue
        known = base.get(name)
        merged[name] = _merge(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged
