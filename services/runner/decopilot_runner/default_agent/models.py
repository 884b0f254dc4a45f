"""Models by their names, as the configuration has them."""

from collections.abc import Sequence
from typing import cast

from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models import Model, infer_model
from pydantic_ai.settings import ModelSettings

from decopilot.agent import AgentError
from decopilot.contracts.configuration import DEMO, TIERS, Configuration, ModelEntry
from decopilot.contracts.messages import RunConfig, Tier
from decopilot.kit.program import ConfigurationError
from decopilot_runner.default_agent.demo import DemoModel
from decopilot_runner.default_agent.provider_metadata import lacks_thoughts
from decopilot_runner.default_agent.providers import IDLE_S, ProviderError, Providers
from decopilot_runner.default_agent.rehearsing import rehearse, stage

_SETTINGS = ModelSettings(max_retries=0, timeout=IDLE_S)
"""Of every model, unless its entry says otherwise: whoever retries is to be seen doing so (`retrying.py`)."""
_DECIDES_TEMPERATURE = ("temperature", "top_p", "thinking", "anthropic_thinking", "openai_reasoning_effort")


class Models:
    """Makes models, and remembers them."""

    def __init__(self, configuration: Configuration, *, delay_ms: int = 20) -> None:
        self._configuration = configuration
        self._delay_ms = delay_ms
        self._providers = Providers(configuration.providers)
        self._made: dict[str, Model] = {}

    @property
    def configuration(self) -> Configuration:
        """Where their names are from."""
        return self._configuration

    @property
    def has_demo(self) -> bool:
        """Whether any tier is answered by the `demo` model."""
        entries = [self._configuration.tier_entry(tier) for tier in TIERS]
        return any(entry is not None and entry.model == DEMO for entry in entries)

    def prepare(self) -> None:
        """Make the models of all tiers, with all that their first call would wait for; blocks for seconds.

        Raises:
            ConfigurationError: one of them can't be had.

        """
        rehearsed = {DEMO}
        for entry in filter(None, map(self._configuration.tier_entry, TIERS)):
            self.of_entry(entry)
            provider = entry.model.partition(":")[0]
            if provider not in rehearsed:
                rehearsed.add(provider)
                rehearse(self._make(entry, Providers(self._configuration.providers, stage())))

    def of_run(self, config: RunConfig) -> Model:
        """Give the model that a run was promised; to one that was promised none, that of its tier.

        Raises:
            AgentError: its tier has none, or the model can't be had any more.

        """
        entry = self._configuration.tier_entry(config.tier)
        if config.model is not None and (entry is None or entry.model != config.model):
            # What its tier had then may be that of another one now, or of none.
            entry = self._entry(config.model)
        if entry is None:
            raise AgentError("tier_unavailable", f"There is no model for the tier {config.tier}.")
        try:
            return self.of_entry(entry)
        except ConfigurationError as error:
            raise AgentError("model_unavailable", f"The model {entry.model} is not available any more.") from error

    def sees(self, config: RunConfig) -> bool:
        """Tell whether a run's model reads images and documents: as its tier says, or another that has that model."""
        entries = [self._configuration.tier_entry(tier) for tier in (config.tier, *TIERS)]
        return next((e.vision for e in entries if e is not None and config.model in {e.model, None}), True)

    def of_tier(self, tier: Tier) -> Model | None:
        """Give the model of a tier; None where it has none.

        Raises:
            ConfigurationError: the provider is unknown, or its package or its key is missing.

        """
        entry = self._configuration.tier_entry(tier)
        return None if entry is None else self.of_entry(entry)

    def named(self, name: str) -> Model:
        """Give a model by its name, with the settings of the first tier that has it.

        Raises:
            ConfigurationError: the provider is unknown, or its package or its key is missing.

        """
        return self.of_entry(self._entry(name))

    def of_entry(self, entry: ModelEntry) -> Model:
        """Give the model of a tier, with the settings that it has there.

        Raises:
            ConfigurationError: the provider is unknown, or its package or its key is missing.

        """
        key = entry.model_dump_json(include={"model", "settings"})
        if key not in self._made:
            self._made[key] = self._make(entry, self._providers)
        return self._made[key]

    async def close(self) -> None:
        """Close the providers' connections."""
        await self._providers.close()

    def _entry(self, name: str) -> ModelEntry:
        entries = (self._configuration.tier_entry(tier) for tier in TIERS)
        return next((entry for entry in entries if entry is not None and entry.model == name), ModelEntry(model=name))

    def _make(self, entry: ModelEntry, providers: Providers) -> Model:
        if entry.model == DEMO:
            return DemoModel(self._delay_ms)
        provider, _, name = entry.model.partition(":")
        made = providers.named(provider)
        try:
            model = infer_model(f"{providers.kind(provider)}:{name}", lambda _: made)
        except UserError as error:
            raise ProviderError(provider, f"has no model {name} that can hold a conversation") from error
        known = {name: value for name, value in _SETTINGS.items() if name not in model.unsupported_settings}
        # A model takes them when it is made, which is left to pydantic-ai: only it knows which class is to be made.
        model._settings = cast("ModelSettings", {**known, **entry.settings})  # noqa: SLF001
        return model


def run_settings(model: Model | None, config: RunConfig, begun: Sequence[ModelMessage] = ()) -> ModelSettings:
    """Give what a run asks of its model: its temperature, where the model takes one and its own settings name none.

    A model that thinks takes none. Where it goes on with an answer that has `begun` and what was thought of that is not
    there, it need not think: with a budget for it Anthropic refuses to go on behind a call without the thoughts.
    """
    if model is None:
        # An agent of one's own asks what it asks.
        return {}
    settings: ModelSettings = {"temperature": config.temperature}
    own, profile = model.settings or {}, cast("dict[str, object]", model.profile)
    if model.system == "anthropic" and lacks_thoughts(begun) and (own.get("thinking") or own.get("anthropic_thinking")):
        is_free = profile.get("anthropic_supports_adaptive_thinking")
        return cast("ModelSettings", {"anthropic_thinking": {"type": "adaptive" if is_free else "disabled"}})
    thinks = profile.get("openai_supports_reasoning") and not profile.get("openai_supports_reasoning_effort_none")
    has_own = any(name in own for name in _DECIDES_TEMPERATURE)
    return {} if has_own or thinks or profile.get("anthropic_disallows_sampling_settings") else settings
