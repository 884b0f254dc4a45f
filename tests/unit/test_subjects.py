"""Subjects: made and taken apart by one page, and every id fits in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decopilot.contracts import subjects
from decopilot.contracts.ids import MessageId, OrgId, RunId, ThreadId, is_id

IDS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


def matches(subject: str, pattern: str) -> bool:
    """Match as the broker does: `*` is one token, `>` one or more at the end."""
    tokens, wanted = subject.split("."), pattern.split(".")
    if wanted[-1] == ">":
        wanted = wanted[:-1]
        if len(tokens) <= len(wanted):
            return False
        tokens = tokens[: len(wanted)]
    return len(tokens) == len(wanted) and all(w in ("*", t) for t, w in zip(tokens, wanted, strict=True))


@given(IDS, IDS, IDS)
def test_what_is_put_into_a_subject_is_taken_out_again(org: str, thread: str, rest: str) -> None:
    o, t = OrgId(org), ThreadId(thread)
    made = (subjects.event(o, t, rest), subjects.chunks(o, t, RunId(rest)), subjects.watch(o, t, rest))
    assert [(org, thread, rest)] * 3 == [subjects.owner_of(subject) for subject in made]
    assert (org, thread, "thread.status") == subjects.owner_of(subjects.watch(o, t, "thread.status"))


@given(IDS, IDS, IDS, IDS)
def test_a_threads_filters_match_its_own_subjects_and_no_others(org: str, thread: str, rest: str, other: str) -> None:
    o, t = OrgId(org), ThreadId(thread)
    pairs = [
        (subjects.event(o, t, rest), subjects.events_of(o, t)),
        (subjects.event(o, t, rest), subjects.events_of_type(rest)),
        (subjects.chunks(o, t, RunId(rest)), subjects.chunks_of(o, t)),
        (subjects.watch(o, t, "thread.status"), subjects.watch_of_thread(o, t)),
        (subjects.watch(o, t, rest), subjects.watch_of(o)),
    ]
    for subject, pattern in pairs:
        assert matches(subject, pattern)
    if other != thread:
        stranger = ThreadId(other)
        assert not matches(subjects.event(o, stranger, rest), subjects.events_of(o, t))
        assert not matches(subjects.chunks(o, stranger, RunId(rest)), subjects.chunks_of(o, t))
        assert subjects.thread_key(o, stranger) != subjects.thread_key(o, t)
    if other != org:
        assert not matches(subjects.watch(OrgId(other), t, rest), subjects.watch_of(o))
        assert subjects.tail_of(OrgId(other), t) != subjects.tail_of(o, t)
        assert subjects.signal(OrgId(other), RunId(rest)) != subjects.signal(o, RunId(rest))
    assert f"{org}.{thread}.{rest}" == subjects.message_key(o, t, MessageId(rest))
    assert f"$KV.bucket.{org}.{thread}" == subjects.bucket_key("bucket", subjects.thread_key(o, t))


@given(st.text())
def test_an_id_never_breaks_out_of_its_token(text: str) -> None:
    if is_id(text):
        assert 1 <= len(text) <= 64
        assert not set(text) & set(".*> \t\r\n$\0")


@pytest.mark.parametrize("text", ["", "a" * 65, "a.b", "*", ">", "a b", "ä", "a\n", "$JS"])
def test_what_could_break_a_subject_is_no_id(text: str) -> None:
    assert not is_id(text)


@pytest.mark.parametrize("subject", ["", "decopilot", "decopilot.command.send_message", "decopilot.event.org.thread"])
def test_what_belongs_to_no_thread_is_refused(subject: str) -> None:
    with pytest.raises(ValueError, match="unpack"):
        subjects.owner_of(subject)
