"""Interactions: what a run waits for, and the small facts that resolve it."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from decopilot.contracts.messages import Frozen

CallId = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Interaction(Frozen):
    """A tool call that waits for a person: for an approval, or for its output as the answer.

    `id` is the approval's id, or the call's own.
    """

    kind: Literal["approval", "answer"]
    id: str
    tool_call_id: str
    tool_name: str

    @property
    def key(self) -> str:
        """What a resolution of it has as its key: an approval may go by the id of its call."""
        return f"{self.kind}:{self.id}"


class _Resolved(Frozen):
    @property
    def digest(self) -> str:
        """The same for the same content, whatever the order of its keys and the form of its numbers."""
        body = json.dumps(_canonical(self.model_dump(mode="json")), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(body.encode()).hexdigest()


class Approval(_Resolved):
    """A tool call was approved or denied."""

    kind: Literal["approval"] = "approval"
    approval_id: CallId
    approved: bool
    reason: str | None = Field(default=None, max_length=2000)

    @property
    def id(self) -> str:
        """The interaction's id."""
        return self.approval_id

    @property
    def key(self) -> str:
        """The interaction's key."""
        return f"approval:{self.approval_id}"

    @property
    def verdict(self) -> str:
        """What came of it, in a word."""
        return "approved" if self.approved else "denied"


class Answer(_Resolved):
    """A tool call got its output from outside, or an error in its place."""

    kind: Literal["answer"] = "answer"
    tool_call_id: CallId
    output: Any = None
    error_text: str | None = Field(default=None, max_length=2000)

    @property
    def id(self) -> str:
        """The interaction's id."""
        return self.tool_call_id

    @property
    def key(self) -> str:
        """The interaction's key."""
        return f"answer:{self.tool_call_id}"

    @property
    def verdict(self) -> str:
        """What came of it, in a word."""
        return "answered"


def _canonical(value: Any) -> Any:  # noqa: ANN401  any JSON
    # JavaScript has one kind of number: what came as 1.0 is sent back as 1.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _canonical(inner) for name, inner in value.items()}
    return [_canonical(inner) for inner in value] if isinstance(value, list) else value


# Told apart by their ids: `kind` is a default, and snapshots leave defaults out.
Resolution = Approval | Answer
