"""The AsyncAPI document: every subject, what is said on it, by whom, to whom, and which stream keeps it.

Nothing of it is written by hand that the code knows: messages are those of the contracts, who says and hears what is
what the broker lets each service do (`log/permissions.py`), streams and consumers are the topology's. A permission for
a subject that stands nowhere below is an error (ADR 0044).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from decopilot.contracts import commands, frames, subjects, watch
from decopilot.contracts.automations import Ledger
from decopilot.contracts.events import EVENTS
from decopilot.contracts.ids import MessageId, OrgId, RunId, ThreadId
from decopilot.contracts.views import StoredMessage
from decopilot.log.objects import ObjectInfo
from decopilot.log.permissions import SERVICES, Permissions
from decopilot.log.topology import Sizes, consumers, streams, sweeper, tallies
from decopilot.log.views import ThreadView

ORG, THREAD, RUN, MESSAGE = OrgId("{org}"), ThreadId("{thread}"), RunId("{run}"), MessageId("{message}")
SERVED = {name: allowed for name, allowed in SERVICES.items() if name != "provision"}
NDJSON, TEXT, BYTES, NOTHING = "application/x-ndjson", "text/plain", "application/octet-stream", "none"
PARAMETERS = {
    "org": "The tenant.",
    "thread": "The conversation.",
    "run": "One answer that is produced.",
    "message": "A message's id.",
    "who": "The user, hashed, or `org` for all of them.",
    "minute": "The minute that is counted, since 1970.",
    "kind": "What the watch event tells.",
    "automation": "The automation's name.",
    "name": "The blob's name: org, thread and id, joined by `/`, in URL-safe base64.",
    "blob": "The blob's id.",
    "writing": "Which writing of the blob it is.",
}
_KINDS = sorted(value for name, value in vars(watch).items() if name.isupper() and name not in {"CAUSE", "PRIVATE_TO"})
_REQUESTS: Mapping[str, type[BaseModel]] = {
    commands.SEND_MESSAGE: commands.SendMessage,
    commands.REGENERATE_ANSWER: commands.RegenerateAnswer,
    commands.RESOLVE_INTERACTIONS: commands.ResolveInteractions,
    commands.CANCEL_RUN: commands.CancelRun,
    commands.WITHDRAW_MESSAGE: commands.WithdrawMessage,
    commands.RETITLE_THREAD: commands.RetitleThread,
    commands.ARCHIVE_THREAD: commands.ArchiveThread,
    commands.SET_VISIBILITY: commands.SetVisibility,
    commands.FORK_THREAD: commands.ForkThread,
    commands.DELETE_THREAD: commands.DeleteThread,
}
_REPLIES = (commands.Accepted, commands.Receipt, commands.Forked, commands.Refused)
_TRACE = {"traceparent": "The trace that it belongs to (W3C Trace Context)."}
_ASKED = _TRACE | {
    commands.PATIENCE: "For how long the answer is waited for, in seconds.",
    commands.TRY: "The id of this try, to give it up by.",
}
_EVENT = _TRACE | {
    "Nats-Msg-Id": "The event's id.",
    "Decopilot-Correlation": "The run that it is about, else the thread.",
    "Decopilot-Causation": "The event that caused it.",
}
_FRAME = {
    frames.FRAME_ID: "The frame's id.",
    frames.ATTEMPT: "Which attempt at the run wrote it.",
    frames.INDEX: "The physical index, within the run, of its first chunk.",
    frames.PREVIOUS: "The sequence of the thread's frame before it, across runs; 0 if there was none.",
    frames.OUTCOME: "On the closing frame, and only there: how the run ended, as JSON.",
    frames.VOID: "The run's chunks that count no more, as ranges.",
    frames.REWIND: "`1` on a frame that makes the last of them known.",
}
_WATCH = {
    watch.CAUSE: "The id of the watch event: the event that caused it, and which of those it is.",
    watch.PRIVATE_TO: "Whom it is for beside the org's owners, percent-encoded; absent where it is for all of the org.",
}


@dataclass(frozen=True, slots=True)
class Channel:
    """One subject; `form` is a model, or the media type of what is no JSON."""

    name: str
    address: str
    summary: str
    form: type[BaseModel] | str
    headers: Mapping[str, str] = field(default_factory=dict)
    is_asked: bool = False

    @property
    def message(self) -> str:
        """The name of what is said on it."""
        return self.form.__name__ if isinstance(self.form, type) else self.name


def channels() -> list[Channel]:
    """Every subject of ours, but for the broker's own (`$JS.…`) and inboxes."""
    kind = "{kind}"
    events = [
        Channel(f"event_{name}", subjects.event(ORG, THREAD, name), _first_line(model), model, _EVENT)
        for model in EVENTS
        for name in [str(model.model_fields["type"].default)]
    ]
    requests = [
        Channel(f"command_{name}", subjects.command(name), _first_line(model), model, _ASKED, is_asked=True)
        for name, model in _REQUESTS.items()
    ]
    key = subjects.bucket_key
    return [
        *requests,
        Channel(
            "given_up",
            subjects.GIVEN_UP,
            "The id of a try for which nothing is to be appended any more: a later one was answered.",
            TEXT,
        ),
        *events,
        Channel(
            "chunk", subjects.chunks(ORG, THREAD, RUN), "A frame of chunks, one AI SDK chunk a line.", NDJSON, _FRAME
        ),
        Channel(
            "tail",
            subjects.tail_of(ORG, THREAD).replace(">", RUN),
            "A frame once it is stored; the broker says so, and where in `Nats-Sequence`.",
            NDJSON,
            _FRAME,
        ),
        Channel(
            "watch", subjects.watch(ORG, THREAD, kind), "What an org's watchers are told.", watch.WatchEvent, _WATCH
        ),
        Channel(
            "watchtail",
            subjects.watchtail_of(ORG).replace(">", f"{THREAD}.{kind}"),
            "A watch event once it is stored; the broker says so, and where in `Nats-Sequence`.",
            watch.WatchEvent,
            _WATCH,
        ),
        Channel(
            "signal",
            subjects.signal(ORG, RUN),
            "To whoever drives the run: look at the log. With a reply subject: are you there? The answer is its name.",
            NOTHING,
        ),
        Channel(
            "track_chat_message_started",
            subjects.track(ORG, "chat_message_started"),
            "For product analytics, at most once: a user's message was taken.",
            "application/json",
        ),
        Channel(
            "count",
            f"{subjects.COUNT_PREFIX}.{ORG}.{{who}}.{{minute}}",
            "One more message of somebody's in a minute.",
            NOTHING,
            {"Nats-Incr": "By how much; the broker counts."},
        ),
        Channel(
            "place",
            subjects.place(ORG, "{who}", THREAD, RUN),
            "The run has one of the places that there are for runs at once.",
            NOTHING,
            {"Nats-TTL": "On a claim: how long it lasts, in seconds."},
        ),
        Channel(
            "threads", key(subjects.THREADS_BUCKET, subjects.thread_key(ORG, THREAD)), "The thread's view.", ThreadView
        ),
        Channel(
            "messages",
            key(subjects.MESSAGES_BUCKET, subjects.message_key(ORG, THREAD, MESSAGE)),
            "A finished message.",
            StoredMessage,
        ),
        Channel(
            "readers",
            key(subjects.READERS_BUCKET, subjects.thread_key(ORG, THREAD)),
            "Somebody reads the thread's chunks: they are not to be purged yet.",
            TEXT,
        ),
        Channel(
            "automations",
            key(subjects.AUTOMATIONS_BUCKET, subjects.automation_key(ORG, "{automation}")),
            "What was decided for an automation.",
            Ledger,
        ),
        Channel("blob", subjects.BLOBS_FILTER.replace("*", "{name}"), "What is said of a blob.", ObjectInfo),
        Channel(
            "blob_chunk",
            f"$O.{subjects.BLOBS_BUCKET}.C.{ORG}.{THREAD}.{{blob}}.{{writing}}",
            "A piece of a blob.",
            BYTES,
        ),
    ]


