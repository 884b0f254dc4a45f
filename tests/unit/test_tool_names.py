import re

from hypothesis import given
from hypothesis import strategies as st

from decopilot_runner.default_agent.tool_names import LENGTH, apart, safe_name

SAFE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


@given(st.text())
def test_every_name_is_made_safe_and_stays_so(name: str) -> None:
    safe = safe_name(name)
    assert SAFE.fullmatch(safe)
    assert safe == safe_name(safe)


def test_a_safe_name_stays_and_what_is_too_long_keeps_its_beginning() -> None:
    assert "read_file" == safe_name("read_file")
    assert "files_read_all" == safe_name("files.read/all")
    assert "_7zip" == safe_name("7zip")
    long = "a" * 70
    assert safe_name(long).startswith("a" * 55 + "_")
    assert LENGTH == len(safe_name(long))
    assert safe_name(long) != safe_name(long + "a")


def test_only_what_collides_gets_its_sources_name_and_all_of_it_does() -> None:
    named = apart({"one": ["search", "read"], "two": ["search", "note"]}, {"note"})
    assert {
        ("one", "search"): "one_search",
        ("one", "read"): "read",
        ("two", "search"): "two_search",
        ("two", "note"): "two_note",
    } == named
    assert named == {**apart({"two": ["note", "search"], "one": ["read", "search"]}, {"note"})}


names = st.text(st.sampled_from("ab._7"), min_size=1, max_size=4)


@given(st.dictionaries(st.sampled_from(["a", "b", "a_b"]), st.lists(names, max_size=6)), st.sets(names, max_size=4))
def test_whatever_they_are_called_no_two_have_the_same_name(sources: dict[str, list[str]], taken: set[str]) -> None:
    given_ = apart(sources, taken)
    assert {(source, name) for source, found in sources.items() for name in found} == set(given_)
    assert len(given_) == len(set(given_.values()))
    assert not taken & set(given_.values())
    assert all(SAFE.fullmatch(name) for name in given_.values())
