"""The outcome of a chaos run: what was done, what broke, and what was found; the JSON that the command writes.

All times `*_s` are seconds; those named `at_s` count from `started_at`.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, computed_field

UNDISTURBED = "no fault"
"""The kind of a recovery that no fault preceded."""

Seconds = Annotated[float, Field(allow_inf_nan=False)]


class Part(BaseModel):
    """A part of an outcome: a later version may know more fields, and reads those of this one."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Fault(Part):
    """Something that was broken; `ended_s` is None for a blow that is over at once, or that lasted to the end."""

    kind: str
    target: str
    at_s: Seconds
    ended_s: Seconds | None = None


class Promise(Part):
    """A promise: how often it was put to the test, and where it was broken.

    `recovery` says what a recovery time means here; both it and the worst are None where nothing is to be waited for.
    """

    name: str
    meaning: str
    tries: int
    violations: tuple[str, ...] = ()
    recovery: str | None = None
    worst_recovery_s: Seconds | None = None

    @property
    def is_kept(self) -> bool:
        """Whether it was put to the test and not broken."""
        return self.tries > 0 and not self.violations


class Recovery(Part):
    """How long it took until a promise that a fault of `kind` had held up was fulfilled."""

    promise: str
    kind: str
    at_s: Seconds
    seconds: Seconds


class Silence(Part):
    """So long a viewer that stayed got nothing although there was something to get; `at_s` is when it ended."""

    viewer: str
    at_s: Seconds
    seconds: Seconds


class Progress(Part):
    """How many chunks of all runs were stored in the second, or stretch of seconds, from `at_s` on."""

    at_s: Seconds
    chunks: int


class Unchecked(Part):
    """A promise that nothing spoke of, and why."""

    name: str
    reason: str


class Load(Part):
    """What was asked of the system; `runs` by how they ended, `answers` by what was asked and answered."""

    threads: int = 0
    posts: int = 0
    runs: dict[str, int] = {}
    takeovers: int = 0
    handed_back: int = 0
    rewinds: int = 0
    calls: int = 0
    doubtful_calls: int = 0
    viewers: int = 0
    watchers: int = 0
    chunks: int = 0
    connections: int = 0
    resets: int = 0
    answers: dict[str, int] = {}


class Machine(Part):
    """What it ran on."""

    cores: int
    system: str


class Outcome(Part):
    """Everything; `command` is the line that repeats it."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    seed: int
    seconds: Seconds
    started_at: AwareDatetime
    ended_at: AwareDatetime
    target: str
    command: str
    parameters: dict[str, str | int | float | bool | None] = {}
    is_interrupted: bool = False
    versions: dict[str, str]
    machine: Machine
    load: Load
    faults: tuple[Fault, ...] = ()
    promises: tuple[Promise, ...]
    unchecked: tuple[Unchecked, ...] = ()
    recoveries: tuple[Recovery, ...] = ()
    silences: tuple[Silence, ...] = ()
    progress: tuple[Progress, ...] = ()
    limits: tuple[str, ...] = ()
    """What this run could not have found."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> Literal["kept", "broken", "unproven"]:
        """`broken` by any violation; `unproven` if it was cut short, or anything was not put to the test."""
        if any(promise.violations for promise in self.promises):
            return "broken"
        # Where nothing was broken nothing was proven, either.
        return "unproven" if self.is_interrupted or self.unchecked or not self.faults else "kept"

    def to_json(self) -> str:
        """Write it down."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"


def since_s(began: datetime, at: datetime) -> float:
    """Tell how long after `began` something was, to the millisecond."""
    return round((at - began).total_seconds(), 3)
