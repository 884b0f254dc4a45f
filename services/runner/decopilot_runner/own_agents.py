"""Agents of one's own: what stands at an import path, made one that the runner can drive."""

import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

from decopilot.agent import Agent, AgentRequest
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.configuration import AgentEntry
from decopilot_runner.importing import ImportPathError, imported
from decopilot_runner.shelf import Shelf

AGENT, TOOL = "agent", "tool"
"""What an import path is said to be of, where it does not lead there."""
Tools = Mapping[str, Callable[..., Any]]


def own_agent(path: str, entry: AgentEntry, shelf: Shelf | None = None) -> Agent:
    """Load the agent at an import path with the tools of its entry: an agent, or a `pydantic_ai.Agent`.

    Raises:
        ImportPathError: there is none, or no tool at one of their paths; the text says what is there instead.

    """
    found = imported(AGENT, path)
    # Only whoever has one has imported that, which takes a second.
    pydantic_ai = sys.modules.get("pydantic_ai")
    if pydantic_ai is not None and isinstance(found, pydantic_ai.Agent):
        return _adapted(path, found, entry, shelf)
    if (why := _objection(found)) is not None:
        raise ImportPathError(AGENT, path, why)
    return _equipped(cast("Agent", found), own_tools(entry.tools))


def own_tools(paths: tuple[str, ...]) -> Tools:
    """Load functions by their names.

    Raises:
        ImportPathError: there is none at a path, or two have one name.

    """
    tools: dict[str, Callable[..., Any]] = {}
    for path in paths:
        found, name = imported(TOOL, path), path.rpartition(":")[2].rpartition(".")[2]
        if not callable(found):
            raise ImportPathError(TOOL, path, f"a {type(found).__name__} is not callable")
        if name in tools:
            raise ImportPathError(TOOL, path, f"the agent has another tool of the name {name}")
        tools[name] = found
    return tools


def _adapted(path: str, found: Any, entry: AgentEntry, shelf: Shelf | None) -> Agent:  # noqa: ANN401  of a package that is not imported here
    if found.model is None:
        raise ImportPathError(AGENT, path, "the pydantic_ai.Agent has no model: give it one where it is made")
    if entry.tools or entry.mcp:
        raise ImportPathError(AGENT, path, "a pydantic_ai.Agent has tools of its own: leave out `tools` and `mcp`")
    from decopilot_runner.default_agent import adapt  # noqa: PLC0415  as heavy
    from decopilot_runner.default_agent.executing import Executor  # noqa: PLC0415
    from decopilot_runner.default_agent.outputs import Outputs  # noqa: PLC0415

    return adapt(found, steps=entry.steps, executor=Executor(Outputs(shelf), entry.tool_timeout_s))


def _objection(found: object) -> str | None:
    """Tell what speaks against an object being an agent, as far as can be told without calling it."""
    if inspect.isclass(found):
        return "a class is no agent: name an instance, or an async generator function"
    if not callable(found):
        return f"a {type(found).__name__} is no agent: it is not callable"
    if inspect.iscoroutinefunction(found):
        return "a coroutine function is no agent: it must `yield` its chunks"
    if inspect.isgeneratorfunction(found):
        return "a generator function is no agent: it must be `async`"
    # Of a callable that is not written in Python nothing is known.
    with suppress(ValueError):
        try:
            inspect.signature(found).bind(object())
        except TypeError:
            return "an agent takes one argument, the request"
    return None


def _equipped(agent: Agent, tools: Tools) -> Agent:
    if not tools:
        return agent

    def call(request: AgentRequest) -> AsyncGenerator[Chunk, None]:
        return agent(replace(request, tools=tools))

    return call
