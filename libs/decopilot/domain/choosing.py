"""Choosing how a run is done: what was asked for, within what the operator has configured and the role may use."""

from collections.abc import Iterable

from decopilot.contracts.commands import Role
from decopilot.contracts.configuration import AgentEntry, Configuration, ModelEntry
from decopilot.contracts.messages import AskedConfig, RunConfig, Tier, UIMessage
from decopilot.domain.commands import RefusedError

TEMPERATURE = 0.5
ALL = "*"
"""Allows every model; `provider:*` every one of a provider."""


def choose(configuration: Configuration, asked: AskedConfig, role: Role, message: UIMessage | None) -> RunConfig:
    """Choose agent, tier, model and limits of the run that answers a message, which may be new.

    An agent of one's own has models of its own: what is said of models here does not bind it.

    Raises:
        RefusedError: there is no such agent, or no model for the tier; the role may not use it, or it reads no files
            and the message holds one.

    """
    agent = _agent(configuration, asked.agent_id)
    tier: Tier = "image" if asked.mode == "gen-image" else asked.tier or agent.tier
    model = None
    if agent.agent is None:
        entry = _entry(configuration, tier)
        check_model(configuration, entry.model, role)
        _check_files(entry, message)
        model = entry.model
    return RunConfig(
        agent_id=asked.agent_id,
        tier=tier,
        model=model,
        role=role,
        mode=asked.mode,
        tool_approval_level=asked.tool_approval_level or agent.approval,
        temperature=TEMPERATURE if asked.temperature is None else asked.temperature,
        window_size=asked.window_size,
        instructions=asked.instructions,
        time_limit_s=asked.time_limit_s,
    )


def check_still(configuration: Configuration, config: RunConfig) -> None:
    """Check that a run that was granted before may go on, whatever the configuration has become.

    Its tier may have another model by now: it keeps the one that it began with.

    Raises:
        RefusedError: its agent is gone, or its role may not use its model any more.

    """
    _agent(configuration, config.agent_id)
    if config.model is not None:
        check_model(configuration, config.model, config.role)


def check_model(configuration: Configuration, model: str, role: str | None) -> None:
    """Check that a role may use a model.

    Raises:
        RefusedError: it may not.

    """
    if not is_allowed(configuration, model, role):
        raise RefusedError("model_not_allowed", f'The model "{model}" is not allowed for the role "{role}".')


def is_allowed(configuration: Configuration, model: str, role: str | None) -> bool:
    """Tell whether a role may use a model; nothing is known against a run from before roles were recorded."""
    allowed = allowed_models(configuration, role)
    return allowed is None or model in allowed or f"{model.partition(':')[0]}:{ALL}" in allowed


def allowed_models(configuration: Configuration, role: str | None) -> frozenset[str] | None:
    """Tell which models a role may use: names, `provider:*`; None where it may use all."""
    if role is None or role == "owner":
        return None
    found: Iterable[str] | None = next((names for name, names in configuration.roles.items() if name == role), None)
    return None if found is None or ALL in found else frozenset(found)


def _agent(configuration: Configuration, agent_id: str) -> AgentEntry:
    agent = configuration.agent_entry(agent_id)
    if agent is None:
        raise RefusedError("agent_not_found", f'There is no agent "{agent_id}".')
    return agent


def _entry(configuration: Configuration, tier: Tier) -> ModelEntry:
    entry = configuration.tier_entry(tier)
    if entry is None:
        raise RefusedError(
            "tier_unavailable", f'No model available for tier "{tier}". Give it one in [tiers] of the configuration.'
        )
    return entry


def _check_files(entry: ModelEntry, message: UIMessage | None) -> None:
    if message is not None and not entry.vision and any(part.get("type") == "file" for part in message.parts):
        raise RefusedError(
            "files_not_supported", f'The model "{entry.model}" reads no files. Send text, or choose another tier.'
        )
