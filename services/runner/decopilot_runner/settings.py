"""What the runner is told beyond what every service is."""

from pydantic import Field

from decopilot.kit.settings import Settings


class RunnerSettings(Settings):
    """Settings of the runner.

    `model` is `demo` or a model name of pydantic-ai (`openai:gpt-5`); `agent` names one's own agent as
    `package.module:callable` and takes the place of the default one.
    """

    model: str = "demo"
    agent: str | None = None
    demo_delay_ms: int = Field(default=20, ge=0, le=10_000)
    runs_at_once: int = Field(default=32, ge=1, le=1_000)
