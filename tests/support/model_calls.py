"""Runs over fakes of providers, driven to the end that the runner would give them."""

from typing import Any

from pydantic_ai import Tool

from decopilot.agent import AgentError
from decopilot.contracts.frames import Outcome
from decopilot.domain.outcome import failure
from decopilot_runner.default_agent.asking import read_only
from support.driven import Driven
from support.providers import Rig, look

IMPATIENT = {"timeout": 0.2}


async def act(name: str) -> str:
    return f"{name} done"


def driven(at: Rig, script: str) -> Driven:
    """Make a run whose tools only read."""
    return Driven(at.agent(Tool(look, metadata=read_only()), Tool(act, metadata=read_only())), script)


async def ended(run: Driven) -> Outcome:
    """Drive a run to its end, whatever its model does."""
    try:
        return await run.attempt()
    except AgentError as error:
        return failure(run.message, error.category, error.text)


def settings_of(script: str) -> dict[str, Any] | None:
    """Give the model's settings for a script; those that hang are not waited for."""
    return IMPATIENT if "hangs" in script else None
