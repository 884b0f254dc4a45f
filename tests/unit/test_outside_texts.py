"""Whatever comes from elsewhere (gateways, logs, endpoints, operators, models) is read, or refused as documented."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from pydantic import ValidationError
from pydantic_core import from_json

from decopilot.client.calling import _decoded, refusal, retry_after
from decopilot.client.errors import ApiError
from decopilot.client.sse import EventParser, ServerEvent
from decopilot.client.streaming import decoded
from decopilot.contracts.chunks import parse_outside
from decopilot.contracts.commands import decode_reply
from decopilot.contracts.events import decode_event
from decopilot.contracts.files import file_ref
from decopilot.contracts.frames import Cursor
from decopilot.contracts.watch import WatchEvent
from decopilot.domain.partial_json import parse_partial
from decopilot.domain.schedules import Schedule, ScheduleError
from decopilot.kit.configuration import ConfigurationFileError, read_configuration
from decopilot.kit.toml_lines import line_of
from decopilot_runner.checking import AnswerTooLargeError, Checker, ProtocolError
from decopilot_runner.default_agent.search_endpoint import RESULTS, TEXT_LENGTH, results

ROOT = Path(__file__).parents[2]
SAMPLES = [path.read_bytes() for path in sorted((ROOT / "tests/contract/samples").rglob("*.json"))]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)
DEEP = b"[" * 100_000


@given(st.binary(max_size=80) | JSON.map(lambda value: json.dumps(value).encode()))
@example(DEEP)
@example(b'{"a":1e999}')
def test_json_from_outside_is_read_as_it_can_be_written_again_or_is_a_value_error(raw: bytes) -> None:
    with suppress(ValueError):
        value = parse_outside(raw)
        assert value == parse_outside(json.dumps(value, allow_nan=False).encode())


@given(st.data())
def test_an_event_with_fields_of_a_newer_version_is_read_and_a_broken_one_is_refused(data: st.DataObject) -> None:
    sample = from_json(data.draw(st.sampled_from(SAMPLES)))
    told = sample.get("event", sample)
    more = data.draw(st.dictionaries(st.text(min_size=1).map("x_{}".format), JSON.filter(_is_finite), max_size=3))
    known = decode_event(json.dumps(told).encode())
    assert known.model_dump() == decode_event(json.dumps(told | more).encode()).model_dump(exclude=set(more))
    name = data.draw(st.sampled_from(sorted(told)))
    broken = told | {name: data.draw(JSON.filter(_is_finite))}
    with suppress(ValidationError):
        decode_event(json.dumps(broken).encode())


@given(st.binary(max_size=80) | JSON.map(lambda value: json.dumps(value).encode()))
@example(DEEP)
def test_what_is_no_message_between_services_is_a_validation_error(raw: bytes) -> None:
    for read in (decode_event, decode_reply, WatchEvent.model_validate_json):
        with suppress(ValidationError):
            read(raw)


LINE = st.sampled_from(
    [b"data: x", b"data", b"id: 1-1", b"id: \0", b"event: e", b"retry: 1500", b"retry: " + b"9" * 5_000, b": c", b""]
)


@given(st.lists(LINE | st.binary(max_size=12), max_size=12), st.sampled_from([b"\n", b"\r\n"]), st.integers(1, 9))
@example([b"retry: " + b"9" * 5_000], b"\n", 9)
def test_whatever_a_stream_says_its_events_are_the_same_however_it_is_cut(
    lines: list[bytes], line_end: bytes, size: int
) -> None:
    said = line_end.join(lines)
    whole, cut = EventParser(), EventParser()
    events = list(whole.push(said))
    pieces = [said[begin : begin + size] for begin in range(0, len(said), size)]
    assert events == [event for piece in pieces for event in cut.push(piece)]
    assert (whole.last_id, whole.retry_s) == (cut.last_id, cut.retry_s)
    assert whole.retry_s is None or 0 <= whole.retry_s < 1e9


@given(st.binary(max_size=80) | st.just(DEEP))
@example(DEEP)
def test_what_is_no_gateways_answer_is_an_api_error(raw: bytes) -> None:
    with suppress(ApiError):
        _decoded(200, raw)
    with suppress(ApiError):
        decoded(ServerEvent("", raw.decode(errors="replace")))


class Answer:
    """What the client reads of an answer that refuses."""

    reason = "No"
    status = 500

    def __init__(self, body: bytes, headers: dict[str, str]) -> None:
        self._body, self.headers = body, CIMultiDict(headers)

    async def read(self) -> bytes:
        return self._body


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()), st.text() | st.just("9" * 5_000))
@example(DEEP, "9" * 400)
async def test_whatever_a_refusal_says_it_is_an_api_error_that_waits_for_a_while(raw: bytes, said: str) -> None:
    response: Any = Answer(raw, {"Retry-After": said})
    assert isinstance(await refusal(response), ApiError)
    assert 0 <= retry_after(response) < 1e9


@given(
    st.text() | st.text(alphabet="0123456789,-*/ LW#?SUNjan٣", max_size=24),
    st.text(max_size=12) | st.sampled_from(["UTC", "Europe", "..", "\0", "a" * 400]),
)
@example("0-99999999999 * * * *", "UTC")
@example("*/0 * * * *", "UTC")
@example("1" * 5_000 + " * * * *", "UTC")
def test_whatever_a_schedule_says_it_is_due_in_the_future_or_refused(cron: str, zone: str) -> None:
    with suppress(ScheduleError):
        schedule = Schedule.read(cron, zone)
        now = datetime(2026, 11, 28, tzinfo=UTC)
        due = schedule.next(now)
        assert due is None or due > now


@given(JSON, st.integers(0, 60))
def test_of_json_that_is_cut_anywhere_a_beginning_is_read_or_it_is_a_value_error(value: object, length: int) -> None:
    text = json.dumps(value)
    with suppress(ValueError):
        parse_partial(text[:length])
    if _is_finite(value):
        assert from_json(text) == parse_partial(text)


@given(st.text(alphabet='{}[]",:\\tfn0-1.eE u', max_size=40) | st.text())
@example("[" * 100_000)
def test_whatever_a_model_writes_for_json_it_is_read_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        parse_partial(text)


@given(
    JSON
    | st.fixed_dictionaries(
        {"results": st.lists(st.dictionaries(st.sampled_from(["url", "link", "title", "text"]), JSON))}
    )
)
def test_whatever_a_search_endpoint_answers_its_results_are_few_and_short_or_there_are_none(answer: object) -> None:
    with suppress(ValueError):
        found = results(answer)
        assert len(found) <= RESULTS
        assert all(one.url.startswith(("http://", "https://")) and len(one.text) <= TEXT_LENGTH for one in found)


@given(
    st.dictionaries(st.sampled_from(["type", "id", "toolCallId", "delta", "data", "output", "transient"]), JSON) | JSON
)
def test_whatever_an_agent_yields_is_a_chunk_as_the_log_holds_it_or_breaks_a_rule(chunk: object) -> None:
    with suppress(ProtocolError, AnswerTooLargeError):
        stored = Checker(10_000).check(chunk)
        assert stored == Checker(10_000).check(stored)


KEYS = [
    "model",
    "agent",
    "tiers",
    "providers",
    "agents",
    "mcp",
    "search",
    "roles",
    "automations",
    "titles",
    "smart",
    "org",
    "schedule",
]
TOML = st.lists(
    st.sampled_from(
        ["[", "]", "[[", "]]", "=", "\n", ".", '"', "'", "{", "}", ",", "1", "true", "nan", "\\u0000", "#", *KEYS]
    ),
    max_size=20,
).map(" ".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TOML.map(str.encode) | st.binary(max_size=60))
@example(b"a = " + b"[" * 5_000)
@example(b"\xff")
@example(b'[automations.a]\norg="o"\nmessage="m"\nschedule="\\u0000"\ntimezone="\\u0000"')
def test_whatever_the_configuration_says_it_is_read_or_refused_with_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: bytes
) -> None:
    path = tmp_path / "decopilot.toml"
    path.write_bytes(raw)
    monkeypatch.setenv("DECOPILOT_CONFIG", str(path))
    with suppress(ConfigurationFileError):
        read_configuration()


@given(TOML | st.text(), st.lists(st.sampled_from(KEYS) | st.text(), min_size=1, max_size=3))
def test_a_key_is_found_in_one_of_the_files_lines_or_nowhere(text: str, path: list[str]) -> None:
    found = line_of(text, path)
    assert found is None or 1 <= found <= len(text.splitlines())


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a stream in one line", lambda n: list(EventParser().push(b"data: " + b"x" * n))),
        ("a stream of lines", lambda n: list(EventParser().push(b"data: x\n" * n))),
        ("partial JSON", lambda n: parse_partial('{"a": "' + "x" * n)),
        ("partial JSON of spaces", lambda n: parse_partial("[" + " " * n)),
        ("partial JSON of digits", lambda n: parse_partial("[" + "1" * n + ".")),
        ("partial JSON of words", lambda n: parse_partial("[" + "true," * n + "t")),
        ("a cursor", lambda n: Cursor.parse("1" * n + "-1")),
        ("the address of a file", lambda n: file_ref("/a" * n)),
        ("a line of TOML", lambda n: line_of("a." * n, ["a"])),
        ("a header of TOML", lambda n: line_of("[" + "a ." * n, ["a"])),
        ("outer JSON", lambda n: parse_outside(b"[" + b"1," * n + b"1]")),
    ],
)
def test_what_is_long_is_read_in_time_that_grows_with_its_length(name: str, read: Callable[[int], object]) -> None:
    short, long = (_quickest(read, n) for n in (10_000, 100_000))
    # Ten times as long may take ten times as long; what is quadratic takes a hundred times.
    assert long < max(40 * short, 0.1), (name, short, long)


def _quickest(read: Callable[[int], object], size: int) -> float:
    times = []
    for _ in range(3):
        start = time.process_time()
        with suppress(ValueError):
            read(size)
        times.append(time.process_time() - start)
    return min(times)


def _is_finite(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True
