"""Models by their names, as the configuration has them."""

from pydantic_ai.models import Model, infer_model

from decopilot.agent import AgentError
from decopilot.contracts.configuration import DEMO, TIERS, Configuration
from decopilot.contracts.messages import RunConfig, Tier
from decopilot_runner.default_agent.demo import DemoModel


class Models:
    """Makes models, and remembers them."""

    def __init__(self, configuration: Configuration, *, delay_ms: int = 20) -> None:
        self._configuration = configuration
        self._delay_ms = delay_ms
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

    def of_run(self, config: RunConfig) -> Model:
        """Give the model that a run was promised; to one that was promised none, that of its tier.

        Raises:
            AgentError: its tier has none, or the model can't be had any more.

        """
        name = config.model
        if name is None:
            entry = self._configuration.tier_entry(config.tier)
            if entry is None:
                raise AgentError("tier_unavailable", f"There is no model for the tier {config.tier}.")
            name = entry.model
        return self.named(name)

    def of_tier(self, tier: Tier) -> Model | None:
        """Give the model of a tier; None where it has none.

        Raises:
            pydantic_ai.exceptions.UserError: the name is unknown, or the provider's key is not in the environment.
            ImportError: the provider's package is not installed.

        """
        entry = self._configuration.tier_entry(tier)
        return None if entry is None else self.named(entry.model)

    def named(self, name: str) -> Model:
        """Give a model by its name.

        Raises:
            pydantic_ai.exceptions.UserError: the name is unknown, or the provider's key is not in the environment.
            ImportError: the provider's package is not installed.

        """
        if name not in self._made:
            self._made[name] = DemoModel(self._delay_ms) if name == DEMO else infer_model(name)
        return self._made[name]
