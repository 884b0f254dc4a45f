"""The default agent over the demo model, as a runner builds it."""

from pathlib import Path

from decopilot.agent import Agent
from decopilot.contracts.configuration import AgentEntry, Configuration
from decopilot_runner.default_agent import build
from decopilot_runner.default_agent.models import Models
from decopilot_runner.settings import DEMO_DIR


def demo_agent(
    *,
    delay_ms: int = 20,
    demo_dir: Path = DEMO_DIR,
    entry: AgentEntry | None = None,
    configuration: Configuration | None = None,
) -> Agent:
    """Make it; `delay_ms` is the time between two deltas, `demo_dir` where its tools leave their traces."""
    models = Models(configuration or Configuration(), delay_ms=delay_ms)
    return build(entry or AgentEntry(), models, demo_dir=demo_dir)
