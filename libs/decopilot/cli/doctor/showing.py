"""Findings as a person reads them: grouped, the faults with what to do."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from decopilot.cli.doctor.findings import GROUPS, Finding
from decopilot.cli.logs import clean

MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "fault": ("FAULT", "bold red")}


def show(findings: Sequence[Finding], *, verbose: bool) -> None:
    """Print them; what is as it should be only with `verbose`."""
    console = Console(highlight=False, markup=False, emoji=False)
    shown = [finding for finding in findings if verbose or finding.level != "ok"]
    table = Table(box=None, show_header=False, padding=(0, 1), expand=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for group in GROUPS:
        for place, finding in enumerate(entry for entry in shown if entry.group == group):
            word, style = MARKS[finding.level]
            table.add_row(Text("" if place else group, "bold"), Text(word, style), _words(finding))
    if shown:
        console.print(table)
    faults = sum(finding.level == "fault" for finding in findings)
    fine = sum(finding.level == "ok" for finding in findings)
    notes = len(findings) - faults - fine
    console.print(f"{faults} faults, {notes} notes, {fine} fine." + ("" if verbose else " (--verbose shows all)"))


def _words(finding: Finding) -> Text:
    text = Text(clean(finding.what))
    if finding.why:
        text.append(f"\n{clean(finding.why)}", "dim")
    if finding.remedy:
        text.append("\n→ ", "bold")
        text.append(clean(finding.remedy), "cyan")
    return text
