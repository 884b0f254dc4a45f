"""What the versions of the AI SDK make of the same stream, where they differ."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from decopilot.contracts.chunks import encode_chunk
from decopilot.contracts.messages import UIMessage


def shown(message: Mapping[str, Any] | None) -> str:
    """Write a message so that 1, 1.0 and true differ as they do in JavaScript, and a difference reads well."""
    return json.dumps(message, ensure_ascii=False, indent=1, sort_keys=True)


def as_known_to(version: str, message: UIMessage, refused: Collection[str] = ()) -> dict[str, Any]:
    """Take back from a message what a version knew nothing of yet; `refused` names calls whose input was an error."""
    parts = [as_of(version, part, refused) for part in message.parts]
    told = {} if message.metadata is None else {"metadata": message.metadata}
    shape: dict[str, Any] = {"id": message.id, "role": message.role, "parts": parts} | told
    return {name: integers(value) for name, value in json.loads(encode_chunk(shape)).items()}


def as_of(version: str, part: dict[str, Any], refused: Collection[str]) -> dict[str, Any]:
    """Every known difference between `ai` 7.0.173, which our fold follows, and the versions before it."""
    part = dict(part)
    before_summer = version in {"ai5-oldest", "ai6-strict", "ai7-strict"}
    if before_summer and part["type"] == "reasoning":
        del part["id"]
    if before_summer and "toolCallId" in part:
        part.pop("rawInput", None)
    # Only `ai` 7 came to keep the input of a refused call in `input`; before, it stands in `rawInput` (unless dynamic).
    of_static_tool = str(part["type"]).startswith("tool-")
    if version != "ai7" and of_static_tool and part["state"] == "output-error" and part["toolCallId"] in refused:
        part["rawInput"] = part.pop("input")
    return part


def integers(value: Any) -> Any:  # noqa: ANN401  JSON is of any type
    """Write whole numbers as JavaScript does, which has one kind of number."""
    if isinstance(value, dict):
        return {name: integers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [integers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