def document(version: str) -> dict[str, Any]:
    """Describe what the services say to each other as AsyncAPI 3.0."""
    all_channels = channels()
    models: list[type[BaseModel]] = [*_REPLIES, *(each.form for each in all_channels if isinstance(each.form, type))]
    _, found = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    messages = {each.message: _message(each) for each in all_channels}
    messages |= {reply.__name__: _payload(reply) for reply in _REPLIES}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Decopilot",
            "version": version,
            "description": "What the services say to each other over NATS. Clients speak HTTP: openapi.json.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "127.0.0.1:4222",
                "protocol": "nats",
                "description": "NATS 2.12 or newer with JetStream; each service is a user of its own.",
                "security": [{"$ref": "#/components/securitySchemes/user"}],
            }
        },
        "channels": {each.name: _channel(each) for each in all_channels} | {"reply": _reply_channel()},
        "operations": dict(_operations(all_channels)),
        "components": {
            "messages": messages,
            "schemas": found["$defs"],
            "securitySchemes": {"user": {"type": "userPassword"}},
        },
    }


def overlaps(filter_: str, address: str) -> bool:
    """Tell whether a filter of NATS's has an address in it; a placeholder of the address stands for anything."""
    wanted, given = filter_.split("."), re.sub(r"\{\w+\}", "*", address).split(".")
    for at, part in enumerate(wanted):
        if part == ">":
            return len(given) > at
        if at >= len(given) or ("*" not in {part, given[at]} and part != given[at]):
            return False
    return len(wanted) == len(given)


