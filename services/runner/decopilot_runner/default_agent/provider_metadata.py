"""What a provider wants back with a part of its model's answer, kept in the part's provider metadata.

Anthropic takes no tool result back without the signed thoughts before the call, OpenAI no reasoning without the items
behind it and none of those without it, Google no call without the signature of its thoughts. An answer that another
attempt or a continuation goes on with has to bring them along. The form is that of pydantic-ai's AI SDK adapter.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ThinkingPart, ToolCallPart
from pydantic_ai.models import Model

from decopilot.contracts.messages import Part

KEY = "pydantic_ai"
_ABOUT = ("id", "provider_name", "provider_details")
_THINKING = ("signature", *_ABOUT)


def provider_metadata(part: TextPart | ThinkingPart | ToolCallPart) -> dict[str, Any]:
    """Make the chunk's field that keeps what the provider wants back of a part; nothing if that is nothing."""
    names = _THINKING if isinstance(part, ThinkingPart) else _ABOUT
    kept = {name: value for name in names if (value := getattr(part, name)) is not None}
    # Whose part it was alone says nothing.
    return {"providerMetadata": {KEY: kept}} if kept.keys() - {"provider_name"} else {}


def thinking(part: Part) -> ThinkingPart | None:
    """Make what the model thought, as it is to be sent back; None where its provider wants nothing of it back."""
    kept = _kept(part.get("providerMetadata"), _THINKING)
    return ThinkingPart(str(part.get("text", "")), **kept) if kept.get("signature") or kept.get("id") else None


def about(part: Part) -> dict[str, Any]:
    """Give what is to be sent back with a text or a call, as fields of its `TextPart` or `ToolCallPart`."""
    return _kept(part.get("providerMetadata") or part.get("callProviderMetadata"), _ABOUT)


def readable_by(model: Model, messages: Sequence[ModelMessage]) -> list[ModelMessage]:
    """Leave out what another provider's model thought: this one would be told it as if it had been said."""
    return [
        replace(message, parts=[part for part in message.parts if _is_readable(model, message, part)])
        if isinstance(message, ModelResponse)
        else message
        for message in messages
    ]


def lacks_thoughts(messages: Sequence[ModelMessage]) -> bool:
    """Tell whether the last answer has calls, and nothing of what the model thought before it made them."""
    last = next((message for message in reversed(messages) if isinstance(message, ModelResponse)), None)
    kinds = {type(part) for part in last.parts} if last is not None else set()
    return ToolCallPart in kinds and ThinkingPart not in kinds


def _is_readable(model: Model, message: ModelResponse, part: object) -> bool:
    return not isinstance(part, ThinkingPart) or model.accepts_stateless_artifacts(message, part)


def _kept(metadata: object, names: tuple[str, ...]) -> dict[str, Any]:
    kept = metadata.get(KEY) if isinstance(metadata, dict) else None
    if not isinstance(kept, dict):
        return {}
    kinds = {"provider_details": dict}
    return {name: kept[name] for name in names if isinstance(kept.get(name), kinds.get(name, str))}
