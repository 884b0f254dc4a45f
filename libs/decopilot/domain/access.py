"""Access: who may read a thread, begin one, and write to it. Whoever has to know asks here (ADR 0038)."""

from typing import NamedTuple, Protocol

from decopilot.contracts.commands import Role, Visibility
from decopilot.domain.commands import RefusedError

AUTOMATED = "auto_"
"""What the ids of automations' threads begin with: they can be told in advance, so nobody else begins one."""
AUTOMATION = "automation:"
"""What the names of automations begin with where users have theirs: no token makes anybody one of them."""
_NO_THREAD = "There is no such thread, or no more."


class Room(NamedTuple):
    """What of a thread decides who may enter: whose it is, and for whom it is there."""

    owner: str
    visibility: Visibility = "org"

    @property
    def private_to(self) -> str | None:
        """Who reads it beside the org's owners; None where all of the org do."""
        return self.owner if self.visibility == "private" else None


class Standing(Protocol):
    """A thread as it stands, or stood: `room` is None before its first event, and once it is deleted."""

    @property
    def room(self) -> Room | None:
        """What decides who may enter."""

    @property
    def private_to(self) -> str | None:
        """Who may know of it beside the org's owners; None where all of the org may."""

    @property
    def is_deleted(self) -> bool:
        """Whether it takes nothing any more."""


def may_read(role: Role, user: str, private_to: str | None) -> bool:
    """Tell whether a user may read what is private to somebody, or to nobody."""
    return private_to is None or role == "owner" or user == private_to


def may_change(role: Role) -> bool:
    """Tell whether somebody of this role may begin threads, or write to any."""
    return role != "viewer"


def may_write(role: Role, user: str, room: Room) -> bool:
    """Tell whether a user may post to a thread, answer and end what runs in it, and change or delete it."""
    if not may_change(role):
        return False
    return role == "owner" or user == room.owner or (role == "service" and may_read(role, user, room.private_to))


def may_set_visibility(role: Role, user: str, room: Room) -> bool:
    """Tell whether a user may decide who reads a thread."""
    return may_change(role) and (role == "owner" or user == room.owner)


def may_begin(user: str, thread: str) -> bool:
    """Tell whether a thread of this id is the user's to begin, whatever their role."""
    return user.startswith(AUTOMATION) or not thread.startswith(AUTOMATED)


def automation_user(name: str) -> str:
    """Name the user that owns an automation's threads."""
    return f"{AUTOMATION}{name}"


def check_changer(role: Role) -> None:
    """Check that somebody of this role may change anything.

    Raises:
        RefusedError: `forbidden`.

    """
    if not may_change(role):
        raise RefusedError("forbidden", "Viewers read; they change nothing.")


def check_known(thread: Standing, role: Role, user: str) -> None:
    """Check that a thread is not hidden from a user; one that does not exist is hidden from nobody.

    Raises:
        RefusedError: `thread_not_found`: it is private, and somebody else's.

    """
    if not may_read(role, user, thread.private_to):
        raise RefusedError("thread_not_found", _NO_THREAD)


def check_reader(thread: Standing, role: Role, user: str) -> None:
    """Check that there is a thread, and that a user may read it.

    Raises:
        RefusedError: `thread_not_found`: there is none, or to the user there is none.

    """
    check_known(thread, role, user)
    if thread.room is None:
        raise RefusedError("thread_not_found", _NO_THREAD)


def check_writer(thread: Standing, role: Role, user: str) -> None:
    """Check that a user may write to a thread, or that it is free to be begun.

    Raises:
        RefusedError: `forbidden`: it is read, and not written to, by the user; `thread_not_found`: it is deleted,
            or to the user there is none.

    """
    check_changer(role)
    check_known(thread, role, user)
    if thread.is_deleted:
        raise RefusedError("thread_not_found", _NO_THREAD)
    if thread.room is not None and not may_write(role, user, thread.room):
        raise RefusedError("forbidden", "Only the thread's owner and the org's owners write to it.")


def check_beginner(thread: Standing, role: Role, user: str, id_: str) -> None:
    """Check that a user may write to a thread of this id, or begin it.

    Raises:
        RefusedError: as `check_writer` does; `thread_not_found`: the id is an automation's.

    """
    check_changer(role)
    if not may_begin(user, id_):
        check_reader(thread, role, user)
    check_writer(thread, role, user)


def check_shower(thread: Standing, role: Role, user: str) -> None:
    """Check that a user may decide who reads a thread.

    Raises:
        RefusedError: `forbidden`.

    """
    if thread.room is not None and not may_set_visibility(role, user, thread.room):
        raise RefusedError("forbidden", "Only the thread's owner and the org's owners say who reads it.")
