from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from decopilot.contracts.chunks import encode_chunk, parse_outside
from decopilot_runner.default_agent.results import DEPTH, SAFE_INTEGER, NoJsonError, as_json


class Sky(Enum):
    CLEAR = "clear"


class Level(IntEnum):
    HIGH = 2


@dataclass
class Point:
    x: int


class Order(BaseModel):
    number: int = Field(serialization_alias="no")


class Own:
    def __str__(self) -> str:
        return "own"


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (None, None),
        (b"\xff\xfe", "__4="),
        ({3}, [3]),
        ((1, 2), [1, 2]),
        (float("nan"), None),
        ([float("inf")], [None]),
        (SAFE_INTEGER - 1, SAFE_INTEGER - 1),
        (SAFE_INTEGER, str(SAFE_INTEGER)),
        (-SAFE_INTEGER, str(-SAFE_INTEGER)),
        ([10**5000], [hex(10**5000)]),
        ("half \ud83d", "half ?"),
        ({"\ud83d": "\ud83d"}, {"?": "?"}),
        ({1: 2, None: 3}, {"1": 2, "None": 3}),
        (Sky.CLEAR, "clear"),
        (Level.HIGH, 2),
        (Point(1), {"x": 1}),
        (Order(number=10**20), {"no": "100000000000000000000"}),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (Own(), "own"),
        (True, True),
    ],
)
def test_what_a_tool_returned_is_told_as_json(returned: object, expected: object) -> None:
    assert expected == as_json(returned)
    assert type(expected) is type(as_json(returned))


def endless() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def fails() -> Iterator[int]:
    yield 1
    raise OSError


@pytest.mark.parametrize("returned", [endless(), {"a": endless()}, fails()])
def test_what_has_no_json_form_is_refused(returned: object) -> None:
    with pytest.raises(NoJsonError):
        as_json(returned)


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def test_what_is_nested_as_deeply_as_is_allowed_fits_the_log() -> None:
    encoded = encode_chunk({"type": "tool-output-available", "toolCallId": "c", "output": as_json(nested(DEPTH))})
    assert nested(DEPTH) == parse_outside(encoded)["output"]
    with pytest.raises(NoJsonError):
        as_json(nested(DEPTH + 1))


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None, categories=None))
    | st.binary()
    | st.complex_numbers()
    | st.decimals(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(anything)
def test_whatever_it_is_the_log_takes_it_and_reads_the_same_back(returned: object) -> None:
    told = as_json(returned)
    assert told == parse_outside(encode_chunk({"output": told}))["output"]
