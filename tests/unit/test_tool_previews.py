import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decopilot_runner.default_agent.previewing import BYTES, TOKENS, is_too_large, preview, tokens


@pytest.mark.parametrize(
    ("text", "expected"), [("", 0), ("x" * 40, 10), ("日本語", 2), ("日" * 30, 20), ("日本 abcd", 3), ("한국어로", 3)]
)
def test_tokens_are_estimated_by_four_characters_each_and_wide_ones_by_one_and_a_half(text: str, expected: int) -> None:
    assert expected == tokens(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x" * 4 * TOKENS, False),
        ("x" * (4 * TOKENS + 4), True),
        ("日" * 48_000, False),
        ("日" * 48_003, True),
        ("x" * (BYTES + 1), True),
        ("\U0001f600" * (BYTES // 4 + 1), True),
    ],
)
def test_what_is_too_large(text: str, *, expected: bool) -> None:
    assert expected is is_too_large(text)


def test_a_preview_has_the_first_twenty_and_the_last_five_lines() -> None:
    lines = [f"line {number}" for number in range(100)]
    for end in ("", "\n"):
        assert "\n".join([*lines[:20], "[…]", *lines[-5:]]) == preview("\n".join(lines) + end)


def test_a_preview_of_one_long_line_has_its_beginning_and_its_end() -> None:
    shown = preview("a" * 10_000 + "z" * 10_000)
    assert ("a" * 1200, "z" * 400) == tuple(shown.split("\n[…]\n"))


@settings(max_examples=20)
@given(st.text(st.characters(codec="utf-8") | st.sampled_from("\n日"), min_size=2_000, max_size=4_000))
def test_a_preview_has_no_more_than_some_four_hundred_tokens(text: str) -> None:
    assert tokens(preview(text)) <= 402
