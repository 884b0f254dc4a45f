"""Which agent this runner drives: the default one, or one's own by its import path."""

import importlib
from typing import cast

from decopilot.agent import Agent
from decopilot.kit.program import ConfigurationError
from decopilot_runner.settings import RunnerSettings


class AgentImportError(ConfigurationError):
    """The agent that `DECOPILOT_AGENT` names can't be had."""

    def __init__(self, path: str, why: str) -> None:
        self.path, self.why = path, why
        super().__init__(f"DECOPILOT_AGENT={path}: {why}")


class ModelError(ConfigurationError):
    """The model that `DECOPILOT_MODEL` names can't be had."""

    def __init__(self, model: str, why: str) -> None:
        self.model, self.why = model, why
        super().__init__(f"DECOPILOT_MODEL={model}: {why}")


def load_agent(settings: RunnerSettings) -> Agent:
    """Load the agent.

    Raises:
        AgentImportError: there is no callable at the import path.
        ModelError: the model is unknown, or its provider's package or key is missing.

    """
    if settings.agent is None:
        return _default_agent(settings)
    module, colon, name = settings.agent.partition(":")
    if not (module and colon and name):
        raise AgentImportError(settings.agent, "it must read package.module:callable")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise AgentImportError(settings.agent, str(error)) from error
    if not callable(found):
        raise AgentImportError(settings.agent, "that is not callable")
    return cast("Agent", found)


def _default_agent(settings: RunnerSettings) -> Agent:
    # Heavy, and of no use to a runner with an agent of its own.
    from pydantic_ai.exceptions import UserError  # noqa: PLC0415

    from decopilot_runner.default_agent import build  # noqa: PLC0415

    provider = settings.model.partition(":")[0]
    try:
        return build(settings.model, delay_ms=settings.demo_delay_ms, demo_dir=settings.demo_dir)
    except ImportError as error:
        why = f"its provider's package is missing; install it with: pip install 'decopilot[{provider}]'"
        raise ModelError(settings.model, why) from error
    except UserError as error:
        # Its first sentence names the variable that is missing; the rest is for those who write Python.
        raise ModelError(settings.model, str(error).partition(". ")[0]) from error
