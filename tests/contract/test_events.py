"""Every event that was ever written loads for ever: golden samples, never changed, only added to."""

import json
from pathlib import Path
from typing import Any

import pytest

from decopilot.contracts import subjects
from decopilot.contracts.events import EVENTS, UnknownEventError, decode_event
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.domain.thread import INITIAL, evolve
from decopilot.log.journal import Journal, decode
from decopilot.log.store import Store, Stored
from decopilot.log.views import Views

ORG, THREAD = OrgId("org"), ThreadId("thread")
SAMPLES = sorted((Path(__file__).parent / "samples").glob("*.json"))
TYPES = {str(event.model_fields["type"].default) for event in EVENTS}


def with_unknown_fields(value: Any) -> Any:  # noqa: ANN401  any JSON
    """Add a field to every object that the contracts declare; a message's parts are the AI SDK's."""
    if not isinstance(value, dict):
        return value
    free = {"parts", "metadata"}
    known = {name: inner if name in free else with_unknown_fields(inner) for name, inner in value.items()}
    return known | {"from_the_future": {"deep": [1]}}


def without_unknown_fields(value: Any) -> Any:  # noqa: ANN401  any JSON
    """Take back what `with_unknown_fields` has added, where it was kept."""
    if not isinstance(value, dict):
        return value
    return {name: without_unknown_fields(inner) for name, inner in value.items() if name != "from_the_future"}


def test_every_type_has_a_golden_sample() -> None:
    assert TYPES == {sample.name.split(".")[0] for sample in SAMPLES}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_a_golden_sample_loads_and_keeps_every_field(sample: Path) -> None:
    body = sample.read_bytes()
    event = decode_event(body)
    assert sample.name.split(".")[0] == event.type
    assert json.loads(body) == json.loads(event.model_dump_json(exclude_unset=True))
    evolve(INITIAL, event)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_fields_of_a_newer_version_are_tolerated(sample: Path) -> None:
    body = sample.read_bytes()
    newer = json.dumps(with_unknown_fields(json.loads(body))).encode()
    told = json.loads(decode_event(newer).model_dump_json())
    assert json.loads(decode_event(body).model_dump_json()) == without_unknown_fields(told)


@pytest.mark.parametrize("body", [b'{"type": "thread_sang"}', b"{}", b"[]", b"", b"\xff", b'{"type": "run_started"}'])
def test_an_event_that_can_not_be_read_is_unknown_and_says_where_it_stands(body: bytes) -> None:
    with pytest.raises(UnknownEventError) as caught:
        decode(Stored(7, subjects.event(ORG, THREAD, "thread_sang"), {}, body))
    assert (7, "decopilot.event.org.thread.thread_sang") == (caught.value.sequence, caught.value.subject)


def test_every_field_of_every_type_is_in_a_golden_sample() -> None:
    told: dict[str, set[str]] = {}
    for sample in SAMPLES:
        body = json.loads(sample.read_bytes())
        told[body["type"]] = told.get(body["type"], set()) | set(body)
    assert {str(event.model_fields["type"].default): set(event.model_fields) for event in EVENTS} == told


async def test_nothing_is_folded_past_an_unknown_event(store: Store) -> None:
    requested = (Path(__file__).parent / "samples" / "run_requested.v1.json").read_bytes()
    for kind, body in (("run_requested", requested), ("thread_sang", b'{"type": "thread_sang"}')):
        sequence = await store.publish(subjects.EVENTS_STREAM, subjects.event(ORG, THREAD, kind), body)
    with pytest.raises(UnknownEventError) as caught:
        await Journal(store, Views(store)).load(ORG, THREAD)
    assert sequence == caught.value.sequence
