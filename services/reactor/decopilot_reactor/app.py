"""Where the parts of `reactor` meet."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from nats.aio.client import Client

from decopilot.contracts import subjects
from decopilot.contracts.configuration import Configuration
from decopilot.domain.automating import plans
from decopilot.kit.configuration import read_configuration
from decopilot.kit.connection import connected
from decopilot.kit.holding import Gaps, may_be_held
from decopilot.kit.messaging import Messaging, Program
from decopilot.kit.tasks import keeping
from decopilot.log.automations import Automations
from decopilot.log.blobs import Blobs
from decopilot.log.chunklog import ChunkLog
from decopilot.log.clock import BrokerClock
from decopilot.log.ending import Ender
from decopilot.log.erasing import Eraser
from decopilot.log.history import Histories
from decopilot.log.journal import Journal
from decopilot.log.leftovers import Leftovers
from decopilot.log.places import Places
from decopilot.log.readers import Readers
from decopilot.log.store import Store
from decopilot.log.views import Views
from decopilot.log.watchlog import WatchLog
from decopilot_reactor.automating import Clockwork
from decopilot_reactor.deleting import Deleter
from decopilot_reactor.handling import handling, handling_long, handling_messages
from decopilot_reactor.janitor import Janitor
from decopilot_reactor.lagging import LagMeter
from decopilot_reactor.overseeing import ENDING_S, Overseer
from decopilot_reactor.placing import Placer
from decopilot_reactor.projecting import Projector
from decopilot_reactor.purging import Purger
from decopilot_reactor.reacting import Reactor
from decopilot_reactor.settings import ReactorSettings
from decopilot_reactor.sweeping import Sweeper
from decopilot_reactor.telling import Teller

SWEEPS_AT_ONCE = 4


def build(settings: ReactorSettings, configuration: Configuration | None = None) -> Program:
    """Build the program; without a configuration it reads that of the environment."""
    messaging = Messaging(settings, "reactor")
    automated = plans(configuration or read_configuration()).values()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[Client]:
        gaps = Gaps()
        async with connected(settings, "reactor", on_gap=gaps.note) as nc, Store(nc) as store:
            await gaps.note()
            views, chunks, blobs, clock = Views(store), ChunkLog(store), Blobs(store), BrokerClock(store)
            journal = Journal(store, views)
            ender = Ender(store, journal, Histories(journal, views), patience_s=ENDING_S)
            placer = Placer(journal, Places(store))
            reactor = Reactor(Projector(journal, views), Teller(journal, WatchLog(store), clock), ender, placer)
            overseer = Overseer(
                journal,
                ender,
                chunks,
                limits=settings.limits,
                may_be_held=partial(may_be_held, nc, gaps),
                at_once=max(settings.events_at_once // 2, 1),
            )
            eraser = Eraser(journal, views, chunks, blobs)
            deleter = Deleter(journal, reactor, overseer, eraser, clock=clock, erase_again_s=settings.erase_again_s)
            purger = Purger(
                chunks,
                Readers(store),
                clock=clock,
                grace_s=settings.purge_grace_s,
                wait_s=settings.purge_wait_s,
                look_s=settings.look_s,
            )
            janitor = Janitor(journal, ender, overseer, deleter, purger, clock=clock, look_s=settings.look_s)
            for consumer, handler in (
                (subjects.REACTOR_CONSUMER, handling(reactor.react)),
                (subjects.JANITOR_CONSUMER, handling_long(nc, janitor.look)),
            ):
                messaging.consume(
                    subjects.EVENTS_STREAM,
                    consumer,
                    handler,
                    workers=settings.events_at_once,
                )
            sweeper = Sweeper(Leftovers(store), journal, views, clock=clock, unused_s=settings.unused_files_s)
            messaging.consume(
                subjects.BLOBS_STREAM,
                subjects.SWEEPER_CONSUMER,
                handling_messages(sweeper.look),
                workers=SWEEPS_AT_ONCE,
            )
            clockwork = Clockwork(nc, Automations(store, journal), automated, look_s=settings.look_s)
            async with keeping() as start:
                for work in (*clockwork.runs(), LagMeter(store.js).run()):
                    start(work)
                yield nc

    return messaging.program(lifespan)
