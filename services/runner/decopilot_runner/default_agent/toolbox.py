"""Tools that an operator brings: plain typed functions, or pydantic-ai's `Tool`s, by their import paths."""

import importlib
import inspect
from collections.abc import Collection, Iterable
from typing import Any

from pydantic.errors import PydanticUserError
from pydantic_ai import Tool
from pydantic_ai.exceptions import UserError

from decopilot.agent import ToolHints, hints_of
from decopilot.kit.program import ConfigurationError
from decopilot_runner.default_agent.tool_names import safe_name


class ToolImportError(ConfigurationError):
    """A tool of the configuration can't be had."""

    def __init__(self, path: str, why: str) -> None:
        self.path, self.why = path, why
        super().__init__(f"tool {path}: {why}")


def load_tools(paths: Iterable[str], taken: Collection[str] = ()) -> list[Tool[Any]]:
    """Load tools whose names are their own, and none of those `taken`.

    Raises:
        ToolImportError: there is no tool at a path, its types can't be told to a model, or its name is not its own.

    """
    tools: list[Tool[Any]] = []
    owners = dict.fromkeys(taken, "the agent itself")
    for path in dict.fromkeys(paths):
        tool = _tool(path, _imported(path))
        if tool.name in owners:
            raise ToolImportError(path, f"there is a tool {tool.name} already, from {owners[tool.name]}")
        owners[tool.name] = path
        tools.append(tool)
    return tools


def metadata_of(hints: ToolHints) -> dict[str, Any]:
    """Make the metadata of a tool from what it is marked with, in the form that MCP tools have."""
    return {"annotations": {"readOnlyHint": hints.read_only, "idempotentHint": hints.idempotent}}


def _imported(path: str) -> object:
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:
        raise ToolImportError(path, f"{type(error).__name__}: {error}") from error


def _tool(path: str, found: object) -> Tool[Any]:
    if isinstance(found, Tool):
        return found
    if not callable(found) or inspect.isclass(found):
        raise ToolImportError(path, "that is neither a function nor a pydantic_ai.Tool")
    if inspect.isgeneratorfunction(found) or inspect.isasyncgenfunction(found):
        raise ToolImportError(path, "that is a generator; a tool returns what it has to say")
    if not inspect.getdoc(found):
        raise ToolImportError(path, "it has no docstring, which is what a model is told of it")
    hints = hints_of(found)
    try:
        return Tool(
            found,
            name=safe_name(getattr(found, "__name__", type(found).__name__)),
            metadata=metadata_of(hints),
            requires_approval=hints.needs_approval,
        )
    except (UserError, PydanticUserError, TypeError, NameError, ValueError) as error:
        why = str(error).partition("\n")[0].partition(". ")[0]
        raise ToolImportError(path, f"its types can't be told to a model: {why}") from error
