"""Where the parts of `reactor` meet."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from faststream import FastStream
from nats.aio.client import Client

from decopilot.contracts import subjects
from decopilot.kit.connection import connected
from decopilot.kit.messaging import Messaging
from decopilot.log.chunklog import ChunkLog
from decopilot.log.journal import Journal
from decopilot.log.store import Store
from decopilot.log.views import Views
from decopilot.log.watchlog import WatchLog
from decopilot_reactor.handling import handling
from decopilot_reactor.janitor import Janitor
from decopilot_reactor.projecting import Projector
from decopilot_reactor.reacting import Reactor
from decopilot_reactor.settings import ReactorSettings
from decopilot_reactor.telling import Teller


def build(settings: ReactorSettings) -> FastStream:
    """Build the program."""
    messaging = Messaging(settings, "reactor")

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[Client]:
        async with connected(settings, "reactor") as nc, Store(nc) as store:
            views = Views(store)
            journal = Journal(store, views)
            reactor = Reactor(Projector(journal, views), Teller(journal, WatchLog(store)))
            janitor = Janitor(ChunkLog(store), grace_s=settings.purge_grace_s)
            for consumer, reaction in (
                (subjects.REACTOR_CONSUMER, reactor.react),
                (subjects.JANITOR_CONSUMER, janitor.clean),
            ):
                messaging.consume(
                    subjects.EVENTS_STREAM,
                    consumer,
                    f"{subjects.EVENT_PREFIX}.>",
                    handling(reaction),
                    workers=settings.events_at_once,
                )
            yield nc

    return messaging.program(lifespan)
