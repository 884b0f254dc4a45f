"""The wishes: every name that `command` answers to, in one table."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from decopilot.contracts.commands import (
    CANCEL_RUN,
    DELETE_THREAD,
    RESOLVE_INTERACTIONS,
    RETITLE_THREAD,
    SEND_MESSAGE,
    WITHDRAW_MESSAGE,
    Accepted,
    CancelRun,
    DeleteThread,
    Receipt,
    ResolveInteractions,
    RetitleThread,
    SendMessage,
    WithdrawMessage,
)
from decopilot.contracts.configuration import Configuration
from decopilot_command.changing import Changer
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
    grant: Callable[[RequestT], Awaitable[Accepted | Receipt]]


def wishes(executor: Executor, tracker: Tracker, bell: Bell, configuration: Configuration) -> list[Wish[Any]]:
    """Every wish."""
    sender = Sender(executor, tracker, bell, configuration)
    resolver, changer = Resolver(executor, configuration), Changer(executor, bell)
    return [
        Wish(SEND_MESSAGE, SendMessage, sender.send),
        Wish(RESOLVE_INTERACTIONS, ResolveInteractions, resolver.resolve),
        Wish(CANCEL_RUN, CancelRun, changer.cancel),
        Wish(WITHDRAW_MESSAGE, WithdrawMessage, changer.withdraw),
        Wish(RETITLE_THREAD, RetitleThread, changer.retitle),
        Wish(DELETE_THREAD, DeleteThread, changer.delete),
    ]