def _operations(all_channels: Sequence[Channel]) -> Iterator[tuple[str, dict[str, Any]]]:
    for service, allowed in SERVED.items():
        for channel in _on(all_channels, [each for each in allowed.publish if not each.startswith("$JS.")]):
            yield f"{service}_sends_{channel.name}", _operation("send", channel)
        for subscribed in allowed.subscribe:
            subject, _, queue = subscribed.partition(" ")
            for channel in _on(all_channels, [subject]):
                bound = {"bindings": {"nats": {"queue": queue}}} if queue else {}
                yield f"{service}_hears_{channel.name}", _operation("receive", channel) | bound
        for consumer, stream, filters in _consumed(allowed):
            for channel in _on(all_channels, filters):
                told = {"x-jetstream": {"stream": stream, "consumer": consumer}}
                yield f"{service}_works_off_{channel.name}_as_{consumer}", _operation("receive", channel) | told


def _on(all_channels: Sequence[Channel], filters: Sequence[str]) -> list[Channel]:
    found = {one: [each for each in all_channels if overlaps(one, each.address)] for one in filters}
    unknown = [one for one, there in found.items() if not there]
    if unknown:
        msg = f"the broker lets a service use what stands nowhere: {', '.join(unknown)}"
        raise LookupError(msg)
    return [each for each in all_channels if any(each in there for there in found.values())]


def _consumed(allowed: Permissions) -> Iterator[tuple[str, str, list[str]]]:
    """Tell the consumers that a service works off: name, stream, filters."""
    there = {(subjects.EVENTS_STREAM, str(each.name)): each for each in consumers()}
    there[subjects.BLOBS_STREAM, str(sweeper().name)] = sweeper()
    for subject in allowed.publish:
        if subject.startswith("$JS.API.CONSUMER.MSG.NEXT."):
            stream, name = subject.split(".")[-2:]
            yield name, stream, list(there[stream, name].filter_subjects or ())


def _operation(action: str, channel: Channel) -> dict[str, Any]:
    at = f"#/channels/{channel.name}"
    told: dict[str, Any] = {
        "action": action,
        "channel": {"$ref": at},
        "messages": [{"$ref": f"{at}/messages/{channel.message}"}],
    }
    if channel.is_asked:
        replies = [{"$ref": f"#/channels/reply/messages/{each.__name__}"} for each in _REPLIES]
        told["reply"] = {"channel": {"$ref": "#/channels/reply"}, "messages": replies}
    return told


def _channel(channel: Channel) -> dict[str, Any]:
    names = re.findall(r"\{(\w+)\}", channel.address)
    told: dict[str, Any] = {
        "address": channel.address,
        "summary": channel.summary,
        "messages": {channel.message: {"$ref": f"#/components/messages/{channel.message}"}},
        "parameters": {name: {"description": PARAMETERS[name]} for name in names},
    }
    if "kind" in names:
        told["parameters"]["kind"]["enum"] = _KINDS
    if kept := _kept(channel.address):
        told["x-jetstream"] = kept
    return told


def _reply_channel() -> dict[str, Any]:
    return {
        "address": None,
        "summary": "The inbox of whoever asks.",
        "messages": {each.__name__: {"$ref": f"#/components/messages/{each.__name__}"} for each in _REPLIES},
    }


def _kept(address: str) -> dict[str, Any]:
    """Tell which stream keeps an address, who may read it there, and where it is re-published."""
    bucket = re.match(r"\$(KV|O)\.(\w+)\.", address)
    told: dict[str, Any] = {}
    if bucket:
        told["stream"] = f"{ {'KV': 'KV', 'O': 'OBJ'}[bucket[1]] }_{bucket[2]}"
    for config in (*streams(Sizes()), *tallies(Sizes())):
        if any(overlaps(subject, address) for subject in config.subjects or ()):
            told["stream"] = config.name
            if config.republish:
                told["republishedTo"] = config.republish.dest
    if told:
        reads = [f"$JS.API.{call}.{told['stream']}" for call in ("DIRECT.GET", "STREAM.MSG.GET")]
        told["readBy"] = [name for name, allowed in SERVED.items() if {*reads} & {*allowed.publish}]
    return told


def _message(channel: Channel) -> dict[str, Any]:
    told = _payload(channel.form)
    if channel.headers:
        properties = {name: {"type": "string", "description": text} for name, text in channel.headers.items()}
        told["headers"] = {"type": "object", "properties": properties}
    return told


def _payload(form: type[BaseModel] | str) -> dict[str, Any]:
    if isinstance(form, type):
        return {"summary": _first_line(form), "payload": {"$ref": f"#/components/schemas/{form.__name__}"}}
    if form == NOTHING:
        return {"payload": {"type": "string", "maxLength": 0}}
    return {"contentType": form, "payload": {"type": "object" if form == "application/json" else "string"}}


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").partition("\n")[0]
