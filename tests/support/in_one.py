"""The four services in one process, for tests that look at them from inside or have them share a fate."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
from faststream import FastStream
from pydantic import SecretStr

from decopilot.kit.settings import Settings
from decopilot_command.app import build as build_command
from decopilot_gateway.app import listening
from decopilot_gateway.settings import GatewaySettings
from decopilot_reactor.app import build as build_reactor
from decopilot_reactor.settings import ReactorSettings
from decopilot_runner.app import build as build_runner
from decopilot_runner.settings import RunnerSettings
from support.brokers import login

SECRET = "a secret that is long enough for HS256"


@asynccontextmanager
async def all_services(settings: Settings) -> AsyncIterator[str]:
    """Run the four services in this process; yields the gateway's URL."""
    common = {"nats_url": settings.nats_url, "instance": "tour"}
    async with AsyncExitStack() as stack:
        for app in (
            build_command(Settings.model_validate(common | login("command"))),
            build_runner(RunnerSettings.model_validate(common | login("runner"))),
            build_reactor(ReactorSettings.model_validate(common | login("reactor"))),
        ):
            await stack.enter_async_context(_running(app))
        own = {"jwt_secret": SecretStr(SECRET), "http_port": 0}
        gateway = GatewaySettings.model_validate(common | login("gateway") | own)
        url = f"http://127.0.0.1:{await stack.enter_async_context(listening(gateway))}"
        await _until_ready(url)
        yield url


async def _until_ready(url: str) -> None:
    async with asyncio.timeout(20), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{url}/readyz") as response:
                if response.status == 200:
                    return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def _running(app: FastStream) -> AsyncIterator[None]:
    task = asyncio.create_task(app.run())
    try:
        yield
    finally:
        app.exit()
        await task
