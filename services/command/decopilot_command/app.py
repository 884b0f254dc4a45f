"""Where the parts of `command` meet."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.client import Client

from decopilot.contracts import subjects
from decopilot.contracts.configuration import Configuration
from decopilot.domain.quotas import UNLIMITED, Quotas
from decopilot.kit.configuration import read_configuration
from decopilot.kit.connection import connected
from decopilot.kit.messaging import Messaging, Program
from decopilot.kit.settings import Settings
from decopilot.log.blobs import Blobs
from decopilot.log.capacity import Capacity
from decopilot.log.counts import Counts
from decopilot.log.history import Histories
from decopilot.log.journal import Journal
from decopilot.log.places import Places
from decopilot.log.store import Store
from decopilot.log.views import Views
from decopilot_command.answering import answering
from decopilot_command.branching import Brancher
from decopilot_command.carrying import Carrier
from decopilot_command.choosing import Chooser
from decopilot_command.executing import Executor
from decopilot_command.giving_up import Tries
from decopilot_command.limiting import Limiter
from decopilot_command.tracking import Tracker
from decopilot_command.waking import Bell
from decopilot_command.wishes import wishes

REQUESTS_AT_ONCE = 64


def build(settings: Settings, configuration: Configuration | None = None, quotas: Quotas = UNLIMITED) -> Program:
    """Build the program; without a configuration it reads that of the environment; quotas are its caller's."""
    messaging = Messaging(settings, "command")
    configuration = configuration or read_configuration()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[Client]:
        async with connected(settings, "command") as nc, Store(nc) as store:
            views = Views(store)
            journal = Journal(store, views)
            limiter = Limiter(Counts(store), Places(store), quotas)
            tries = Tries(nc)
            await tries.listen()
            executor = Executor(journal, Capacity(store), limiter, tries)
            chooser = Chooser(configuration)
            brancher = Brancher(executor, chooser, Histories(journal, views), Carrier(Blobs(store)))
            for wish in wishes(executor, Tracker(nc), Bell(nc), chooser, brancher):
                messaging.answer(
                    subjects.command(wish.name),
                    subjects.COMMAND_QUEUE,
                    answering(wish, tries, max_payload_bytes=nc.max_payload),
                    workers=REQUESTS_AT_ONCE,
                )
            yield nc

    return messaging.program(lifespan)
