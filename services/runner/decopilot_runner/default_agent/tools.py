"""Tools that every default agent has."""

# ruff: noqa: ARG001 - what the model asks is shown by clients

from typing import Literal

from pydantic_ai import Tool
from pydantic_ai.exceptions import CallDeferred

from decopilot_runner.default_agent.asking import read_only


async def user_ask(
    prompt: str,
    type: Literal["text", "choice", "confirm"] = "text",  # noqa: A002  its name in every client that shows the question
    options: list[str] | None = None,
    default: str | None = None,
) -> dict[str, str]:
    """Ask the user a question and wait for the answer.

    Args:
        prompt: The question.
        type: What the answer is: a text of the user's own, one of the options, or yes or no.
        options: What to choose from: two or more, for a choice.
        default: The answer that is suggested.

    """
    # Its output comes from outside, in the run that goes on with this answer.
    raise CallDeferred


USER_ASK = Tool(user_ask, metadata=read_only())
