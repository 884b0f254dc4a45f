"""`decopilot events`: what stands in a thread's log, one line an event."""

import json
from typing import Any

import typer

from decopilot.cli.errors import CliError
from decopilot.cli.logs import clean, clean_json
from decopilot.cli.looking.reading import an_id, read_log
from decopilot.cli.looking.reading import events as read_events
from decopilot.cli.reaching import Where
from decopilot.contracts import subjects
from decopilot.contracts.events import Recorded, RunFailed, RunQueued, RunRequested, RunRequiresAction
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.contracts.messages import UIMessage
from decopilot.log.store import Store, Stored

TEXT_CHARS = 80
_UNSAID = {"type", "at", "run_id", "message", "message_hash", "config", "thread", "traceparent", "usage", "resolutions"}
_UNSAID |= {"error_text", "pending", "messages", "assistant_id", "last_index"}


def events(where: Where, org: str, thread: str, *, follow: bool, as_json: bool) -> None:
    """Print them, from the first one on; with `follow` also those that come.

    Raises:
        CliError: there is no such thread, or no broker.

    """
    of_org, of_thread = OrgId(an_id(org, "org")), ThreadId(an_id(thread, "thread"))
    filter_ = subjects.events_of(of_org, of_thread)

    async def look(store: Store) -> None:
        if not follow and await store.last(subjects.EVENTS_STREAM, filter_) is None:
            raise no_such_thread(org, thread)
        async for stored, recorded in read_events(store, filter_, after=0, follow=follow):
            typer.echo(_json(stored) if as_json else clean(line(stored, recorded)))

    read_log(where, look)


def no_such_thread(org: str, thread: str) -> CliError:
    """Make the refusal of a thread that has no events."""
    return CliError(
        f"Org {org!r} has no thread {thread!r}. `decopilot runs --since 7d` lists runs with their threads, of all orgs."
    )


def line(stored: Stored, recorded: Recorded | None) -> str:
    """Tell an event on one line: when, where, what, of which run, and what else it says."""
    at = "" if stored.stored_at is None else f"{stored.stored_at.astimezone():%Y-%m-%d %H:%M:%S.%f}"[:-3]
    kind = stored.subject.rpartition(".")[2]
    head = f"{at}  {stored.sequence:>8}  {kind:<21}"
    if recorded is None:
        return f"{head} (a newer version wrote this: this one can't read it)"
    fields = recorded.event.model_dump(mode="json", exclude_defaults=True)
    run = fields.get("run_id", "")
    said = [f"{name}={_short(value)}" for name, value in fields.items() if name not in _UNSAID]
    return " ".join([head, f"{run:<32}", *said, *_words(recorded)]).rstrip()


def _words(recorded: Recorded) -> list[str]:
    match recorded.event:
        case (RunRequested() | RunQueued()) as asked if asked.message is not None:
            return [f"asks={_text(asked.message)}"]
        case RunFailed(error_text=text, message=message):
            return [f"error={_short(text)}"] * bool(text) + ([] if message is None else [f"says={_text(message)}"])
        case RunRequiresAction(pending=pending):
            return [f"waits_for={len(pending)}"]
        case event:
            message = getattr(event, "message", None)
            return [f"says={_text(message)}"] if isinstance(message, UIMessage) else []


def _text(message: UIMessage) -> str:
    return _short("".join(str(part.get("text", "")) for part in message.parts if part.get("type") == "text"))


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text if len(text) <= TEXT_CHARS else f"{text[: TEXT_CHARS - 1]}…"
    return json.dumps(text, ensure_ascii=False) if isinstance(value, str) and not text.isalnum() else text


def _json(stored: Stored) -> str:
    body: Any = None
    try:
        body = json.loads(stored.data)
    except ValueError:
        body = stored.data.decode("utf-8", "replace")
    told = {
        "sequence": stored.sequence,
        "subject": stored.subject,
        "storedAt": None if stored.stored_at is None else stored.stored_at.isoformat(),
        "headers": {name: value for name, value in stored.headers.items() if name in _HEADERS},
        "event": body,
    }
    return clean_json(told)


_HEADERS = {"Nats-Msg-Id", "Decopilot-Correlation", "Decopilot-Causation", "traceparent"}
