"""The site: where chaos is let loose, and what may be done there."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp.abc import AbstractResolver

from decopilot.cli.chaos.doors import ORG
from decopilot.cli.chaos.evidence import Limits
from decopilot.cli.chaos.odds import Family
from decopilot.cli.chaos.sabotage import Break, Ground, nothing_else


@dataclass(frozen=True, slots=True)
class Reach:
    """How clients come in, and how much of what is there is ours.

    `doors` are the URLs that they go in by, those of the ground's gateways if there are none; `resolver` finds their
    hosts. Where others are at work, too, it `is_shared`: only threads of ours are waited for. `has_stranger` tells
    whether there is a token of another org, `has_marks` whether marks of the demo model's tools can be read here.
    """

    doors: tuple[str, ...] = ()
    org: str = ORG
    resolver: AbstractResolver | None = None
    breaks: Break = nothing_else
    is_shared: bool = False
    has_stranger: bool = True
    has_marks: bool = True


async def leave_all(names: Sequence[str]) -> None:
    """Leave threads where they are."""
    del names


@dataclass(frozen=True, slots=True)
class Site:
    """A ground with all that differs between one of our own and somebody's deployment.

    `what` names it in the report, `prefix` begins the names of our threads, which `clears` removes in the end.
    `reasons` says why a promise can't be checked here, by its name, `bounds` what else could not be found.
    """

    ground: Ground
    what: str
    reach: Reach
    families: tuple[Family, ...]
    notes: Path
    limits: Limits
    watched: int
    pace: float = 1.0
    hangs: bool = True
    prefix: str = "chaos"
    reasons: Mapping[str, str] = field(default_factory=dict)
    bounds: tuple[str, ...] = ()
    clears: Callable[[Sequence[str]], Awaitable[None]] = leave_all
