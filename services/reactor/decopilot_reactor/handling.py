"""Handling a delivery: react, then acknowledge; ask for it again when the reaction can't be done yet."""

from collections.abc import Awaitable, Callable

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from decopilot.contracts.events import Recorded, UnknownEventError
from decopilot.log.heartbeats import HEARTBEAT_S, heartbeats
from decopilot.log.journal import delivered
from decopilot.log.store import UNCERTAIN

RETRY_S, RETRY_MAX_S, UNCERTAIN_MAX_S = 1.0, 30.0, 5.0

log = structlog.get_logger()


class NotYetError(Exception):
    """The reaction is not due for this many seconds."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        super().__init__(f"not due for {delay_s:.1f} s")


def handling(react: Callable[[Recorded], Awaitable[None]]) -> Callable[[Msg], Awaitable[None]]:
    """Make the handler of a reaction, which may run twice for one event."""
    return handling_messages(lambda message: react(delivered(message)))


def handling_long(nc: Client, react: Callable[[Recorded], Awaitable[None]]) -> Callable[[Msg], Awaitable[None]]:
    """Make the handler of a reaction that may take its time: nobody else is handed the event meanwhile."""

    async def kept(message: Msg) -> None:
        # Should it be lost, another one does the same: whatever is done here may be done twice.
        async with heartbeats(nc, message.reply, on_lost=lambda: None, first_s=HEARTBEAT_S):
            await react(delivered(message))

    return handling_messages(kept)


def handling_messages(react: Callable[[Msg], Awaitable[None]]) -> Callable[[Msg], Awaitable[None]]:
    """Make the handler of a reaction to what is no event."""

    async def handle(message: Msg) -> None:
        subject = message.subject
        try:
            await react(message)
        except NotYetError as error:
            await message.nak(delay=error.delay_s)
        except UnknownEventError as error:
            # A newer version will know it; nothing may be folded past it.
            log.warning("event_unknown", subject=error.subject, sequence=error.sequence)
            await message.nak(delay=_retry_in_s(message))
        except UNCERTAIN as error:
            log.warning("reaction_delayed", subject=subject, error=repr(error))
            # However often the item was looked at before: what is wrong is the broker's, and passes.
            await message.nak(delay=_retry_in_s(message, UNCERTAIN_MAX_S))
        except Exception:
            log.exception("reaction_failed", subject=subject)
            await message.nak(delay=_retry_in_s(message))
        else:
            await message.ack()

    return handle


def _retry_in_s(message: Msg, at_most_s: float = RETRY_MAX_S) -> float:
    # An event of a newer version comes again until this one is replaced, and it may be one of thousands.
    return float(min(RETRY_S * 2 ** min(message.metadata.num_delivered - 1, 10), at_most_s))
