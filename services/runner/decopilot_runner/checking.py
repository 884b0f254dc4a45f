"""Checking what an agent yields: chunks that every client since `ai` 5 takes, and a message that fits the log.

One chunk of an unknown type or with a missing field ends the stream of every AI SDK client that sees it, and a
message that can't be stored leaves its run without an end. So neither gets as far as the log.
"""

import re
from collections.abc import Mapping

from pydantic_core import to_json

from decopilot.contracts.chunks import (
    ATTACH_TOKEN,
    MESSAGES_DROPPED,
    RESET,
    RUN,
    RUN_END,
    RUN_REWIND,
    THREAD_DELETED,
    USER_MESSAGE,
    Chunk,
    encode_chunk,
    parse_outside,
)
from decopilot.contracts.messages import UIMessage

_Kinds = Mapping[str, type]

_ANY = object
_PROVIDER: _Kinds = {"providerMetadata": dict}
_ABOUT_TOOL: _Kinds = {**_PROVIDER, "providerExecuted": bool, "dynamic": bool, "toolMetadata": dict}
_ABOUT_INPUT: _Kinds = {**_ABOUT_TOOL, "title": str}
_CALL: _Kinds = {"toolCallId": str}
_NAMED_CALL: _Kinds = {**_CALL, "toolName": str}

# Of each type, what must be there and what may be; nothing else, and null only where anything goes.
_FIELDS: Mapping[str, tuple[_Kinds, _Kinds]] = {
    "start": ({}, {"messageId": str, "messageMetadata": dict}),
    "start-step": ({}, {}),
    "finish-step": ({}, {}),
    "reset-step": ({}, {}),
    "text-start": ({"id": str}, _PROVIDER),
    "text-delta": ({"id": str, "delta": str}, _PROVIDER),
    "text-end": ({"id": str}, {**_PROVIDER, "citations": list}),
    "reasoning-start": ({"id": str}, _PROVIDER),
    "reasoning-delta": ({"id": str, "delta": str}, _PROVIDER),
    "reasoning-end": ({"id": str}, _PROVIDER),
    "tool-input-start": (_NAMED_CALL, {**_ABOUT_INPUT, "inputEncoding": str}),
    "tool-input-delta": ({**_CALL, "inputTextDelta": str}, {}),
    "tool-input-available": ({**_NAMED_CALL, "input": _ANY}, _ABOUT_INPUT),
    "tool-input-error": ({**_NAMED_CALL, "input": _ANY, "errorText": str}, _ABOUT_INPUT),
    "tool-approval-request": (
        {**_CALL, "approvalId": str},
        {"signature": str, "approvalDescriptor": dict, "inputSchemaInput": _ANY, "reason": str, "isAutomatic": bool},
    ),
    "tool-approval-response": (
        {"approvalId": str, "approved": bool},
        {**_PROVIDER, "reason": str, "providerExecuted": bool},
    ),
    "tool-output-available": ({**_CALL, "output": _ANY}, {**_ABOUT_TOOL, "preliminary": bool}),
    "tool-output-error": ({**_CALL, "errorText": str}, _ABOUT_TOOL),
    "tool-output-denied": (_CALL, {}),
    "source-url": ({"sourceId": str, "url": str}, {**_PROVIDER, "title": str}),
    "source-document": ({"sourceId": str, "mediaType": str, "title": str}, {**_PROVIDER, "filename": str}),
    "file": ({"url": str, "mediaType": str}, _PROVIDER),
    "reasoning-file": ({"url": str, "mediaType": str}, _PROVIDER),
    "custom": ({"kind": str}, _PROVIDER),
    "steering-message": ({"id": str, "parts": list}, {}),
    "message-metadata": ({"messageMetadata": dict}, {}),
    "finish": ({}, {"finishReason": str, "messageMetadata": dict}),
    "abort": ({}, {"reason": str}),
    "error": ({"errorText": str}, {}),
}
_DATA: tuple[_Kinds, _Kinds] = ({"data": _ANY}, {"id": str, "transient": bool})
_DATA_TYPE = re.compile(r"data-.+", re.DOTALL)
_OURS = frozenset({ATTACH_TOKEN, MESSAGES_DROPPED, RESET, RUN, RUN_END, RUN_REWIND, THREAD_DELETED, USER_MESSAGE})
_SHOWN = 64
_IDS = ("toolCallId", "approvalId")
ID_LENGTH = 256
"""What a person answers is named by them."""
_NAMES = {str: "string", bool: "boolean", dict: "object", list: "array"}


