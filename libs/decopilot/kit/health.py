"""Health, and what was measured, on a port that is not the public's: alive is not ready."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.typedefs import Handler
from nats.aio.client import Client
from nats.errors import Error as NatsError
from pydantic_core import from_json

from decopilot.contracts import subjects
from decopilot.kit import metrics
from decopilot.kit.settings import Settings

Check = Callable[[], Awaitable[bool]]


async def broker_answers(client: Client, timeout_s: float = 1.0) -> bool:
    """Tell whether the broker answers on this connection right now, and holds the event log, all of it."""
    if not client.is_connected:
        return False
    try:
        # Not `flush`: one that timed out leaves a future behind on which the next pong kills the connection.
        answer = await client.request(f"$JS.API.STREAM.INFO.{subjects.EVENTS_STREAM}", b"", timeout=timeout_s)
    except (NatsError, TimeoutError, OSError):
        return False
    told = from_json(answer.data)
    return "error" not in told and subjects.RESTORING not in (told["config"].get("metadata") or {})


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
    """Serve health and `/metrics` on `health_port` while the context is open; not at all without a port."""
    if settings.health_port is None:
        yield
        return
    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz(ready)), web.get("/metrics", metrics.handle)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.health_host, settings.health_port).start()
        yield
    finally:
        await runner.cleanup()
