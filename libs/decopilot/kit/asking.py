"""Asking: a request that is waited for so long, and that is given up aloud."""

import asyncio
import uuid
from contextlib import suppress

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from decopilot.contracts import subjects
from decopilot.contracts.commands import PATIENCE, TRY
from decopilot.kit import telemetry


async def ask(nc: Client, name: str, body: bytes, *, patience_s: float) -> Msg:
    """Ask `command` for something once, and return its answer.

    What is given up here is appended by nobody who has not yet done so: whoever asks the same again is told what holds
    (ADR 0060).

    Raises:
        nats.errors.NoRespondersError: nobody heard it.
        nats.errors.Error, TimeoutError, OSError: nobody knows what came of it.

    """
    id_ = uuid.uuid4().hex
    headers = telemetry.inject({PATIENCE: f"{patience_s:.3f}", TRY: id_})
    try:
        return await nc.request(subjects.command(name), body, timeout=patience_s, headers=headers)
    except NoRespondersError:
        raise
    except (NatsError, OSError, asyncio.CancelledError):
        with suppress(NatsError, OSError):
            await nc.publish(subjects.GIVEN_UP, id_.encode())
        raise
