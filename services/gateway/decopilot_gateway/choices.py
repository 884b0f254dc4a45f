"""Choices: the models and agents that a caller may name in a message."""

from typing import Any, get_args

from aiohttp import web

from decopilot.contracts.configuration import DEFAULT_AGENT, TIERS, Configuration
from decopilot.contracts.messages import Mode
from decopilot.domain.choosing import allowed_models, is_allowed
from decopilot_gateway.auth import Doorman


class Choices:
    """Handles `GET …/allowed-models` and `GET …/agents`."""

    def __init__(self, doorman: Doorman, configuration: Configuration) -> None:
        self._doorman = doorman
        self._configuration = configuration

    async def models(self, request: web.Request) -> web.Response:
        """Show the models that the caller's role may use, and which of them stands behind each tier."""
        role = self._doorman.caller(request).role
        allowed = allowed_models(self._configuration, role)
        models: dict[str, list[str]] = {}
        for model in sorted(allowed or ()):
            provider, _, name = model.partition(":")
            models.setdefault(provider, []).append(name or provider)
        tiers = {tier: entry for tier in TIERS if (entry := self._configuration.tier_entry(tier)) is not None}
        return web.json_response(
            {
                "allowAll": allowed is None,
                "models": models,
                "tiers": {
                    tier: {
                        "title": entry.title or entry.model,
                        "model": entry.model,
                        "vision": entry.vision,
                        "allowed": is_allowed(self._configuration, entry.model, role),
                    }
                    for tier, entry in tiers.items()
                },
            }
        )

    async def agents(self, request: web.Request) -> web.Response:
        """Show the agents, the default one first, and what each does where a message leaves it open."""
        self._doorman.caller(request)
        agents: list[dict[str, Any]] = []
        for agent_id in dict.fromkeys([DEFAULT_AGENT, *self._configuration.agents]):
            entry = self._configuration.agent_entry(agent_id)
            if entry is not None:
                agents.append(
                    {
                        "id": agent_id,
                        "title": entry.title or agent_id,
                        "description": entry.description,
                        "tier": entry.tier,
                        "toolApprovalLevel": entry.approval,
                    }
                )
        return web.json_response({"agents": agents, "modes": self._modes()})

    def _modes(self) -> list[Mode]:
        """List the modes that do here what they are for."""
        configured = self._configuration
        works = {
            "web-search": configured.search is not None or configured.tier_entry("web_research") is not None,
            "gen-image": configured.tier_entry("image") is not None,
        }
        return [mode for mode in get_args(Mode) if works.get(mode, True)]
