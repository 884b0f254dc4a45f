"""Tools that every default agent has."""

# ruff: noqa: ARG001 - what the model asks is shown by clients

from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic_ai import Tool
from pydantic_ai.exceptions import CallDeferred

from decopilot_runner.default_agent.asking import read_only
from decopilot_runner.default_agent.modes import only_in


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


PLAN_LENGTH = 50_000


async def propose_plan(plan: Annotated[str, Field(min_length=1, max_length=PLAN_LENGTH)]) -> dict[str, Any]:
    """Propose a plan to the user and wait for the verdict: `{approved}`, perhaps with a `reason`.

    Args:
        plan: The whole plan, in Markdown.

    """
    raise CallDeferred


PROPOSE_PLAN = Tool(propose_plan, metadata=read_only() | only_in("plan"))
