"""What the event log of a running stack holds."""

from decopilot.contracts.events import Recorded, ThreadTitled
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.journal import Journal
from decopilot.log.store import Store
from decopilot.log.views import Views
from support.stack import Stack


async def events(stack: Stack, org: OrgId, thread: ThreadId) -> list[Recorded]:
    """Read a thread's events."""
    settings = Settings.model_validate({"nats_url": stack.nats_url, "nats_token": stack.nats_token})
    async with connected(settings, "test") as nc, Store(nc) as store:
        return await Journal(store, Views(store)).events(org, thread, after=0)


async def event_types(stack: Stack, org: OrgId, thread: ThreadId) -> list[str]:
    """Read the types of a thread's events, but for a title that a model found meanwhile."""
    found = [recorded.event for recorded in await events(stack, org, thread)]
    return [event.type for event in found if not (isinstance(event, ThreadTitled) and event.automatic)]
