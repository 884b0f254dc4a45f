"""JSON from outside: what is kept can be read again from where it is kept."""

import json

import pytest

from decopilot.contracts.chunks import parse_outside
from decopilot.contracts.events import RunCompleted, decode_event
from decopilot.contracts.messages import Usage
from decopilot.log.views import ThreadView

DEEPEST = 177


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize("raw", [b"NaN", b"Infinity", b'"\\ud800"', b"{", nested(DEEPEST + 1), nested(5000)])
def test_what_is_no_json_or_too_deep_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_outside(raw)


def test_what_is_taken_can_be_read_again_from_an_event_and_from_a_view() -> None:
    value = parse_outside(nested(DEEPEST))
    part = {"type": "tool-x", "toolCallId": "c", "state": "output-available", "input": {}, "output": value}
    message = {"id": "a", "role": "assistant", "parts": [part]}
    told = {"type": "run_completed", "at": "2026-01-02T03:04:05Z", "run_id": "r", "attempt": 1, "message": message}
    told |= {"finish_reason": "stop", "usage": {}, "last_frame": 1, "last_index": 0}
    event = decode_event(json.dumps(told).encode())
    assert isinstance(event, RunCompleted)
    assert event == decode_event(event.model_dump_json().encode())
    requested = {"at": "2026-01-02T03:04:05Z", "run_id": "r", "user_id": "u", "assistant_id": "a", "config": {}}
    resolution = {"kind": "answer", "tool_call_id": "c", "output": value}
    state = {"owner": "u", "active": {"requested": requested | {"resolutions": [resolution]}}}
    view = ThreadView.model_validate({"fold_version": 2, "sequence": 1, "state": state})
    assert view == ThreadView.model_validate_json(view.model_dump_json(exclude_defaults=True))
    assert Usage() == view.state.usage
