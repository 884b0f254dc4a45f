"""Permissions: what each user of the broker may say and hear, and no more, on one page (ADR 0039).

Whoever adds a stream, a bucket or a subject adds it here to those who use it; the server refuses the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from decopilot.contracts import subjects
from decopilot.contracts.events import TERMINAL_TYPES

OPERATOR = "operator"
"""Whoever looks after the broker, by hand or with tools: the one user who may do everything."""

_THREADS, _MESSAGES, _AUTOMATIONS, _READERS = (
    f"KV_{bucket}"
    for bucket in (
        subjects.THREADS_BUCKET,
        subjects.MESSAGES_BUCKET,
        subjects.AUTOMATIONS_BUCKET,
        subjects.READERS_BUCKET,
    )
)
_EVENTS, _CHUNKS, _WATCH, _COUNTS, _PLACES, _BLOBS = (
    subjects.EVENTS_STREAM,
    subjects.CHUNKS_STREAM,
    subjects.WATCH_STREAM,
    subjects.COUNTS_STREAM,
    subjects.PLACES_STREAM,
    subjects.BLOBS_STREAM,
)
_KEPT = (_EVENTS, _CHUNKS, _WATCH, _THREADS, _MESSAGES, _AUTOMATIONS, _READERS, _BLOBS)
_TALLIES = (_COUNTS, _PLACES)
STREAMS = (*_KEPT, *_TALLIES)
"""Every stream that there is, those of buckets included."""

ENDS = (*TERMINAL_TYPES, "run_requested", "interactions_denied")
"""What whoever ends a run appends: its end, and what the thread goes on with by itself."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """Subjects that a user may publish to and subscribe to; all others are refused.

    Who `answers` may also publish to the reply subject of what came, once and for two minutes.
    """

    publish: tuple[str, ...]
    subscribe: tuple[str, ...] = ()
    answers: bool = False


def _call(call: str, *streams: str) -> tuple[str, ...]:
    return tuple(f"$JS.API.{call}.{stream}" for stream in streams)


def _get(*streams: str) -> tuple[str, ...]:
    """Read single messages, as the leader has them."""
    return _call("STREAM.MSG.GET", *streams)


def _scan(*streams: str) -> tuple[str, ...]:
    """Read them in batches, too."""
    return (*_get(*streams), *_call("DIRECT.GET", *streams))


def _append(*types: str) -> tuple[str, ...]:
    return tuple(subjects.events_of_type(name) for name in types)


def _keys(*buckets: str) -> tuple[str, ...]:
    return tuple(subjects.bucket_key(bucket, ">") for bucket in buckets)


def _work_off(stream: str, *consumers: str) -> tuple[str, ...]:
    return tuple(
        subject
        for consumer in consumers
        for subject in (
            f"$JS.API.CONSUMER.INFO.{stream}.{consumer}",
            f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}",
            f"$JS.ACK.{stream}.{consumer}.>",
            # With a JetStream domain, or from servers that name the account: both come first.
            f"$JS.ACK.*.*.{stream}.{consumer}.>",
        )
    )


_BLOB_WRITING = (f"$O.{subjects.BLOBS_BUCKET}.>", *_call("STREAM.PURGE", _BLOBS))
"""Whoever writes a blob removes the chunks of a writing that came to nothing."""
_HEALTH = _call("STREAM.INFO", _EVENTS)
_SIGNALS = subjects.every_signal()

SERVICES: Mapping[str, Permissions] = {
    "gateway": Permissions(
        publish=(
            *_HEALTH,
            subjects.command("*"),
            subjects.GIVEN_UP,
            *_scan(_EVENTS, _CHUNKS, _WATCH, _THREADS),
            *_get(_MESSAGES, _AUTOMATIONS, _BLOBS),
            *_keys(subjects.READERS_BUCKET, subjects.AUTOMATIONS_BUCKET),
            *_BLOB_WRITING,
        ),
        subscribe=(f"{subjects.TAIL_PREFIX}.>", f"{subjects.WATCHTAIL_PREFIX}.>"),
    ),
    "command": Permissions(
        publish=(
            *_HEALTH,
            *_append(
                "run_requested",
                "run_queued",
                "run_withdrawn",
                "run_cancel_requested",
                "interactions_resolved",
                "interactions_denied",
                "thread_titled",
                "thread_archived",
                "thread_visibility_set",
                "thread_forked",
                "thread_deleted",
            ),
            *_scan(_EVENTS, _PLACES),
            *_get(_THREADS, _MESSAGES, _BLOBS),
            *_call("STREAM.INFO", _CHUNKS, _PLACES),
            f"{subjects.COUNT_PREFIX}.>",
            f"{subjects.PLACE_PREFIX}.>",
            *_call("STREAM.MSG.DELETE", _PLACES),
            *_BLOB_WRITING,
            _SIGNALS,
            subjects.every_track(),
        ),
        subscribe=(f"{subjects.command('*')} {subjects.COMMAND_QUEUE}", subjects.GIVEN_UP),
        answers=True,
    ),
    "runner": Permissions(
        publish=(
            *_HEALTH,
            *_append("run_started", "run_handed_back", "step_completed", "thread_titled", *ENDS),
            f"{subjects.CHUNK_PREFIX}.>",
            *_scan(_EVENTS, _CHUNKS),
            *_get(_THREADS, _MESSAGES, _BLOBS),
            *_BLOB_WRITING,
            *_work_off(_EVENTS, subjects.RUNNER_CONSUMER, subjects.TITLER_CONSUMER),
            _SIGNALS,
        ),
        subscribe=(_SIGNALS,),
        answers=True,
    ),
    "reactor": Permissions(
        publish=(
            *_HEALTH,
            *_append(*ENDS),
            f"{subjects.CHUNK_PREFIX}.>",
            f"{subjects.WATCH_PREFIX}.>",
            *_keys(subjects.THREADS_BUCKET, subjects.MESSAGES_BUCKET, subjects.AUTOMATIONS_BUCKET),
            subjects.BLOBS_FILTER,
            *_scan(_EVENTS, _CHUNKS),
            f"{subjects.PLACE_PREFIX}.>",
            *_get(*_KEPT),
            *_call("STREAM.INFO", _CHUNKS, _MESSAGES, _BLOBS, _PLACES),
            *_call("STREAM.PURGE", _EVENTS, _CHUNKS, _BLOBS, _PLACES),
            *_work_off(_EVENTS, subjects.REACTOR_CONSUMER, subjects.JANITOR_CONSUMER),
            *_work_off(_BLOBS, subjects.SWEEPER_CONSUMER),
            # Tells how far those of the runner are behind: without runners nobody else would.
            *_call("CONSUMER.INFO", f"{_EVENTS}.{subjects.RUNNER_CONSUMER}", f"{_EVENTS}.{subjects.TITLER_CONSUMER}"),
            subjects.command("send_message"),
            _SIGNALS,
        ),
    ),
    "provision": Permissions(
        publish=(
            # The last one: whether a restore is unfinished.
            *_call("STREAM.INFO", *STREAMS, subjects.RESTORING_STREAM),
            *_call("STREAM.CREATE", *STREAMS),
            *_call("STREAM.UPDATE", *STREAMS),
            # Made anew where the number of replicas asks for it.
            *_call("STREAM.DELETE", *_TALLIES),
            f"$JS.API.CONSUMER.CREATE.{_EVENTS}.>",
            f"$JS.API.CONSUMER.CREATE.{_BLOBS}.>",
            # After a restore they begin elsewhere, and stay so.
            *_call("CONSUMER.INFO", f"{_EVENTS}.*", f"{_BLOBS}.*"),
        ),
    ),
}
"""Who is let in beside the operator. Each also hears what comes to its own inbox."""

USERS = (*SERVICES, OPERATOR)


def users(passwords: Mapping[str, str]) -> list[dict[str, Any]]:
    """Tell the users as the server's configuration does (`authorization.users`); there is a password for each."""
    return [{"user": user, "password": passwords[user]} | _allowed(user) for user in USERS]


def _allowed(user: str) -> dict[str, Any]:
    if user == OPERATOR:
        return {}
    allowed = SERVICES[user]
    permissions: dict[str, Any] = {
        "publish": {"allow": list(dict.fromkeys(allowed.publish))},
        "subscribe": {"allow": [f"{subjects.inbox(user)}.>", *allowed.subscribe]},
    }
    if allowed.answers:
        permissions["allow_responses"] = True
    return {"permissions": permissions}
