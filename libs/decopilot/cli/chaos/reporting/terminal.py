"""The table for the terminal: promises, faults, recoveries, and the verdict last, where it is seen."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from decopilot.cli.chaos.outcome import Outcome
from decopilot.cli.chaos.reporting.figures import (
    counted,
    fault_rows,
    load_sentences,
    recovery_rows,
    seconds_of,
    sentence,
)
from decopilot.cli.printing import printable

SHOWN = 20
"""So many violations are shown; the JSON and the page have them all."""
COLOURS = {"kept": "bold green", "broken": "bold red", "unproven": "bold yellow"}


def show(outcome: Outcome, console: Console) -> None:
    """Print it."""
    console.print(_promises(outcome))
    console.print(_faults(outcome))
    console.print(_recoveries(outcome))
    for line in load_sentences(outcome):
        console.print(line, highlight=False)
    console.print(f"answers: {counted(outcome.load.answers)}", highlight=False, markup=False)
    found = [(promise.name, text) for promise in outcome.promises for text in promise.violations]
    for name, text in found[:SHOWN]:
        console.print(Text(f"{name}: ", style="bold red") + Text(printable(text)), soft_wrap=True)
    if len(found) > SHOWN:
        console.print(f"and {len(found) - SHOWN:,} more violations.", highlight=False)
    for one in outcome.unchecked:
        console.print(Text(f"{one.name} was not put to the test: {one.reason}.", style="yellow"), soft_wrap=True)
    console.print(Text("Again: ") + Text(printable(outcome.command)), soft_wrap=True)
    console.print(Text(sentence(outcome), style=COLOURS[outcome.verdict]), soft_wrap=True)


def _table(title: str, *columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table


def _promises(outcome: Outcome) -> Table:
    table = _table("Promises", "promise", "tries", "violations", "worst recovery")
    for promise in outcome.promises:
        broken = len(promise.violations)
        style = "bold red" if broken else "yellow" if not promise.tries else ""
        table.add_row(
            promise.name, f"{promise.tries:,}", f"{broken:,}", seconds_of(promise.worst_recovery_s), style=style
        )
    return table


def _faults(outcome: Outcome) -> Table:
    table = _table("Faults", "fault", "struck", "longest")
    for row in fault_rows(outcome.faults):
        table.add_row(Text(row.kind), f"{row.count:,}", seconds_of(row.longest_s))
    return table


def _recoveries(outcome: Outcome) -> Table:
    table = _table("Recoveries", "promise, fault", "count", "p50", "p99", "max")
    for row in recovery_rows(outcome.recoveries):
        figures = (seconds_of(row.at(percent)) for percent in (50, 99, 100))
        table.add_row(Text(f"{row.promise}, {row.kind}"), f"{row.count:,}", *figures)
    return table
