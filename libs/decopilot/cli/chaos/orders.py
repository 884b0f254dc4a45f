"""Orders: what the user of `decopilot chaos` asked for."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from decopilot.cli.chaos.commands import family_of
from decopilot.cli.chaos.faults.clocks import NoFaketimeError, faketime
from decopilot.cli.chaos.odds import CLIENTS, CLOCKS, NETWORK, PROCESSES, STORE, Family
from decopilot.cli.chaos.summing import cores
from decopilot.cli.chaos.target import Aim
from decopilot.cli.errors import CliError
from decopilot.cli.outputs import check_output

OWN_CORES = 4
"""So many take the whole load of a stack of its own, beside whoever asks and watches."""
FAMILIES = (PROCESSES, NETWORK, CLIENTS, CLOCKS, STORE)


@dataclass(frozen=True, slots=True)
class Orders:
    """What is to be done, and where it is told; `kinds` are of the families and blows of `odds`, empty for all."""

    seconds: float
    seed: int
    kinds: tuple[str, ...] = ()
    intensity: float = 1.0
    load: float = 1.0
    nodes: int = 1
    json: Path | None = None
    html: Path | None = None
    keep: Path | None = None
    aim: Aim | None = None

    @property
    def again(self) -> str:
        """The command line that does it again; tokens are left out."""
        words = ["decopilot", "chaos", "--seconds", f"{self.seconds:g}", "--seed", str(self.seed)]
        if self.kinds:
            words += ["--faults", ",".join(self.kinds)]
        if self.intensity != 1:
            words += ["--intensity", f"{self.intensity:g}"]
        if self.load != 1 or self.aim is None:
            # Where nothing is said of it, it depends on the machine.
            words += ["--load", f"{self.load:g}"]
        if self.nodes != 1:
            words += ["--nodes", str(self.nodes)]
        if self.aim is not None:
            words += self.aim.words
        return shlex.join(words)

    @property
    def families(self) -> tuple[Family, ...]:
        """What may be drawn; raises `CliError` for a kind that is not there."""
        commanded = None if self.aim is None else family_of(self.aim.commands)
        there = FAMILIES if self.aim is None else (CLIENTS, *([] if commanded is None else [commanded]))
        return chosen(there, self.kinds)

    def check(self) -> None:
        """Find out before anything is started what would go wrong behind it; raises `CliError`."""
        _ = self.families
        for path in (self.json, self.html):
            if path is not None:
                check_output(path)
        if self.aim is not None:
            if self.nodes != 1 or self.keep is not None:
                message = "--nodes and --keep are for a stack of chaos' own: a --target has brokers and logs itself."
                raise CliError(message)
        elif self.kinds and self.families == (CLOCKS,) and faketime() is None:
            raise NoFaketimeError
        if self.keep is not None and self.keep.exists():
            _check_new(self.keep)


def usual_load(*, is_own: bool) -> float:
    """Tell how much is asked unless somebody says it: services that share few cores are to have time for it."""
    return min(1.0, cores() / OWN_CORES) if is_own else 1.0


def _check_new(folder: Path) -> None:
    if not folder.is_dir():
        message = f"{folder} is a file: --keep takes a new folder."
        raise CliError(message)
    if any(folder.iterdir()):
        message = f"{folder} is not empty: what is kept there would mix with what there is."
        raise CliError(message)


def kinds_of(texts: Sequence[str]) -> tuple[str, ...]:
    """Read `kill,stop` and the like; raises `CliError` where that names nothing, for nothing means all."""
    found = dict.fromkeys(kind for text in texts for part in text.split(",") if (kind := part.strip().lower()))
    if texts and not found:
        message = "--faults names no fault; without it all are meant."
        raise CliError(message)
    return tuple(found)


def chosen(families: Sequence[Family], kinds: Sequence[str]) -> tuple[Family, ...]:
    """Choose of the families what is of these kinds: names of families, blows in small letters, or services.

    Raises:
        CliError: there is no such kind.

    """
    known = {name for family in families for name in _names(family)}
    if unknown := [kind for kind in kinds if kind not in known]:
        message = f"--faults {', '.join(unknown)}: there is no such kind here. There are {', '.join(sorted(known))}."
        raise CliError(message)
    if not kinds:
        return tuple(families)
    found = (
        replace(
            family,
            blows=tuple(one for one in family.blows if {family.name, one[1], one[2].lower()} & set(kinds)),
        )
        for family in families
    )
    return tuple(family for family in found if family.blows)


def _names(family: Family) -> set[str]:
    return {family.name} | {word for _, service, blow in family.blows for word in (service, blow.lower())}
