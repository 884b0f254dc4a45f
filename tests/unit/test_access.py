"""Access: every role, over every thread, and what it may do there."""

import itertools
from typing import get_args

import pytest

from decopilot.contracts.commands import Role, Visibility
from decopilot.domain import access
from decopilot.domain.access import Room
from decopilot.domain.commands import RefusedError
from decopilot.domain.thread import INITIAL, ThreadState
from support.automations import plan
from support.deciding import delete, send, set_visibility, thread_after

READ, WRITE, DECIDE = "read", "write", "decide"
ALL = {READ, WRITE, DECIDE}
NOTHING: set[str] = set()
MAY: dict[tuple[Role, bool, Visibility], set[str]] = {
    ("owner", True, "org"): ALL,
    ("owner", True, "private"): ALL,
    ("owner", False, "org"): ALL,
    ("owner", False, "private"): ALL,
    ("member", True, "org"): ALL,
    ("member", True, "private"): ALL,
    ("member", False, "org"): {READ},
    ("member", False, "private"): NOTHING,
    ("service", True, "org"): ALL,
    ("service", True, "private"): ALL,
    ("service", False, "org"): {READ, WRITE},
    ("service", False, "private"): NOTHING,
    ("viewer", True, "org"): {READ},
    ("viewer", True, "private"): {READ},
    ("viewer", False, "org"): {READ},
    ("viewer", False, "private"): NOTHING,
}
CELLS = list(itertools.product(get_args(Role), (True, False), get_args(Visibility)))


@pytest.mark.parametrize(("role", "is_own", "visibility"), CELLS)
def test_each_role_may_do_this_and_no_more(role: Role, is_own: bool, visibility: Visibility) -> None:  # noqa: FBT001
    user, room = ("ann" if is_own else "bob"), Room("ann", visibility)
    may = {
        READ: access.may_read(role, user, room.private_to),
        WRITE: access.may_write(role, user, room),
        DECIDE: access.may_set_visibility(role, user, room),
    }
    assert MAY[role, is_own, visibility] == {what for what, granted in may.items() if granted}


@pytest.mark.parametrize(("role", "is_own", "visibility"), CELLS)
def test_who_may_write_may_read_and_who_decides_may_write(
    role: Role,
    is_own: bool,  # noqa: FBT001
    visibility: Visibility,
) -> None:
    may = MAY[role, is_own, visibility]
    assert not (WRITE in may and READ not in may)
    assert not (DECIDE in may and WRITE not in may)


def refusal(state: ThreadState, role: Role, user: str, *, writes: bool) -> str | None:
    try:
        (access.check_writer if writes else access.check_reader)(state, role, user)
    except RefusedError as refused:
        return f"{refused.code}: {refused.detail}"
    return None


def test_what_is_hidden_is_refused_in_the_very_words_of_what_is_not_there() -> None:
    private = thread_after(send(), set_visibility("private"))
    gone = thread_after(send(), set_visibility("private"), delete())
    readers: tuple[Role, ...] = ("member", "service", "viewer")
    for role in readers:
        assert refusal(INITIAL, role, "bob", writes=False) == refusal(private, role, "bob", writes=False) is not None
        assert refusal(INITIAL, role, "bob", writes=False) == refusal(gone, role, "bob", writes=False)
    # A new thread is anybody's to begin, so an id that is taken is as one of a deleted thread.
    deleted = thread_after(send(), delete())
    for role in readers[:2]:
        assert refusal(deleted, role, "bob", writes=True) == refusal(private, role, "bob", writes=True) is not None
        assert refusal(deleted, role, "bob", writes=True) == refusal(gone, role, "bob", writes=True)


def test_of_a_deleted_thread_nothing_stays_but_whom_it_was_private_to() -> None:
    assert None is thread_after(send(), delete()).private_to
    gone = thread_after(send(), set_visibility("private"), delete())
    assert (None, "ann") == (gone.room, gone.private_to)
    shown = thread_after(send(), set_visibility("private"), set_visibility("org"), delete())
    assert None is shown.private_to


def test_threads_of_automations_are_begun_by_them_alone() -> None:
    thread = plan().thread_fired("f1")
    assert access.may_begin(plan().user, thread)
    assert not access.may_begin("ann", thread)
    assert access.may_begin("ann", "thrd_1")
