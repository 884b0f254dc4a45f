"""Writes `docs/decider.md` from the table: `PYTHONPATH=tests python -m support.decider_document`."""

from pathlib import Path

from decopilot.contracts.events import EVENTS
from support.decider_table import MEANINGS, NOTHING, STATES, TABLE, Row

PATH = Path(__file__).parents[2] / "docs" / "decider.md"
COMMAND = "PYTHONPATH=tests python -m support.decider_document"

_TYPES = {event.model_fields["type"].default for event in EVENTS}
INTRODUCTION = f"""\
# What may happen to a thread

A thread is what its events add up to. Whoever wishes something of it (a user, a runner, the reactor) has the wish
decided against the thread's newest state: `decide(wish, state)` gives one event or none, and the event is appended
only if no other came in between. So this page says all that can happen, to a thread in any state, by any wish.

A cell holds one of three:

- the **type of the event** that is appended;
- `{NOTHING}`: nothing is left to do, the wish is answered with what stands;
- *the status and code of a refusal*, or *stale* where a runner speaks of a run or an attempt that is not the present
  one. Nothing is appended.

In every state but *no thread* and those of forks, run `r0` ended long ago and message `m9` was withdrawn. The present
run, or the last one where none is, is `r1` of message `m1`. What waits its turn is run `r2` of message `m2`. The user
owns the thread; a stranger does not, and is no owner of the org.

This page is generated from the table that the tests run (`tests/support/decider_table.py`):

    {COMMAND}
"""


def document() -> str:
    """Write the page."""
    return INTRODUCTION + "".join(_section(group, list(states)) for group, states in STATES.items())


def _section(group: str, states: list[str]) -> str:
    lines = ["", f"## {group}", "", *(f"- **{state}**: {MEANINGS[state]}" for state in states), ""]
    for heading, rows in TABLE.items():
        lines += [f"| {heading} | {' | '.join(states)} |", f"|---|{'---|' * len(states)}"]
        lines += [_line(row, states) for row in rows]
        lines.append("")
    return "\n".join(lines)


def _line(row: Row, states: list[str]) -> str:
    return f"| {row.wish} | {' | '.join(_cell(row[state]) for state in states)} |"


def _cell(outcome: str) -> str:
    if outcome == NOTHING:
        return NOTHING
    return f"**{outcome}**" if outcome in _TYPES else f"*{outcome}*"


if __name__ == "__main__":
    PATH.write_text(document(), encoding="utf-8")
