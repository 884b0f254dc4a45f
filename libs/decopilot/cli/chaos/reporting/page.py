"""The page: everything that was found, in one file that asks no network for anything and runs no script."""

import base64
import hashlib
from collections.abc import Iterator
from importlib.resources import files

from decopilot.cli.chaos.outcome import Outcome, Promise
from decopilot.cli.chaos.reporting.figures import (
    counted,
    fault_rows,
    load_sentences,
    recovery_rows,
    seconds_of,
    sentence,
)
from decopilot.cli.chaos.reporting.markup import Element, tag, written
from decopilot.cli.chaos.reporting.plots import distribution, timeline

WORDS = {"kept": "Kept", "broken": "Broken", "unproven": "Not proven"}


def page_of(outcome: Outcome) -> str:
    """Write the page of an outcome."""
    style = (files(__package__) / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    title = f"Chaos {outcome.seed}: {WORDS[outcome.verdict].lower()}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", style),
    )
    return written(tag("html", head, tag("body", _header(outcome), tag("main", _sections(outcome))), lang="en"))


def _header(outcome: Outcome) -> Element:
    about = f"decopilot chaos, seed {outcome.seed}, {outcome.seconds:g} s against {outcome.target}"
    return tag(
        "header",
        tag("p", about, class_="about"),
        tag("h1", sentence(outcome), class_=f"verdict {outcome.verdict}"),
        tag("p", f"{outcome.started_at:%Y-%m-%d %H:%M:%S %Z}; {_versions(outcome)}", class_="about"),
    )


def _versions(outcome: Outcome) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in outcome.versions.items())
    return f"{versions}; {outcome.machine.cores} cores, {outcome.machine.system}"


def _sections(outcome: Outcome) -> Iterator[Element]:
    violated = [promise for promise in outcome.promises if promise.violations]
    yield _section("Promises", _promises(outcome), [_unchecked(outcome)] if outcome.unchecked else [])
    if violated:
        yield _section("Violations", [_violations(promise) for promise in violated])
    yield _section("What happened when", _wide(timeline(outcome), "Faults, progress and silences over time"))
    yield _section("Recoveries", list(_recoveries(outcome)))
    yield _section("Load", [tag("p", f"{line}.") for line in load_sentences(outcome)], _faults_and_answers(outcome))
    yield _section("Again", list(_again(outcome)))


def _section(title: str, *children: Element | list[Element]) -> Element:
    return tag("section", tag("h2", title), *children)


def _wide(child: Element, label: str) -> Element:
    """What is wider than a phone is moved by itself."""
    return tag("div", child, class_="wide", tabindex="0", role="region", aria_label=label)


def _table(heads: tuple[str, ...], rows: list[list[Element | str]], classes: list[str] | None = None) -> Element:
    head = tag("tr", [tag("th", name, scope="col") for name in heads])
    body = [
        tag("tr", [tag("td", cell) for cell in row], class_=(classes[number] or None) if classes else None)
        for number, row in enumerate(rows)
    ]
    return tag("table", tag("thead", head), tag("tbody", body))


def _promises(outcome: Outcome) -> Element:
    rows: list[list[Element | str]] = []
    for promise in outcome.promises:
        what = tag("div", tag("strong", promise.name), tag("span", f" {promise.meaning}", class_="meaning"))
        broken: Element | str = f"{len(promise.violations):,}"
        if promise.violations:
            broken = tag("a", broken, href=f"#{promise.name}")
        rows.append([what, f"{promise.tries:,}", broken, seconds_of(promise.worst_recovery_s)])
    classes = ["broken" if one.violations else "" if one.tries else "unproven" for one in outcome.promises]
    return _table(("Promise", "Tries", "Violations", "Worst recovery"), rows, classes)


def _unchecked(outcome: Outcome) -> Element:
    return tag(
        "ul", [tag("li", tag("strong", one.name), f" was not tried: {one.reason}.") for one in outcome.unchecked]
    )


def _violations(promise: Promise) -> Element:
    summary = tag("summary", tag("strong", promise.name), f" {promise.meaning} ({len(promise.violations):,})")
    texts = tag("ol", [tag("li", tag("pre", text)) for text in promise.violations])
    return tag("details", summary, texts, id=promise.name, open="")


def _recoveries(outcome: Outcome) -> Iterator[Element]:
    rows = recovery_rows(outcome.recoveries)
    for promise in outcome.promises:
        if promise.recovery is None:
            continue
        found = [row for row in rows if row.promise == promise.name]
        if not found:
            yield tag("p", tag("strong", promise.name), f" {promise.recovery}: there was none.")
            continue
        caption = tag("figcaption", tag("strong", promise.name), f" {promise.recovery}")
        plot = _wide(distribution(promise.name, found), f"Recovery times of {promise.name}")
        yield tag("figure", caption, plot)
    if rows:
        figures: list[list[Element | str]] = [
            [
                f"{row.promise}, {row.kind}",
                f"{row.count:,}",
                *(seconds_of(row.at(percent)) for percent in (50, 99, 100)),
            ]
            for row in rows
        ]
        table = _table(("Promise, last fault before", "Count", "p50", "p99", "Max"), figures)
        yield tag("details", tag("summary", "The figures"), table)


def _faults_and_answers(outcome: Outcome) -> Element:
    rows: list[list[Element | str]] = [
        [row.kind, f"{row.count:,}", seconds_of(row.longest_s)] for row in fault_rows(outcome.faults)
    ]
    return tag(
        "details",
        tag("summary", f"Faults: {len(outcome.faults):,}; answers: {sum(outcome.load.answers.values()):,}"),
        _table(("Fault", "Struck", "Longest"), rows),
        tag("p", f"Answers: {counted(outcome.load.answers)}."),
    )


def _again(outcome: Outcome) -> Iterator[Element]:
    yield tag("pre", outcome.command, class_="command")
    if outcome.parameters:
        told = ", ".join(f"{name} {value}" for name, value in outcome.parameters.items())
        yield tag("p", f"Parameters: {told}.")
    if outcome.limits:
        yield tag("p", "What this run could not have found:")
        yield tag("ul", [tag("li", limit) for limit in outcome.limits])
