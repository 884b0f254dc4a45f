"""The verdict: how often each promise was checked, and where it was broken."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from decopilot.cli.chaos.promises import KNOWN

PROMISES = tuple(KNOWN)
TEXT_MAX = 700


@dataclass(slots=True)
class Verdict:
    """Checks made and violations found, by promise."""

    checks: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[str, str]] = field(default_factory=list)

    def check(self, promise: str, holds: bool, text: str) -> bool:  # noqa: FBT001  what is checked
        """Count a check; `text` says what is wrong where it does not hold."""
        if promise not in PROMISES:
            raise ValueError(promise)
        self.checks[promise] += 1
        if not holds:
            self.violations.append((promise, text[:TEXT_MAX]))
        return holds

    def unchecked(self) -> list[str]:
        """The promises that nothing spoke of: a test that can't fail is a defect."""
        return [promise for promise in PROMISES if not self.checks[promise]]

    def table(self) -> list[str]:
        """Tell it in lines: promise, checks, violations."""
        broken = Counter(promise for promise, _ in self.violations)
        rows = [f"{'promise':<14} {'checks':>8} {'violations':>10}"]
        rows += [f"{promise:<14} {self.checks[promise]:>8} {broken[promise]:>10}" for promise in PROMISES]
        return rows


def counted(counts: Mapping[str, int]) -> str:
    """Tell counts in one line, the largest first."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))
