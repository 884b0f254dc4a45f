"""Bodies that are made to be dear: what they hold is counted before it is made."""

import json
import time
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError, model_validator

from decopilot.contracts.chunks import parse_outside
from decopilot_gateway import bodies
from decopilot_gateway.bodies import _holds_too_many_values, _parse, explain
from decopilot_gateway.posting import MessagesBody
from decopilot_gateway.problems import ProblemError

MIB4 = 4 << 20
PAUSE_S = 3.0
"""So long at most anybody waits for a body to be refused, on a machine that has much else to do."""


def filled(begin: bytes, piece: bytes, end: bytes) -> bytes:
    return begin + piece * ((MIB4 - 100) // len(piece)) + end


BOMBS = {
    "lists": filled(b"[", b"[],", b"1]"),
    "objects": filled(b'{"messages": [', b"{},", b"{}]}"),
    "numbers": filled(b"[", b"1,", b"1]"),
    "strings": filled(b"[", b'"",', b"1]"),
    "keys": filled(b"{", b'"a":1,', b'"a":1}'),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_body_of_a_million_values_is_refused_before_they_are_made(name: str) -> None:
    begun = time.monotonic()
    with pytest.raises(ProblemError) as refused:
        _parse(BOMBS[name], MessagesBody)
    assert "body_too_large" == refused.value.code
    assert time.monotonic() - begun < PAUSE_S


@pytest.mark.parametrize("text", ["a,b[{" * 200_000, '",' * 300_000, "\\" * 500_000, '\\",[' * 200_000])
def test_what_stands_in_a_text_is_no_value(text: str) -> None:
    body = {"messages": [{"role": "user", "parts": [{"type": "text", "text": text}]}]}
    parsed = _parse(json.dumps(body).encode(), MessagesBody)
    assert text == parsed.messages[0].parts[0].model_dump()["text"]


@pytest.mark.parametrize(
    "raw", [b"[" * 1_000_000, b"1" * MIB4, b'{"a":' * 700_000, b"1e999999999", b"-" * MIB4, b'"' * MIB4]
)
def test_depth_and_digits_cost_next_to_nothing(raw: bytes) -> None:
    begun = time.monotonic()
    with pytest.raises(ProblemError, match=r"invalid_json|body_too_large|invalid_body"):
        _parse(raw, MessagesBody)
    assert time.monotonic() - begun < PAUSE_S


def test_of_a_key_that_comes_twice_the_last_one_counts() -> None:
    body = b'{"messages": [], "messages": [{"role": "user", "parts": [{"type": "text", "text": "a", "text": "b"}]}]}'
    assert "b" == _parse(body, MessagesBody).messages[0].parts[0].model_dump()["text"]


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(JSON, st.booleans())
def test_what_is_counted_is_what_stands_outside_of_texts(value: object, spaced: bool) -> None:  # noqa: FBT001
    raw = json.dumps(value, ensure_ascii=spaced, indent=1 if spaced else None).encode(errors="replace")
    begun = _begun(value)
    with pytest.MonkeyPatch.context() as patch:
        for limit in (begun, begun + 1):
            patch.setattr(bodies, "VALUES", limit)
            assert (begun >= limit) == _holds_too_many_values(raw)


@given(JSON)
def test_what_is_read_in_one_go_is_what_stands_there(value: object) -> None:
    assert value == parse_outside(json.dumps(value).encode())


@pytest.mark.parametrize("raw", [b"1],[2", b"1],[[2]", b"]", b"", b" ", b"1,2", b"]]]],[[[[", b"[]]" + b",[[]"])
def test_what_only_seems_whole_in_a_wrapping_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_outside(raw)


def _begun(value: object) -> int:
    """Count the brackets that open, and the commas."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else max(1, len(inner)) + sum(map(_begun, inner))


class Even(BaseModel):
    """A form with a rule of its own."""

    number: int

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.number % 2:
            msg = "The number must be even."
            raise ValueError(msg)
        return self


def test_a_rule_of_ours_is_told_in_its_own_words() -> None:
    with pytest.raises(ValidationError) as refused:
        Even(number=7)
    assert "body: The number must be even." == explain(refused.value)
