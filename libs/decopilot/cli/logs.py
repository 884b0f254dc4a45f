"""Log lines of many processes, made readable on one terminal."""

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

STYLES = {"debug": "dim", "warning": "yellow", "error": "red", "critical": "bold red"}
_KNOWN = "Plaintext passwords detected"
"""What nats-server warns of at every start. Ours are long and random, in a private file: a hash would hide nothing."""
LOUD = frozenset({"warning", "error", "critical"})

# Text from a model can end up in a log field; its control characters must not drive the terminal.
# What turns the direction of a text around makes a terminal show another one.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_NATS = re.compile(r"\[\d+\] (?P<time>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d)\.\d+ \[(?P<level>[A-Z]{3})\] ?(?P<event>.*)")
_NATS_LEVELS = {"TRC": "debug", "DBG": "debug", "INF": "info", "WRN": "warning", "ERR": "error", "FTL": "critical"}
_BARE = re.compile(r'[^\s"=]+')


@dataclass(frozen=True, slots=True)
class Entry:
    """What one process reported at one time."""

    at: datetime
    level: str
    event: str
    fields: dict[str, object] = field(default_factory=dict)


def parse(line: str, now: datetime) -> Entry | None:
    """Read a line of structlog's JSON or of nats-server; None for every other text."""
    if matched := _NATS.fullmatch(line):
        at = datetime.strptime(matched["time"], "%Y/%m/%d %H:%M:%S").astimezone()
        return Entry(at, _NATS_LEVELS.get(matched["level"], "info"), matched["event"])
    if not line.startswith("{"):
        return None
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or "event" not in fields:
        return None
    at = _time(fields.pop("timestamp", None), now)
    level = str(fields.pop("level", "info")).lower()
    return Entry(at, level, str(fields.pop("event")), fields)


def render(source: str, entry: Entry) -> Text:
    """Return `HH:MM:SS service#n event key=value …` in local time, coloured by level; a traceback goes below it."""
    fields = dict(entry.fields)
    trace = fields.pop("exception", None)
    if fields.get("service") == source.partition("#")[0]:
        del fields["service"]  # said by the source already
    # Colour alone is lost in a file and on some eyes.
    marks = {"level": entry.level} if entry.level in LOUD else {}
    pairs = [f"{key}={_value(value)}" for key, value in (marks | fields).items()]
    style = STYLES.get(entry.level, "")
    text = Text.assemble(
        (entry.at.astimezone().strftime("%H:%M:%S"), "dim"),
        " ",
        (source, "cyan"),
        " ",
        (clean(entry.event), style or "bold"),
        (clean("".join(f" {pair}" for pair in pairs)), style),
    )
    if trace:
        text.append("\n" + clean(str(trace)), style)
    return text


def readable(source: str, line: str) -> Text:
    """Return a line as a person reads it: rendered where it is understood, as it is where not."""
    entry = parse(line, datetime.now(UTC))
    return Text(clean(line)) if entry is None else render(source, entry)


def clean(text: str) -> str:
    """Return the text without the characters that control a terminal."""
    return _CONTROL.sub("", text)


def clean_json(value: object) -> str:
    """Return the value as JSON on one line, with what controls a terminal escaped: it is still the same value."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


class Journal:
    """The one place of `up` that writes to the terminal while processes run."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or _PatientConsole(stderr=True, highlight=False, markup=False, emoji=False)

    def line(self, source: str, line: str) -> None:
        """Show a line that a process wrote; nats-server is heard from warnings on only, it is talkative."""
        entry = parse(line, datetime.now(UTC)) if source.startswith("nats#") else None
        if entry is None or (entry.level in LOUD and not entry.event.startswith(_KNOWN)):
            self._print(readable(source, line))

    def say(self, level: str, event: str, **fields: object) -> None:
        """Show what `up` itself did, in the same form."""
        self._print(render("up", Entry(datetime.now(UTC), level, event, fields)))

    def _print(self, text: Text) -> None:
        try:
            self.console.print(text, soft_wrap=True)
        except OSError:  # the terminal is gone; the services are not, and must be ended in order
            self.console.quiet = True


class _PatientConsole(Console):
    def on_broken_pipe(self) -> None:
        # Rich would exit here, and leave every child process behind.
        self.quiet = True


def _time(stamp: object, now: datetime) -> datetime:
    try:
        if isinstance(stamp, int | float):
            return datetime.fromtimestamp(stamp, UTC)
        return datetime.fromisoformat(str(stamp))
    except (ValueError, OverflowError, OSError):
        return now


def _value(value: object) -> str:
    if isinstance(value, str):
        return value if _BARE.fullmatch(value) else json.dumps(value, ensure_ascii=False)
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:  # writing goes less deep than reading
        return "…"
