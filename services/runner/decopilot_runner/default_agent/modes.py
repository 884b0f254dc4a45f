"""What a run may do: its mode and its level, as they are where its answer stands."""

from dataclasses import dataclass
from typing import Any

from pydantic_ai.tools import ToolDefinition

from decopilot.agent import AgentRequest
from decopilot.contracts.messages import Mode, UIMessage
from decopilot_runner.default_agent.asking import declares

PROPOSE_PLAN = "propose_plan"
WEB_SEARCH = "web_search"
SUBTASK = "subtask"
MODE = "mode"
"""Key in the metadata of a tool that is there in one mode only."""

ONLY_READING = "This tool may change something. In plan mode only tools that read are used: put it into the plan."
OTHER_MODE = "There are no plans to be proposed now. Do what the user wants, or tell it in your answer."


@dataclass(frozen=True, slots=True)
class Manner:
    """How a run works. While it is `only_reading`, nothing is changed without the user's approval."""

    mode: Mode
    only_reading: bool

    def refusal(self, tool: ToolDefinition) -> str | None:
        """Tell why a tool is not to be called in this mode; None: it may be."""
        of_mode = (tool.metadata or {}).get(MODE)
        if of_mode is not None and of_mode != self.mode:
            return OTHER_MODE
        if self.mode == "plan" and not declares(tool, "readOnlyHint", only_reading=True):
            return ONLY_READING
        return None


def manner_of(request: AgentRequest) -> Manner:
    """Tell how a request is to be worked on; with its plan approved, an answer is not planned any longer."""
    mode = request.config.mode
    if mode == "plan" and request.partial is not None and _is_approved(request.partial):
        mode = "default"
    return Manner(mode, mode == "plan" or request.config.tool_approval_level == "readonly")


def only_in(mode: Mode) -> dict[str, Any]:
    """Make the metadata of a tool of one mode."""
    return {MODE: mode}


def _is_approved(message: UIMessage) -> bool:
    return any(
        part.get("type") == f"tool-{PROPOSE_PLAN}"
        and part.get("state") == "output-available"
        and isinstance(part.get("output"), dict)
        and part["output"].get("approved") is True
        for part in message.parts
    )
