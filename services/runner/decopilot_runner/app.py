"""Where the parts of `runner` meet."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from nats.aio.client import Client

from decopilot.contracts import subjects
from decopilot.contracts.configuration import Configuration
from decopilot.kit.configuration import read_configuration
from decopilot.kit.connection import connected
from decopilot.kit.holding import Gaps
from decopilot.kit.messaging import Messaging, Program
from decopilot.log.blobs import Blobs
from decopilot.log.chunklog import ChunkLog
from decopilot.log.ending import Ender
from decopilot.log.history import Histories
from decopilot.log.journal import Journal
from decopilot.log.store import Store
from decopilot.log.views import Views
from decopilot_runner.agents import load_agents
from decopilot_runner.driving import Driver
from decopilot_runner.holding import Holding
from decopilot_runner.lineage import Lineage
from decopilot_runner.pumping import AgentPump
from decopilot_runner.settings import RunnerSettings
from decopilot_runner.shelf import Shelf
from decopilot_runner.titling import Titler, load_finder
from decopilot_runner.working import Worker

EVENT_RESERVE_BYTES = 128 * 1024
"""What a terminal event and a frame hold beside the answer: the error's text and the like."""


def build(settings: RunnerSettings, configuration: Configuration | None = None) -> Program:
    """Build the program; without a configuration it reads that of the environment."""
    messaging = Messaging(settings, "runner")
    configuration = configuration or read_configuration()
    leaving: list[Callable[[], Awaitable[None]]] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[Client]:
        shelf, closing = Shelf(), AsyncExitStack()
        agents = await load_agents(settings, configuration, shelf, closing=closing)
        gaps = Gaps()
        async with closing, connected(settings, "runner", on_gap=gaps.note) as nc, Store(nc) as store:
            await gaps.note()
            blobs = Blobs(store)
            shelf.stand_on(blobs)
            views = Views(store)
            journal = Journal(store, views)
            histories = Histories(journal, views)
            ender = Ender(store, journal, histories)
            agent_pump = AgentPump(
                journal,
                agents,
                configuration,
                blobs,
                answer_bytes=nc.max_payload - EVENT_RESERVE_BYTES,
                run_bytes=settings.run_bytes,
                questions_wait=settings.questions_wait,
            )
            worker = Worker(
                nc,
                journal,
                Driver(journal, histories, ChunkLog(store), agent_pump, ender, runner_id=settings.instance),
                ender,
                holding=Holding(nc, settings.instance, gaps),
                lineage=Lineage(journal, ChunkLog(store)),
                runner_id=settings.instance,
                attempts=settings.attempts,
            )
            leaving.append(worker.stop)
            messaging.consume(
                subjects.EVENTS_STREAM,
                subjects.RUNNER_CONSUMER,
                worker.handle,
                workers=settings.runs_at_once,
            )
            titler = Titler(nc, journal, load_finder(settings, configuration))
            leaving.append(titler.stop)
            messaging.consume(
                subjects.EVENTS_STREAM,
                subjects.TITLER_CONSUMER,
                titler.handle,
                workers=settings.titles_at_once,
            )
            yield nc

    async def hand_back() -> None:
        await asyncio.gather(*(leave() for leave in leaving))

    return messaging.program(lifespan, on_shutdown=hand_back)
