"""Finding the agents of the configuration."""

from typing import Any

from pydantic_ai import Tool

from decopilot.contracts.configuration import DEFAULT_AGENT, Configuration
from decopilot_runner.default_agent.asking import read_only


def agent_search_tool(configuration: Configuration) -> Tool[Any]:
    """Make the tool that finds agents."""

    async def agent_search(search_term: str = "") -> list[dict[str, Any]]:
        """Find agents, for instance for a subtask.

        Args:
            search_term: Words; an agent is found if all of them are in its id, title or description. None: all agents.

        """
        words = search_term.casefold().split()
        found = []
        for agent_id in sorted({DEFAULT_AGENT, *configuration.agents}):
            entry = configuration.agent_entry(agent_id)
            if entry is None:
                continue
            about = f"{agent_id} {entry.title or ''} {entry.description}".casefold()
            if all(word in about for word in words):
                told = {"agent_id": agent_id, "title": entry.title or agent_id, "description": entry.description}
                found.append(told | {"does_subtasks": entry.agent is None})
        return found

    return Tool(agent_search, metadata=read_only())
