"""Where the parts of `gateway` meet."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import structlog
from aiohttp import web

from decopilot.contracts.configuration import Configuration
from decopilot.contracts.frames import Frame
from decopilot.domain.automating import plans
from decopilot.kit.collecting import spare_the_collector
from decopilot.kit.configuration import read_configuration
from decopilot.kit.connection import connecting
from decopilot.kit.health import broker_answers, serving
from decopilot.kit.tasks import keeping
from decopilot.log.automations import Automations
from decopilot.log.blobs import Blobs
from decopilot.log.blocks import Memory
from decopilot.log.chunklog import ChunkLog
from decopilot.log.history import Histories
from decopilot.log.inspection import Inspector
from decopilot.log.journal import Journal
from decopilot.log.readers import Readers
from decopilot.log.store import Store, Stored
from decopilot.log.tail import Stretch, Tails
from decopilot.log.views import Views
from decopilot_gateway import metrics
from decopilot_gateway.access import Access
from decopilot_gateway.admitting import Admission
from decopilot_gateway.attaching import Attach
from decopilot_gateway.attachments import Attachments
from decopilot_gateway.auth import Doorman
from decopilot_gateway.automating import Automating
from decopilot_gateway.bodies import BODIES, Bodies
from decopilot_gateway.branching import Branching
from decopilot_gateway.choices import Choices
from decopilot_gateway.commanding import Commander
from decopilot_gateway.connections import Entrance
from decopilot_gateway.crossing import Crossing
from decopilot_gateway.endpoints import endpoints
from decopilot_gateway.entering import Gates
from decopilot_gateway.granting import IssueAttachToken
from decopilot_gateway.inspecting import Inspecting
from decopilot_gateway.links import Links
from decopilot_gateway.listing import Listing
from decopilot_gateway.locating import Locators
from decopilot_gateway.openapi import route
from decopilot_gateway.page import CLIENT, WEB, Files, Page, hardening
from decopilot_gateway.painting import Painting
from decopilot_gateway.posting import Posting
from decopilot_gateway.problems import problems
from decopilot_gateway.process import allow_files, files_left
from decopilot_gateway.reading import Reading
from decopilot_gateway.sampling import Sampling
from decopilot_gateway.serving import Serving
from decopilot_gateway.settings import GatewaySettings
from decopilot_gateway.streaming import Leaving, Pulse
from decopilot_gateway.tracing import Tracing
from decopilot_gateway.uploading import Uploading
from decopilot_gateway.watching import Told, Watch
from decopilot_gateway.wishing import Wishing

DRAIN_S = 2.5
"""What a request that is being answered gets at the end, twice (aiohttp waits before and after it says so).

