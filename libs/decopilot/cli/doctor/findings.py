"""Findings: what a check found, why it matters, and what to do."""

from dataclasses import asdict, dataclass
from typing import Literal

Group = Literal["broker", "topology", "services", "clocks", "runs"]
Level = Literal["ok", "note", "fault"]
GROUPS: tuple[Group, ...] = ("broker", "topology", "services", "clocks", "runs")


@dataclass(frozen=True, slots=True)
class Finding:
    """One of them; `check` is its stable name, as docs/troubleshooting.md lists them.

    Of a fault, `why` says why it matters and `remedy` what to do; a note is worth knowing, and no reason to act.
    """

    group: Group
    level: Level
    check: str
    what: str
    why: str = ""
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        """Tell it to a program."""
        return {name: value for name, value in asdict(self).items() if value}


def ok(group: Group, check: str, what: str) -> Finding:
    """Tell what is as it should be."""
    return Finding(group, "ok", check, what)


def note(group: Group, check: str, what: str, why: str = "", remedy: str = "") -> Finding:
    """Tell what is worth knowing."""
    return Finding(group, "note", check, what, why, remedy)


def fault(group: Group, check: str, what: str, why: str, remedy: str) -> Finding:
    """Tell what is to be mended."""
    return Finding(group, "fault", check, what, why, remedy)
