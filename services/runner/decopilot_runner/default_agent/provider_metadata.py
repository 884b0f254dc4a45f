"""What a provider wants back with a part of its model's answer, kept in the part's provider metadata.

Anthropic takes no tool result back without the signed thoughts before the call, OpenAI no call without its reasoning
item, Google no call without the signature of its thoughts. An answer that another attempt or a continuation goes on
with has to bring them along. The form is that of pydantic-ai's own AI SDK adapter.
"""

from typing import Any

from pydantic_ai.messages import ThinkingPart, ToolCallPart

from decopilot.contracts.messages import Part

KEY = "pydantic_ai"
_THINKING = ("id", "signature", "provider_name", "provider_details")
_CALL = ("id", "provider_name", "provider_details")


def provider_metadata(part: ThinkingPart | ToolCallPart) -> dict[str, Any]:
    """Make the chunk's field that keeps what the provider wants back of a part; nothing if that is nothing."""
    names = _THINKING if isinstance(part, ThinkingPart) else _CALL
    kept = {name: value for name in names if (value := getattr(part, name)) is not None}
    # Whose part it was alone says nothing.
    return {"providerMetadata": {KEY: kept}} if kept.keys() - {"provider_name"} else {}


def thinking(part: Part) -> ThinkingPart | None:
    """Make what the model thought, as it is to be sent back; None where its provider wants nothing of it back."""
    kept = _kept(part.get("providerMetadata"), _THINKING)
    return ThinkingPart(str(part.get("text", "")), **kept) if kept.get("signature") or kept.get("id") else None


def about_call(part: Part) -> dict[str, Any]:
    """Give what is to be sent back with a call, as fields of a `ToolCallPart`."""
    return _kept(part.get("callProviderMetadata"), _CALL)


def _kept(metadata: object, names: tuple[str, ...]) -> dict[str, Any]:
    kept = metadata.get(KEY) if isinstance(metadata, dict) else None
    if not isinstance(kept, dict):
        return {}
    kinds = {"provider_details": dict}
    return {name: kept[name] for name in names if isinstance(kept.get(name), kinds.get(name, str))}
