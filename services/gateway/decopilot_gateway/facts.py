"""Facts: what clients say of interactions, bare or within an AI SDK message, of which all else is ignored."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    StrictBool,
    Tag,
    TypeAdapter,
    ValidationError,
)

from decopilot.contracts.interactions import Answer, Approval, CallId, Resolution
from decopilot_gateway.bodies import explain
from decopilot_gateway.problems import ProblemError

FACTS_MAX = 200
"""A long answer holds the outputs of more calls than this; what it waits for stands at its end."""
TEXT_MAX = 2000


class GivenApproval(BaseModel):
    """A tool call is approved, or not."""

    id: CallId = Field(alias="approvalId")
    approved: StrictBool
    reason: str | None = Field(default=None, max_length=TEXT_MAX)

    def fact(self) -> Resolution:
        """Make the fact."""
        return Approval(approval_id=self.id, approved=self.approved, reason=self.reason)


class GivenOutput(BaseModel):
    """A tool call's output."""

    model_config = ConfigDict(allow_inf_nan=False)
    call: CallId = Field(alias="toolCallId")
    output: JsonValue

    def fact(self) -> Resolution:
        """Make the fact."""
        return Answer(tool_call_id=self.call, output=self.output)


class GivenError(BaseModel):
    """Why a tool call has no output."""

    call: CallId = Field(alias="toolCallId")
    error_text: str = Field(alias="errorText", max_length=TEXT_MAX)

    def fact(self) -> Resolution:
        """Make the fact."""
        return Answer(tool_call_id=self.call, error_text=self.error_text)


def _kind(given: Any) -> str | None:  # noqa: ANN401  whatever was sent
    told = [name for name in ("approvalId", "output", "errorText") if isinstance(given, dict) and name in given]
    return told[0] if len(told) == 1 else None


Given = Annotated[
    Annotated[GivenApproval, Tag("approvalId")]
    | Annotated[GivenOutput, Tag("output")]
    | Annotated[GivenError, Tag("errorText")],
    Discriminator(
        _kind,
        custom_error_type="resolution",
        custom_error_message="Tell an approvalId, or of a toolCallId either the output or the errorText",
    ),
]


class InteractionsBody(BaseModel):
    """Body of `POST …/interactions`; unknown fields are ignored."""

    resolutions: list[Given] = Field(min_length=1, max_length=FACTS_MAX)


class _Verdict(BaseModel):
    id: CallId
    approved: StrictBool
    reason: str | None = Field(default=None, max_length=TEXT_MAX)


class _Approved(BaseModel):
    state: Literal["approval-responded"]
    approval: _Verdict

    def fact(self) -> Resolution:
        said = self.approval
        return Approval(approval_id=said.id, approved=said.approved, reason=said.reason)


class _Answered(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)
    state: Literal["output-available"]
    call: CallId = Field(alias="toolCallId")
    # What a tool returned may be `undefined`, which JSON leaves out.
    output: JsonValue = None

    def fact(self) -> Resolution:
        return Answer(tool_call_id=self.call, output=self.output)


class _Failed(BaseModel):
    state: Literal["output-error"]
    call: CallId = Field(alias="toolCallId")
    error_text: str = Field(default="", alias="errorText")

    def fact(self) -> Resolution:
        # Cut, not refused: it may as well be the error of a tool that nobody was asked about.
        return Answer(tool_call_id=self.call, error_text=self.error_text[:TEXT_MAX])


_FACT: TypeAdapter[_Approved | _Answered | _Failed] = TypeAdapter(
    Annotated[_Approved | _Answered | _Failed, Field(discriminator="state")]
)
_STATES = ("approval-responded", "output-available", "output-error")


def facts_in(parts: list[Any]) -> tuple[Resolution, ...]:
    """Take the facts out of an assistant message's parts: of each interaction the last that is said, in order.

    Raises:
        ProblemError: one of them is malformed.

    """
    found: dict[str, Resolution] = {}
    for number, part in enumerate(parts):
        if not _may_say_something(part):
            continue
        try:
            fact = _FACT.validate_python(part).fact()
        except ValidationError as error:
            raise ProblemError("invalid_body", explain(error, f"parts.{number}.")) from error
        # A later call may go by the id of an earlier one.
        found.pop(fact.key, None)
        found[fact.key] = fact
    return tuple(found.values())[-FACTS_MAX:]


def _may_say_something(part: object) -> bool:
    if not isinstance(part, dict) or part.get("state") not in _STATES:
        return False
    kind = part.get("type")
    is_call = isinstance(kind, str) and (kind == "dynamic-tool" or kind.startswith("tool-"))
    return is_call and not part.get("preliminary") and not part.get("providerExecuted")
