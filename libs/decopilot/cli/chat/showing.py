"""What a conversation looks like in a terminal: texts without anything that a terminal would obey. Pure."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from decopilot.cli.asking import PROPOSE_PLAN, USER_ASK, output_for, verdict_on
from decopilot.cli.printing import printable, short
from decopilot.client import Answer, Interaction, RunEnd, UIMessage
from decopilot.contracts.chunks import MCP_UNAVAILABLE
from decopilot.contracts.interactions import Resolution
from decopilot.contracts.messages import Part
from decopilot.domain.interactions import tool_name

YES, NO = frozenset({"y", "yes"}), frozenset({"n", "no"})
ARGUMENTS_MAX = 4_000
_ENDS = {"length": "The answer was cut: it is as long as it may be.", "content-filter": "The answer was filtered."}
_MARKS = {
    "input-streaming": "…",
    "input-available": "…",
    "approval-requested": "?",
    "approval-responded": "…",
    "output-available": "✓",
    "output-error": "✗",
    "output-denied": "✗",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A piece of a message: a text in Markdown, or a plain line or two of the kind that it is."""

    kind: Literal["markdown", "question", "thought", "tool", "note", "error"]
    text: str


@dataclass(frozen=True, slots=True)
class Card:
    """What the user is asked, and how to answer in the prompt."""

    interaction: Interaction
    title: str
    body: str
    hint: str
    options: tuple[str, ...] = ()
    default: str | None = None

    def resolution(self, said: str) -> Resolution | None:
        """Read an answer; None where it is none."""
        said = said.strip()
        if self.interaction.kind == "answer" and self.interaction.tool_name != PROPOSE_PLAN:
            return self._answer(said)
        word, _, reason = said.partition(" ")
        verdict = word.lower().rstrip(",:")
        if verdict not in YES | NO:
            return None
        return verdict_on(self.interaction, approved=verdict in YES, reason=reason.strip() or None)

    def _answer(self, said: str) -> Resolution | None:
        if self.options and said.isascii() and said.isdigit() and 1 <= int(said) <= len(self.options):
            said = self.options[int(said) - 1]
        said = said or self.default or ""
        if not said:
            return None
        return Answer(tool_call_id=self.interaction.id, output=output_for(self.interaction, said))


def card(asked: Interaction, message: UIMessage | None) -> Card:
    """Make the card of what an answer waits for."""
    parts = [] if message is None else message.parts
    given: Any = next((part.get("input") for part in parts if part.get("toolCallId") == asked.tool_call_id), None)
    said = given if isinstance(given, dict) else {}
    if asked.kind == "approval":
        title = f"Let it use {printable(asked.tool_name)}?"
        return Card(asked, title, _pretty(given), "y, n, or n and a reason")
    if asked.tool_name == PROPOSE_PLAN:
        plan = printable(str(said.get("plan", "")))
        return Card(asked, "Carry this plan out?", plan, "y, n, or n and what to change")
    if asked.tool_name == USER_ASK:
        listed = said.get("options")
        options = [str(option) for option in listed] if isinstance(listed, list) else []
        if said.get("type") == "confirm" and not options:
            options = ["yes", "no"]
        default = str(said["default"]) if said.get("default") else None
        lines = [printable(str(said.get("prompt", ""))), *(f"  {n}. {printable(o)}" for n, o in enumerate(options, 1))]
        hint = "a number, or your own words" if options else "your answer"
        hint += f"; Enter alone: {short(printable(default))}" if default else ""
        return Card(asked, "It asks you", "\n".join(lines), hint, tuple(options), default)
    return Card(asked, f"{printable(asked.tool_name)} waits for its output", _pretty(given), "a text, or JSON")


def pieces(message: UIMessage, end: RunEnd | None = None) -> Iterator[Shown]:
    """Yield what is shown of a message, in its order, and how it ended."""
    for part in message.parts:
        shown = _piece(part, is_question=message.role != "assistant")
        if shown is not None and shown.text:
            yield shown
    if end is not None and end.status == "failed":
        reason = (end.reason or "failed").capitalize()
        yield Shown("error", printable(f"{reason}: {end.text or 'no more is known.'}"))
    elif end is not None and end.finish_reason in _ENDS:
        yield Shown("error", _ENDS[end.finish_reason])


def _piece(part: Part, *, is_question: bool) -> Shown | None:
    kind = str(part.get("type", ""))
    if (name := tool_name(part)) is not None:
        return Shown("tool", _call(part, name))
    if kind == "text":
        return Shown("question" if is_question else "markdown", printable(str(part.get("text", ""))))
    if kind == "reasoning":
        return Shown("thought", printable(str(part.get("text", "")).strip()))
    note = _note(kind, part)
    return None if note is None else Shown("note", short(printable(note)))


def _note(kind: str, part: Part) -> str | None:
    match kind:
        case "file":
            return f"file: {part.get('filename') or part.get('mediaType', '')}"
        case "source-url":
            return f"source: {part.get('title') or ''} {part.get('url')}"
        case _ if kind == MCP_UNAVAILABLE:
            return str(part["data"].get("text", "")) if isinstance(part.get("data"), dict) else None
        case _:
            return None


def _call(part: Part, name: str) -> str:
    state = str(part.get("state", ""))
    mark = "…" if part.get("preliminary") else _MARKS.get(state, "…")
    line = f"{mark} {name}({short(part['input']) if part.get('input') is not None else ''})"
    approval = part.get("approval")
    if state == "output-available":
        line += f"\n  → {short(part.get('output'))}"
    elif state == "output-error":
        line += f"\n  failed: {short(part.get('errorText', ''))}"
    elif state == "output-denied":
        reason = approval.get("reason") if isinstance(approval, dict) else None
        line += f"\n  denied{f': {short(reason)}' if reason else ''}"
    return printable(line)


def _pretty(given: object) -> str:
    """Show arguments whole, so far as a person would read them: what is left out is said."""
    text = printable(json.dumps(given, ensure_ascii=False, indent=2)) if given is not None else ""
    if len(text) <= ARGUMENTS_MAX:
        return text
    return f"{text[:ARGUMENTS_MAX]}\n… and {len(text) - ARGUMENTS_MAX} more characters"
