"""Where the parts of `gateway` meet."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from aiohttp import web

from decopilot.kit.connection import connected
from decopilot.kit.health import broker_answers
from decopilot.log.chunklog import ChunkLog
from decopilot.log.history import Histories
from decopilot.log.journal import Journal
from decopilot.log.store import Store
from decopilot.log.tail import Tails
from decopilot.log.views import Views
from decopilot_gateway.attaching import Attach, Locator
from decopilot_gateway.auth import Doorman
from decopilot_gateway.commanding import Commander
from decopilot_gateway.endpoints import endpoints
from decopilot_gateway.openapi import route
from decopilot_gateway.page import WEB, Page
from decopilot_gateway.posting import Posting
from decopilot_gateway.problems import problems
from decopilot_gateway.reading import Reading
from decopilot_gateway.settings import GatewaySettings
from decopilot_gateway.sse import EncodedFrame
from decopilot_gateway.streaming import Leaving
from decopilot_gateway.tracing import tracing
from decopilot_gateway.watching import Told, Watch

DRAIN_S = 10.0

log = structlog.get_logger()


@asynccontextmanager
async def build(settings: GatewaySettings) -> AsyncIterator[tuple[web.Application, Leaving]]:
    """Build the application; what it follows is followed while the context is open."""
    followed: list[Tails[EncodedFrame] | Tails[Told]] = []

    async def check_tails() -> None:
        for tails in followed:
            await tails.check()

    async with connected(settings, "gateway", on_gap=check_tails) as nc, Store(nc) as store:
        views = Views(store)
        journal = Journal(store, views)
        histories = Histories(journal, views)
        frame_tails: Tails[EncodedFrame] = Tails(store)
        watch_tails: Tails[Told] = Tails(store)
        followed += [frame_tails, watch_tails]
        leaving = Leaving(followed)
        doorman = Doorman(settings.jwt_secret.get_secret_value())
        prefix = settings.path_prefix

        async def ready() -> bool:
            return not leaving.started and await broker_answers(nc)

        locator, keepalive_s = Locator(ChunkLog(store), journal), settings.keepalive_s
        table = endpoints(
            posting=Posting(doorman, Commander(nc)),
            attach=Attach(doorman, frame_tails, locator, leaving, keepalive_s=keepalive_s),
            watch=Watch(doorman, watch_tails, leaving, keepalive_s=keepalive_s),
            reading=Reading(doorman, journal, histories, views),
            page=Page(doorman, prefix),
            ready=ready,
            prefix=prefix,
        )
        app = web.Application(middlewares=[tracing, problems], client_max_size=settings.body_limit_bytes)
        app.add_routes([route(endpoint, prefix) for endpoint in table])
        app.router.add_static(f"{prefix}/web", WEB)
        checks = [asyncio.create_task(tails.keep_checking()) for tails in followed]
        try:
            yield app, leaving
        finally:
            for check in checks:
                check.cancel()
                with suppress(asyncio.CancelledError):
                    await check


async def serve(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT; then become unready, end every stream cleanly, and go."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with build(settings) as (app, leaving):
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=DRAIN_S)
        await runner.setup()
        await web.TCPSite(runner, settings.http_host, settings.http_port).start()
        log.info("gateway_listening", host=settings.http_host, port=settings.http_port)
        await stop.wait()
        leaving.start()
        await runner.cleanup()
