import pytest

from decopilot_runner.default_agent.searching import FOUND_TOKENS, PATTERN_LENGTH, PatternError, search

TEXT = "\n".join(f"{number} {'even' if number % 2 == 0 else 'odd'}" for number in range(1, 7))


def test_lines_that_match_come_with_their_numbers() -> None:
    assert "3 of 6 lines match.\n2: 2 even\n4: 4 even\n6: 6 even" == search(TEXT, "even")
    assert "1 of 6 lines match.\n5: 5 odd" == search(TEXT, "^5")
    assert "0 of 6 lines match." == search(TEXT, "seven")
    assert "0 of 0 lines match." == search("", "x")
    assert "2 of 2 lines match.\n1: a a\n2: a" == search("a a\r\na\n", "a")
    assert "2 of 3 lines match.\n1: a\n3: b" == search("a\n\nb", "[ab]")
    assert "3 of 3 lines match.\n1: a\n2: \n3: b" == search("a\n\nb", "")


def test_lines_that_match_can_be_skipped() -> None:
    assert "3 of 6 lines match. Shown: matches 3 to 3.\n6: 6 even" == search(TEXT, "even", skip=2)
    assert "3 of 6 lines match. None of them is behind those skipped." == search(TEXT, "even", skip=3)


def test_what_is_too_much_is_read_on_with_skip() -> None:
    text = "\n".join(f"{number}".ljust(100, ".") for number in range(1, 1001))
    first = search(text, "")
    assert len(first) <= 5 * FOUND_TOKENS
    shown = len(first.splitlines()) - 1
    assert first.startswith(f"Shown: matches 1 to {shown}. There are more: read on with skip={shown},")
    assert search(text, "", skip=shown).splitlines()[1].startswith(f"{shown + 1}: {shown + 1}.")


def test_of_a_long_line_what_is_around_the_match_is_shown() -> None:
    found = search("a" * 100_000 + "needle" + "b" * 100_000, "needle")
    assert "needle" in found
    assert len(found) < 1_200
    assert "[characters 99751 to 100750 of 200006]" in found


@pytest.mark.parametrize("pattern", ["(", "[", "(?P<x", "*", "x{99999999999999999999}", "x" * (PATTERN_LENGTH + 1)])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError, match="can't be searched for"):
        search(TEXT, pattern)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*$", "(.*a){25}$", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_a_pattern_that_would_take_for_ever_ends(monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    monkeypatch.setattr("decopilot_runner.default_agent.searching.SEARCH_S", 0.2)
    text = "\n".join(["a" * 5_000 + "!"] * 50)
    try:
        search(text, pattern)
    except PatternError as error:
        assert "more than 0.2 s" in error.why  # noqa: PT017  some of them the library sees through
