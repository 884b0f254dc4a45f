"""Health of a service that speaks no HTTP of its own: alive is not ready."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.typedefs import Handler
from nats.aio.client import Client
from nats.errors import Error as NatsError

from decopilot.kit.settings import Settings

Check = Callable[[], Awaitable[bool]]


async def broker_answers(client: Client, timeout_s: float = 1.0) -> bool:
    """Tell whether the broker answers a ping on this connection right now."""
    if not client.is_connected:
        return False
    try:
        await client.flush(timeout=timeout_s)  # type: ignore[arg-type]  # seconds, fractions work
    except (NatsError, TimeoutError, OSError):
        return False
    return True


async def livez(_request: web.Request) -> web.Response:
    """Answer 200 while the process lives."""
    return web.json_response({"status": "ok"})


def readyz(ready: Check) -> Handler:
    """Make the handler that answers 200 or 503, as `ready` says."""

    async def handle(_request: web.Request) -> web.Response:
        if await ready():
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "not ready"}, status=503)

    return handle


@asynccontextmanager
async def serving(settings: Settings, ready: Check) -> AsyncIterator[None]:
    """Serve the health routes on `health_port` while the context is open; not at all without a port."""
    if settings.health_port is None:
        yield
        return
    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz(ready))])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.health_host, settings.health_port).start()
        yield
    finally:
        await runner.cleanup()