class ProtocolError(Exception):
    """The agent yielded what no client understands: the `rule` is broken by a chunk of `chunk_type`."""

    def __init__(self, chunk_type: str, rule: str) -> None:
        self.chunk_type, self.rule = chunk_type, rule
        super().__init__(f"{chunk_type} {rule}")


class AnswerTooLargeError(Exception):
    """The answer does not fit the event that ends its run."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        super().__init__(f"an answer has at most {limit_bytes} bytes")


class Checker:
    """Checks the chunks of one run, which may add up to `limit_bytes`."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._left_bytes = limit_bytes
        self._replaced: dict[tuple[str, str], int] = {}  # sizes of what the next chunk of its kind takes the place of

    def count(self, begun: UIMessage) -> None:
        """Count an answer that is gone on with."""
        self._left_bytes -= len(begun.model_dump_json())

    def check(self, chunk: object) -> Chunk:
        """Return the chunk as the log will hold it: plain JSON, the agent's own no more.

        Raises:
            ProtocolError: it is no chunk of the AI SDK, or one that is not an agent's to send.
            AnswerTooLargeError: with it the answer is too large.

        """
        if not isinstance(chunk, dict):
            raise ProtocolError(type(chunk).__name__, "must be an object")
        kind = chunk.get("type")
        if not isinstance(kind, str):
            raise ProtocolError("chunk", "must have a type")
        try:
            line = encode_chunk(chunk)
            stored: Chunk = parse_outside(line)
        except ValueError as error:
            raise ProtocolError(kind[:_SHOWN], "must be JSON") from error
        _check_fields(kind, stored)
        # The log repeats its frame around every delta, the message does not; what is transient is never in it.
        delta = stored.get("delta", stored.get("inputTextDelta"))
        size = len(line) if delta is None else len(to_json(delta))
        is_transient = bool(stored.get("transient"))
        place = None if is_transient else _place(stored)
        before = 0 if place is None else self._replaced.pop(place, 0)
        # A call whose id was there before begins another part.
        self._left_bytes += 0 if kind.startswith("tool-input-") else before
        if size > (self._limit_bytes if is_transient else self._left_bytes):
            raise AnswerTooLargeError(self._limit_bytes)
        if not is_transient:
            self._left_bytes -= size
            if place is not None and (place[0].startswith("data-") or stored.get("preliminary")):
                self._replaced[place] = size
        return stored


def _place(chunk: Chunk) -> tuple[str, str] | None:
    """Tell what of the message a chunk takes the place of: data of its type and id, an output of its call."""
    kind = chunk["type"]
    if kind.startswith("data-"):
        return (kind, chunk["id"]) if "id" in chunk else None
    return ("output", chunk["toolCallId"]) if kind.startswith(("tool-input-", "tool-output-")) else None


def _check_fields(kind: str, chunk: Chunk) -> None:
    found = _FIELDS.get(kind) or (_DATA if _DATA_TYPE.fullmatch(kind) else None)
    if found is None or kind in _OURS:
        raise ProtocolError(kind[:_SHOWN], "is no type that agents may send")
    required, optional = found
    for name in required:
        if name not in chunk:
            raise ProtocolError(kind[:_SHOWN], f"must have a field {name!r}")
    for name, value in chunk.items():
        wanted = str if name == "type" else required.get(name, optional.get(name))
        if wanted is None:
            raise ProtocolError(kind[:_SHOWN], f"must have no field {name[:_SHOWN]!r}")
        if not isinstance(value, wanted):
            raise ProtocolError(kind[:_SHOWN], f"must have {name!r} of type {_NAMES[wanted]}")
    for name in _IDS:
        if not 0 < len(chunk.get(name, "x")) <= ID_LENGTH:
            raise ProtocolError(kind[:_SHOWN], f"must have {name!r} of 1 to {ID_LENGTH} characters")
