"""The wishes: every name that `command` answers to, in one table."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from decopilot.contracts.commands import (
    ARCHIVE_THREAD,
    CANCEL_RUN,
    DELETE_THREAD,
    FORK_THREAD,
    REGENERATE_ANSWER,
    RESOLVE_INTERACTIONS,
    RETITLE_THREAD,
    SEND_MESSAGE,
    SET_VISIBILITY,
    WITHDRAW_MESSAGE,
    Accepted,
    ArchiveThread,
    CancelRun,
    DeleteThread,
    Forked,
    ForkThread,
    Receipt,
    RegenerateAnswer,
    ResolveInteractions,
    RetitleThread,
    SendMessage,
    SetVisibility,
    WithdrawMessage,
)
from decopilot_command.branching import Brancher
from decopilot_command.changing import Changer
from decopilot_command.choosing import Chooser
from decopilot_command.executing import Executor, Request
from decopilot_command.resolving import Resolver
from decopilot_command.sending import Sender
from decopilot_command.tracking import Tracker
from decopilot_command.waking import Bell

RequestT = TypeVar("RequestT", bound=Request)


@dataclass(frozen=True, slots=True)
class Wish(Generic[RequestT]):
    """One kind of request: its name, its form, and what grants it."""

    name: str
    form: type[RequestT]
    grant: Callable[[RequestT], Awaitable[Accepted | Receipt | Forked]]


def wishes(executor: Executor, tracker: Tracker, bell: Bell, chooser: Chooser, brancher: Brancher) -> list[Wish[Any]]:
    """Every wish."""
    sender, resolver = Sender(executor, tracker, bell, chooser), Resolver(executor, chooser)
    changer = Changer(executor, bell)
    return [
        Wish(SEND_MESSAGE, SendMessage, sender.send),
        Wish(REGENERATE_ANSWER, RegenerateAnswer, brancher.regenerate),
        Wish(RESOLVE_INTERACTIONS, ResolveInteractions, resolver.resolve),
        Wish(CANCEL_RUN, CancelRun, changer.cancel),
        Wish(WITHDRAW_MESSAGE, WithdrawMessage, changer.withdraw),
        Wish(RETITLE_THREAD, RetitleThread, changer.retitle),
        Wish(ARCHIVE_THREAD, ArchiveThread, changer.archive),
        Wish(SET_VISIBILITY, SetVisibility, changer.set_visibility),
        Wish(FORK_THREAD, ForkThread, brancher.fork),
        Wish(DELETE_THREAD, DeleteThread, changer.delete),
    ]
