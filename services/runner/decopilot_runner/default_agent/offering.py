"""Which of its tools a model is offered, and must call: whatever it calls besides is refused, and never asked about."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.models import ModelRequestContext
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool, WrapperToolset

Refusal = Callable[[ToolDefinition], str | None]
"""Tells why a tool is not to be called; None: it may be."""


@dataclass
class Offering(AbstractCapability[Any]):
    """Offers what is not refused; a run begins with a call of `first`, where it has it and its model can be forced."""

    refusal: Refusal
    first: str | None = None

    def get_wrapper_toolset(self, toolset: AbstractToolset[Any]) -> AbstractToolset[Any]:
        """Wrap the tools."""
        return _OfferingToolset(toolset, self.refusal)

    async def prepare_model_request(
        self, ctx: RunContext[Any], request_context: ModelRequestContext
    ) -> ModelRequestContext:
        """Leave out what is refused. Not when the tools are listed: a call of one is to be told why it is refused."""
        parameters = request_context.model_request_parameters
        offered = [tool for tool in parameters.function_tools if self.refusal(tool) is None]
        changed = replace(request_context, model_request_parameters=replace(parameters, function_tools=offered))
        if ctx.run_step == 1 and self.first in {tool.name for tool in offered} and _can_be_forced(request_context):
            changed.model_settings = ModelSettings(**{**(changed.model_settings or {}), "tool_choice": [self.first]})
        return changed


@dataclass
class _OfferingToolset(WrapperToolset[Any]):
    refusal: Refusal

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> object:
        if (why := self.refusal(tool.tool_def)) is not None:
            raise ToolFailed(why)
        return await super().call_tool(name, tool_args, ctx, tool)


def _can_be_forced(context: ModelRequestContext) -> bool:
    # Where it is not so the provider answers with an error; the prompt says the same.
    profile = context.model.profile
    thinks = any("thinking" in name for name, value in (context.model_settings or {}).items() if value)
    can = profile.get("supports_forced_tool_choice", True)
    return bool(can and (not thinks or profile.get("supports_forced_tool_choice_with_thinking", True)))
