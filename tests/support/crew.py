"""An agent over the models of the configuration, whose tools leave traces in files, for runners that are killed."""

import asyncio
import os
from pathlib import Path

from pydantic_ai import Agent as PydanticAgent
from pydantic_ai import Tool

from decopilot.kit.configuration import read_configuration
from decopilot_runner.default_agent import adapt
from decopilot_runner.default_agent.asking import read_only
from decopilot_runner.default_agent.models import Models
from support.crew_files import ACTS, HANGING

FOLDER = Path(os.environ["CREW_FOLDER"])


async def act(name: str) -> str:
    """Act, and leave a trace of that."""
    with (FOLDER / ACTS).open("a") as acts:
        acts.write(f"{name}\n")
    if name == "b" and (FOLDER / HANGING).exists():
        await asyncio.Event().wait()
    return f"{name} done"


models = Models(read_configuration())
models.prepare()
# One after the other: what comes behind the one that hangs is not begun.
acting = adapt(PydanticAgent[None, str](tools=[Tool(act, sequential=True)]), models)
reading = adapt(PydanticAgent[None, str](tools=[Tool(act, sequential=True, metadata=read_only())]), models)
