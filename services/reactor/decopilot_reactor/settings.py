"""What the reactor is told beyond what every service is."""

from pydantic import Field

from decopilot.kit.settings import Settings


class ReactorSettings(Settings):
    """Settings of the reactor. `purge_grace_s`: how long a run's chunks stay after its end, in seconds."""

    purge_grace_s: float = Field(default=30.0, ge=0)
    events_at_once: int = Field(default=16, ge=1, le=1_000)
