"""What an org's watchers are told of an event is derived from that event alone."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest

from decopilot.contracts.events import EVENTS, Event, Recorded, decode_event
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.contracts.watch import WatchEvent
from decopilot.domain.watching import watch_events_of

AT = "2026-01-02T03:04:05Z"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def recorded(body: str) -> Recorded:
    event: Event = decode_event(body.encode())
    return Recorded(OrgId("org"), ThreadId("thread"), 17, "id", event)


def of_user(kind: str, rest: str = "") -> str:
    return f'{{"type": "{kind}", "at": "{AT}", "run_id": "r1", "user_id": "u"{rest}}}'


def ended(kind: str, rest: str = "") -> str:
    return (
        f'{{"type": "{kind}", "at": "{AT}", "run_id": "r1", "attempt": 1, "message": null, "finish_reason": "stop",'
        f' "usage": {{}}, "last_frame": 1, "last_index": 0{rest}}}'
    )


REQUESTED = (
    f'{{"type": "run_requested", "at": "{AT}", "run_id": "r1", "user_id": "u", "message_hash": "h",'
    ' "message": {"id": "m1", "role": "user", "parts": []}, "assistant_id": "a1", "config": {}}'
)
STARTED = f'{{"type": "run_started", "at": "{AT}", "run_id": "r1", "attempt": 1, "runner_id": "x"}}'
QUEUED = (
    f'{{"type": "run_queued", "at": "{AT}", "run_id": "r2", "user_id": "u", "message_hash": "h",'
    ' "message": {"id": "m2", "role": "user", "parts": []}, "assistant_id": "a2", "config": {}}'
)
CONTINUED = (
    f'{{"type": "run_requested", "at": "{AT}", "run_id": "r2", "user_id": "u", "assistant_id": "a1", "config": {{}},'
    ' "continues": "r1", "resolutions": [{"kind": "approval", "approval_id": "a1", "approved": true}]}'
)
STEPPED = f'{{"type": "step_completed", "at": "{AT}", "run_id": "r1", "attempt": 1, "step": 4, "usage": {{}}}}'


TOLD: Sequence[tuple[str, Sequence[tuple[str, Mapping[str, object]]]]] = [
    (REQUESTED, [("decopilot.thread.status", {"status": "in_progress"})]),
    (CONTINUED, [("decopilot.thread.status", {"status": "in_progress"})]),
    (QUEUED, [("decopilot.thread.queue", {"messageId": "m2", "runId": "r2", "status": "queued"})]),
    (of_user("run_withdrawn"), [("decopilot.thread.queue", {"runId": "r1", "status": "withdrawn"})]),
    (of_user("run_cancel_requested"), []),
    (
        of_user("interactions_resolved", ', "resolutions": [{"approval_id": "a1", "approved": true}]'),
        [("decopilot.thread.interactions", {"runId": "r1", "resolved": 1})],
    ),
    (of_user("interactions_denied"), [("decopilot.thread.status", {"status": "completed"})]),
    (of_user("thread_titled", ', "title": "Love"'), [("decopilot.thread.titled", {})]),
    (of_user("thread_archived", ', "archived": true'), [("decopilot.thread.archived", {"archived": True})]),
    *(
        (
            of_user("thread_visibility_set", f', "visibility": "{visibility}"'),
            [("decopilot.thread.visibility", {"visibility": visibility})],
        )
        for visibility in ("org", "private")
    ),
    (
        of_user(
            "thread_forked",
            ', "source": "t0", "until": "m2", "messages": [],'
            ' "thread": {"owner": "ann", "agent_id": "helper", "title": "Fork of Love"}',
        ),
        [("decopilot.thread.forked", {"source": "t0", "messageId": "m2"})],
    ),
    (of_user("thread_deleted"), [("decopilot.thread.deleted", {})]),
    (STARTED, []),
    (STARTED.replace("run_started", "run_handed_back"), []),
    (STEPPED, [("decopilot.step", {"stepCount": 4})]),
    *(
        (body, [("decopilot.thread.status", told), ("decopilot.finish", told)])
        for body, told in [
            (ended("run_completed"), {"status": "completed"}),
            (ended("run_failed", ', "reason": "crashed"'), {"status": "failed", "reason": "crashed"}),
            (ended("run_requires_action"), {"status": "requires_action"}),
        ]
    ),
]


@pytest.mark.parametrize(("body", "told"), TOLD)
def test_each_event_is_told_as_upstream_tells_it(body: str, told: Sequence[tuple[str, Mapping[str, object]]]) -> None:
    events = watch_events_of(recorded(body))
    assert [
        WatchEvent(id=f"17-{ordinal}", type=kind, subject="thread", data=dict(data), time=NOW)
        for ordinal, (kind, data) in enumerate(told)
    ] == [event for _, event in events]
    assert [f"decopilot.{kind}" for kind, _ in events] == [event.type for _, event in events]
    assert ["decopilot"] * len(events) == [event.source for _, event in events]


def test_every_type_of_event_is_tried_above() -> None:
    assert {event.model_fields["type"].default for event in EVENTS} == {json.loads(body)["type"] for body, _ in TOLD}
