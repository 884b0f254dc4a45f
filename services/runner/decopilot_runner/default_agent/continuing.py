"""Where an answer that has begun is gone on with: read from the message alone, which is all that outlives a runner."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic_ai.tools import DeferredToolResults, ToolDenied
from pydantic_ai.usage import RunUsage

from decopilot.contracts.chunks import FinishReason
from decopilot.contracts.messages import Part, UIMessage
from decopilot.domain.outcome import usage_of
from decopilot_runner.default_agent.asking import Verdicts
from decopilot_runner.default_agent.history import denial, is_open, is_own_call, last_step

REASON_KEY = "finishReason"


@dataclass(frozen=True, slots=True)
class Begun:
    """What there is of an answer: its steps, texts and reasonings are counted, the last step's parts are kept.

    With `in_step` its last step is still to be finished.
    """

    message: UIMessage | None = None
    steps: int = 0
    texts: int = 0
    reasonings: int = 0
    last_step: Sequence[Part] = ()
    in_step: bool = False
    is_resumed: bool = False

    @property
    def metadata(self) -> dict[str, Any]:
        """What was told about the answer."""
        return {} if self.message is None else self.message.metadata or {}

    @property
    def open_calls(self) -> list[Part]:
        """The calls of the last step that have their input and no output."""
        return [part for part in self.last_step if is_open(part)]

    def end(self, limit: int) -> FinishReason | None:
        """Tell why the answer ends here, if nothing is left to be said; it has at most `limit` steps."""
        reason = self.metadata.get(REASON_KEY)
        if reason == "error":
            return "error"
        if self.open_calls:
            return None
        if self.steps > limit:
            return "tool-calls"
        has_text = any(part.get("type") == "text" and part.get("text") for part in self.last_step)
        if not has_text or any(is_own_call(part) for part in self.last_step):
            return None
        return reason if reason in get_args(FinishReason) else "stop"

    def run_usage(self) -> RunUsage:
        """Make the count that the run goes on with; every step was a request."""
        if self.message is None:
            return RunUsage()
        usage = usage_of(self.message)
        return RunUsage(requests=self.steps, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)

    def verdicts(self) -> Verdicts:
        """Tell what is known of the calls that are open."""
        approvals, approved, in_doubt, waiting = {}, set(), set(), set()
        for part in self.open_calls:
            call, approval = str(part["toolCallId"]), part.get("approval")
            if isinstance(approval, dict):
                approvals[call] = str(approval.get("id"))
            if part.get("state") == "approval-requested":
                waiting.add(call)
                continue
            # It may have shown something since: then its state says no more that it was approved.
            if isinstance(approval, dict) and approval.get("approved"):
                approved.add(call)
            if self.is_resumed:
                in_doubt.add(call)
        return Verdicts(approvals, approved, in_doubt, waiting)

    def deferred(self) -> DeferredToolResults | None:
        """Make what has pydantic-ai execute exactly the open calls; whether it may is asked call by call."""
        if not self.open_calls:
            return None
        return DeferredToolResults(approvals={str(part["toolCallId"]): _approval(part) for part in self.open_calls})


def begun(partial: UIMessage | None, *, is_resumed: bool, in_step: bool) -> Begun:
    """Read where an answer is gone on with."""
    if partial is None:
        return Begun()
    kinds = [part.get("type") for part in partial.parts]
    return Begun(
        message=partial,
        steps=kinds.count("step-start"),
        texts=kinds.count("text"),
        reasonings=kinds.count("reasoning"),
        last_step=last_step(partial.parts),
        in_step=in_step,
        is_resumed=is_resumed,
    )


def _approval(part: Part) -> bool | ToolDenied:
    approval = part.get("approval")
    if part.get("state") == "approval-responded" and not (isinstance(approval, dict) and approval.get("approved")):
        return ToolDenied(denial(part))
    return True