A command has its answer, or its 503, in less; a viewer that has stopped reading is not waited for any longer.
"""

log = structlog.get_logger()


@asynccontextmanager
async def build(
    settings: GatewaySettings, configuration: Configuration | None = None
) -> AsyncIterator[tuple[web.Application, Leaving]]:
    """Build the application, which may be served at once: it is alive before it has found the broker.

    The connection, and what is followed over it, are held while the context is open. Without a configuration it reads
    that of the environment.
    """
    configuration = configuration or read_configuration()
    followed: list[Tails[Frame, Stretch] | Tails[Stored, Told]] = []
    found_broker = asyncio.Event()

    async def check_tails() -> None:
        gates.doubt()
        for tails in followed:
            await tails.check()

    async with connecting(settings, "gateway", on_gap=check_tails) as (nc, connect):
        store = Store(nc)
        views = Views(store)
        journal = Journal(store, views)
        memory = Memory(settings.memory_bytes)
        frame_tails: Tails[Frame, Stretch] = Tails(store, memory, linger_s=settings.linger_s)
        watch_tails: Tails[Stored, Told] = Tails(store, memory, linger_s=settings.linger_s)
        followed += [frame_tails, watch_tails]
        leaving, pulse = Leaving(followed), Pulse(settings.keepalive_s)
        prefix = settings.path_prefix
        doorman = Doorman(settings, prefix)

        async def ready() -> bool:
            is_up = found_broker.is_set() and doorman.has_keys and not leaving.started
            return is_up and await broker_answers(nc)

        admission = Admission(
            per_user=settings.streams_per_user, per_org=settings.streams_per_org, in_all=settings.streams
        )
        metrics.begin()
        commander = Commander(nc)
        blobs, access, gates = Blobs(store), Access(doorman, journal), Gates(journal)
        links = Links(settings.own_secret, prefix, lasts_s=settings.file_link_s)
        inspector, sampling = Inspector(journal, ChunkLog(store)), Sampling(settings.paint_sample)
        table = endpoints(
            posting=Posting(doorman, commander, Attachments(access, blobs, links)),
            uploading=Uploading(doorman, admission, access, blobs, links, limit_bytes=settings.file_limit_bytes),
            serving=Serving(doorman, admission, access, blobs, links),
            wishing=Wishing(doorman, commander),
            automating=Automating(doorman, commander, Automations(store, journal), plans(configuration)),
            branching=Branching(doorman, commander),
            attach=Attach(
                doorman,
                admission,
                leaving,
                pulse,
                tails=frame_tails,
                locators=Locators(ChunkLog(store), journal, views),
                readers=Readers(store),
                gates=gates,
                sampling=sampling,
            ),
            watch=Watch(doorman, admission, leaving, pulse, tails=watch_tails, store=store),
            inspecting=Inspecting(access, inspector, trace_url=settings.trace_url),
            painting=Painting(doorman, access, inspector, sampling),
            listing=Listing(doorman, views, journal),
            reading=Reading(doorman, access, Histories(journal, views)),
            choices=Choices(doorman, configuration),
            attach_tokens=IssueAttachToken(doorman, settings.public_url, prefix),
            page=Page(doorman, prefix),
            ready=ready,
            prefix=prefix,
        )
        crossing = Crossing(settings.origins)
        keys = [doorman.knowing_keys] if doorman.issuer else []
        tracing = Tracing(is_trusting=settings.trust_traces, baggage_keys=settings.kept_baggage)
        middlewares = [tracing.middleware(), crossing.middleware(), problems, *keys]
        app = web.Application(middlewares=middlewares, client_max_size=settings.body_limit_bytes)
        app[BODIES] = Bodies()
        app.on_response_prepare.extend((hardening(settings.public_url), crossing.mark))
        app.add_routes([route(endpoint, prefix, found_broker) for endpoint in table])
        app.router.add_get(f"{prefix}/web/{{path:.+}}", Files({"": WEB, "client/": CLIENT}).handle)

        async def follow() -> None:
            await connect()
            async with store:
                await gates.listen(nc)
                found_broker.set()
                await asyncio.wait([start(work) for work in (pulse.beat(), *(t.keep_checking() for t in followed))])

        async with serving(settings, ready), keeping() as start:
            start(follow())
            if doorman.issuer is not None:
                start(doorman.issuer.keep())
            yield app, leaving


@asynccontextmanager
async def listening(settings: GatewaySettings, configuration: Configuration | None = None) -> AsyncIterator[int]:
    """Serve while the context is open, on the port that it yields; then end every stream cleanly."""
    async with build(settings, configuration) as (app, leaving):
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=DRAIN_S)
        await runner.setup()
        try:
            limit = min(settings.most_connections, files_left())
            await Entrance(runner, settings.http_host, settings.http_port, limit=limit).start()
            port = int(runner.addresses[0][1])
            log.info(
                "gateway_listening",
                host=settings.http_host,
                port=port,
                instance=settings.instance,
                version=version("decopilot"),
            )
            yield port
        finally:
            leaving.start()
            await runner.cleanup()


async def serve(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    allow_files(settings.most_connections)
    async with listening(settings):
        # Whoever is attached is a few hundred objects that stay: to look at those of 5,000 takes up to a second.
        spare_the_collector(50_000)
        await stop.wait()
