"""Tracking: what product analytics hears, apart from deciding, and at most once."""

import json

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from decopilot.contracts import subjects
from decopilot.contracts.commands import SendMessage
from decopilot.contracts.messages import RunConfig

log = structlog.get_logger()


class Tracker:
    """Publishes analytics events for whoever subscribes to them."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc

    async def chat_message_started(self, request: SendMessage, config: RunConfig) -> None:
        """Tell that a user's message was newly appended (not a repeat of one, nor a continuation or a resume)."""
        properties = {
            "organization_id": request.org,
            "user_id": request.user,
            "thread_id": request.thread,
            "agent_id": config.agent_id,
            "mode": config.mode,
            "tier": config.tier,
        }
        try:
            await self._nc.publish(subjects.track(request.org, "chat_message_started"), json.dumps(properties).encode())
        except (NatsError, OSError) as error:
            # The message is in the log; analytics may miss it, the user must not.
            log.warning("tracking_failed", error=repr(error))
