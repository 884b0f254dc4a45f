"""The site: where chaos is let loose, and what may be done there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from decopilot.cli.chaos.evidence import Limits
from decopilot.cli.chaos.odds import Family
from decopilot.cli.chaos.sabotage import Break, Ground


@dataclass(frozen=True, slots=True)
class Site:
    """A ground with all that differs between one of our own and somebody's deployment.

    `what` names it in the report. `doors` are the URLs that clients go in by, `notes` is where the demo model's tools
    leave marks that can be read here. `reasons` says why a promise can't be checked here, by its name.
    """

    ground: Ground
    what: str
    families: tuple[Family, ...]
    doors: tuple[str, ...]
    breaks: Break
    notes: Path
    limits: Limits
    prefix: str = "chaos"
    reasons: Mapping[str, str] = field(default_factory=dict)
