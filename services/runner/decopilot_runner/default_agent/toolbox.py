"""Tools that an operator brings: plain typed functions, or pydantic-ai's `Tool`s, by their import paths."""

import inspect
from collections.abc import Collection, Iterable
from typing import Any

from pydantic.errors import PydanticUserError
from pydantic_ai import Tool
from pydantic_ai.exceptions import UserError

from decopilot.agent import ToolHints, hints_of, streamed
from decopilot_runner.default_agent.tool_names import safe_name
from decopilot_runner.importing import ImportPathError, imported

TOOL = "tool"
"""What an import path is said to be of, where it does not lead there."""


def load_tools(paths: Iterable[str], taken: Collection[str] = ()) -> list[Tool[Any]]:
    """Load tools whose names are their own, and none of those `taken`.

    Raises:
        ImportPathError: there is no tool at a path, its types can't be told to a model, or its name is not its own.

    """
    tools: list[Tool[Any]] = []
    owners = dict.fromkeys(taken, "the agent itself")
    for path in paths:
        tool = _tool(path, imported(TOOL, path))
        if tool.name in owners:
            raise ImportPathError(TOOL, path, f"there is a tool {tool.name} already, from {owners[tool.name]}")
        owners[tool.name] = path
        tools.append(tool)
    return tools


def metadata_of(hints: ToolHints) -> dict[str, Any]:
    """Make the metadata of a tool from what it is marked with, in the form that MCP tools have."""
    return {"annotations": {"readOnlyHint": hints.read_only, "idempotentHint": hints.idempotent}}


def _tool(path: str, found: object) -> Tool[Any]:
    if isinstance(found, Tool):
        return found
    if not callable(found) or inspect.isclass(found):
        raise ImportPathError(TOOL, path, "that is neither a function nor a pydantic_ai.Tool")
    if inspect.isgeneratorfunction(found):
        raise ImportPathError(TOOL, path, "that is a generator; make it `async`, and it shows what it yields")
    if not inspect.getdoc(found):
        raise ImportPathError(TOOL, path, "it has no docstring, which is what a model is told of it")
    hints = hints_of(found)
    if inspect.isasyncgenfunction(found):
        found = streamed(found)
    try:
        return Tool(
            found,
            name=safe_name(getattr(found, "__name__", type(found).__name__)),
            metadata=metadata_of(hints),
            requires_approval=hints.needs_approval,
        )
    except (UserError, PydanticUserError, TypeError, NameError, ValueError) as error:
        why = str(error).partition("\n")[0].partition(". ")[0]
        raise ImportPathError(TOOL, path, f"its types can't be told to a model: {why}") from error
