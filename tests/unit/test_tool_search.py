import pytest

from decopilot_runner.default_agent.searching import (
    FOUND_TOKENS,
    PATTERN_LENGTH,
    WINDOW_BYTES,
    PatternError,
    search,
)

TEXT = "\n".join(f"{number} {'even' if number % 2 == 0 else 'odd'}" for number in range(1, 7)).encode()


def test_lines_that_match_come_with_their_numbers() -> None:
    assert "3 of 6 lines match.\n2: 2 even\n4: 4 even\n6: 6 even" == search(TEXT, "even")
    assert "1 of 6 lines match.\n5: 5 odd" == search(TEXT, "^5")
    assert "0 of 6 lines match." == search(TEXT, "seven")
    assert "0 of 0 lines match." == search(b"", "x")
    assert "2 of 2 lines match.\n1: a a\n2: a" == search(b"a a\r\na\n", "a")
    assert "2 of 3 lines match.\n1: a\n3: b" == search(b"a\n\nb", "[ab]")
    assert "3 of 3 lines match.\n1: a\n2: \n3: b" == search(b"a\n\nb", "")


def test_lines_that_match_can_be_skipped() -> None:
    assert "3 of 6 lines match. Shown: matches 3 to 3.\n6: 6 even" == search(TEXT, "even", skip=2)
    assert "3 of 6 lines match. None of them is behind those skipped." == search(TEXT, "even", skip=3)


def test_what_is_too_much_is_read_on_with_skip() -> None:
    text = "\n".join(f"{number}".ljust(100, ".") for number in range(1, 1001)).encode()
    first = search(text, "")
    assert len(first) <= 5 * FOUND_TOKENS
    shown = len(first.splitlines()) - 1
    assert first.startswith(f"Shown: matches 1 to {shown}. There are more: read on with skip={shown},")
    assert search(text, "", skip=shown).splitlines()[1].startswith(f"{shown + 1}: {shown + 1}.")


def test_of_a_long_line_what_is_around_the_match_is_shown() -> None:
    found = search(b"a" * 100_000 + b"needle" + b"b" * 100_000, "needle")
    assert "needle" in found
    assert len(found) < 1_200
    assert "[bytes 99751 to 100750 of 200006]" in found


def test_a_line_is_cut_between_its_characters() -> None:
    found = search(("\u20ac" * 1_000 + "needle" + "\u20ac" * 1_000).encode(), "needle")
    assert ("needle" in found, "\ufffd" in found) == (True, False)


@pytest.mark.parametrize(
    "pattern",
    ["(", "[", "(?P<x", "*", "x" * (PATTERN_LENGTH + 1), "(?R)", "(?=x)", "a\ud800("],
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError, match="can't be searched for"):
        search(TEXT, pattern)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(.*a){25}$", "^(([a-z])+.)+[A-Z]([a-z])+$", "(a?){50}b"])
def test_a_pattern_that_would_take_others_for_ever_finds_nothing(pattern: str) -> None:
    assert "0 of 50 lines match." == search(b"\n".join([b"a" * 5_000 + b"!"] * 50), pattern)


def test_a_pattern_that_would_grow_too_large_is_refused() -> None:
    with pytest.raises(PatternError, match="invalid repetition size"):
        search(TEXT, "(?:(?:(?:a{1000}){1000}){1000}){1000}")


@pytest.mark.parametrize(("text", "pattern"), [(b"a\n" * 1_000_000, "(?s)a.*"), (b"a" * 1_000_000, "(a?){500}b")])
def test_a_search_that_takes_too_long_ends(monkeypatch: pytest.MonkeyPatch, text: bytes, pattern: str) -> None:
    monkeypatch.setattr("decopilot_runner.default_agent.searching.SEARCH_S", 0.1)
    with pytest.raises(PatternError, match=r"more than 0\.1 s"):
        search(text, pattern, skip=1_000_000)


def test_in_a_long_line_is_found_what_stands_across_two_windows() -> None:
    for before in range(WINDOW_BYTES - 8, WINDOW_BYTES + 2):
        found = search(b"x\n" + b"a" * before + b"needle" + b"a" * 20_000 + b"\nneedle", "needle")
        assert "2 of 3 lines match." == found.splitlines()[0]
