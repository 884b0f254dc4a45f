"""What a tool says about itself, and what is asked of the user before, or in place of, its execution."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.exceptions import ApprovalRequired
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool, WrapperToolset

ASKED = "asked"
"""Key in the metadata of an `ApprovalRequired`: the request that clients are to be shown; None: they have it."""

OBEDIENT = "obedient"
INTERRUPTED = "This call was interrupted: it may already have happened. Approve it to let it be done (again)."


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for approval; `is_interrupted` says that the call may have happened."""

    approval_id: str
    is_interrupted: bool = False


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What is known of the calls that the answer has already: `approvals` are the ids under which they were asked for.

    Those `in_doubt` may have been executed by an attempt that died. Those `waiting` are still to be answered.
    """

    approvals: Mapping[str, str]
    approved: Collection[str] = ()
    in_doubt: Collection[str] = ()
    waiting: Collection[str] = ()


def read_only() -> dict[str, Any]:
    """Make the metadata of a tool that changes nothing, in the form that MCP tools have."""
    return {"annotations": {"readOnlyHint": True}}


def destructive() -> dict[str, Any]:
    """Make the metadata of a tool that takes away."""
    return {"annotations": {"readOnlyHint": False, "destructiveHint": True}}


def obedient() -> dict[str, Any]:
    """Make the metadata of a tool that, in a run that is only reading, only reads itself."""
    return {OBEDIENT: True}


def declares(tool: ToolDefinition, hint: str, *, only_reading: bool = False) -> bool:
    """Tell whether a tool declares a hint of MCP; a hint that is not given is not believed."""
    metadata = tool.metadata or {}
    if hint == "readOnlyHint" and only_reading and metadata.get(OBEDIENT) is True:
        return True
    annotations = metadata.get("annotations")
    return isinstance(annotations, Mapping) and annotations.get(hint) is True


def next_approval_id(call: str, previous: str | None) -> str:
    """Make the id of a request: the same for the same one, another if the call was asked for before."""
    if previous is None:
        return f"{call}:1"
    head, _, number = previous.rpartition(":")
    return f"{call}:{int(number) + 1}" if head == call and number.isdecimal() else f"{call}:2"


@dataclass
class Asking(AbstractCapability[Any]):
    """Has the user asked about calls, of all tools of a run, that are not to be executed just so."""

    verdicts: Verdicts
    only_reading: bool

    def get_wrapper_toolset(self, toolset: AbstractToolset[Any]) -> AbstractToolset[Any]:
        """Wrap the tools."""
        return _AskingToolset(toolset, self.verdicts, self.only_reading)


@dataclass
class _AskingToolset(WrapperToolset[Any]):
    verdicts: Verdicts
    only_reading: bool

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> object:
        call, definition = str(ctx.tool_call_id), tool.tool_def
        if call in self.verdicts.waiting:
            raise ApprovalRequired(metadata={ASKED: None})
        is_approved = call in self.verdicts.approved
        reads = declares(definition, "readOnlyHint", only_reading=self.only_reading)
        asked = next_approval_id(call, self.verdicts.approvals.get(call))
        if not is_approved and (definition.kind == "unapproved" or (self.only_reading and not reads)):
            # It can't have happened, whoever died: it was never approved.
            raise ApprovalRequired(metadata={ASKED: Asked(asked)})
        if call in self.verdicts.in_doubt and not (reads or declares(definition, "idempotentHint")):
            raise ApprovalRequired(metadata={ASKED: Asked(asked, is_interrupted=True)})
        # What pydantic-ai takes for approved is all that has yet to be executed.
        return await super().call_tool(name, tool_args, replace(ctx, tool_call_approved=is_approved), tool)
