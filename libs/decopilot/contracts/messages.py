"""Messages as the AI SDK knows them, the configuration of a run, and what a run used."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from decopilot.contracts.ids import Message

Part = dict[str, Any]

Tier = Literal["fast", "smart", "thinking", "image", "web_research"]
Mode = Literal["default", "plan", "web-search", "gen-image"]
ApprovalLevel = Literal["auto", "readonly"]
MessageRole = Literal["system", "user", "assistant"]


class Frozen(BaseModel):
    """Base of what crosses a border: immutable, and tolerant of fields from a newer version."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Kept(Frozen):
    """Base of what is handed on from one event to the next: fields from a newer version are handed on, too."""

    model_config = ConfigDict(extra="allow")


class UIMessage(Frozen):
    """An AI SDK `UIMessage`."""

    id: Message
    role: MessageRole
    parts: list[Part]
    metadata: dict[str, Any] | None = None

    @property
    def text(self) -> str:
        """Join the text parts, one a line."""
        return "\n".join(str(part.get("text", "")) for part in self.parts if part.get("type") == "text")


class Usage(Frozen):
    """Tokens used."""

    input_tokens: int = 0
    output_tokens: int = 0

    def plus(self, other: "Usage") -> "Usage":
        """Add up."""
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
        )


class AskedConfig(Frozen):
    """How a run is wished to be done; what is left open (None), its agent has decided."""

    agent_id: str = Field(default="default", min_length=1, max_length=128)
    tier: Tier | None = None
    mode: Mode = "default"
    tool_approval_level: ApprovalLevel | None = None
    temperature: float | None = None
    window_size: int = Field(default=50, ge=1, le=1000)
    instructions: tuple[str, ...] = ()
    time_limit_s: float | None = None
    """Less time than every run has, where it is to have less."""


class RunConfig(AskedConfig):
    """How a run is to be done: fixed when it is requested, the same for every attempt.

    `model` is the one that its tier had then (an agent of one's own has models of its own, and a run from before models
    were recorded none); `role` is the one that its user had, whose models may have become fewer by the time of another
    attempt.
    """

    model_config = Kept.model_config

    tier: Tier = "smart"
    model: str | None = None
    role: str | None = None
    tool_approval_level: ApprovalLevel = "auto"
    temperature: float = 0.5
