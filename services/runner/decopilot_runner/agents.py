"""Which agent this runner drives: the default one, or one's own by its import path."""

import importlib
from typing import cast

from decopilot.agent import Agent
from decopilot_runner.settings import RunnerSettings


class AgentImportError(Exception):
    """The agent that the settings name can't be had."""

    def __init__(self, path: str, why: str) -> None:
        self.path, self.why = path, why
        super().__init__(f"agent {path!r}: {why}; it must read package.module:callable")


def load_agent(settings: RunnerSettings) -> Agent:
    """Load the agent.

    Raises:
        AgentImportError: there is no callable at the import path.

    """
    if settings.agent is None:
        # Heavy, and of no use to a runner with an agent of its own.
        from decopilot_runner.default_agent import build  # noqa: PLC0415

        return build(settings.model, delay_ms=settings.demo_delay_ms)
    module, _, name = settings.agent.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise AgentImportError(settings.agent, str(error)) from error
    if not callable(found):
        raise AgentImportError(settings.agent, "that is not callable")
    return cast("Agent", found)
