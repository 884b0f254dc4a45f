"""The tour in ARCHITECTURE.md, walked with one real POST."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import aiohttp
from faststream import FastStream
from pydantic import SecretStr

from decopilot.cli.tokens import Role, issue_token
from decopilot.kit.settings import Settings
from decopilot.log.store import Store
from decopilot_command.app import build as build_command
from decopilot_gateway.app import listening
from decopilot_gateway.settings import GatewaySettings
from decopilot_reactor.app import build as build_reactor
from decopilot_reactor.settings import ReactorSettings
from decopilot_runner.app import build as build_runner
from decopilot_runner.settings import RunnerSettings
from support.brokers import login
from support.viewer import Api, Viewer

ROOT = Path(__file__).parents[2]
STOP = re.compile(r"^\| \d \| `([^`]+)` \| `([^`]+)` \|", re.MULTILINE)
SECRET = "a secret that is long enough for HS256"


def stops() -> list[tuple[str, str]]:
    """Read the tour: files with the function to enter at."""
    return STOP.findall((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))


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


async def test_the_tour_names_at_most_eight_files_and_one_post_enters_them_in_order(
    settings: Settings, store: Store
) -> None:
    assert store.nc.is_connected
    tour = stops()
    assert 8 >= len({file for file, _ in tour}) == len(tour)
    wanted = {(str(ROOT / file), name): (file, name) for file, name in tour}
    entered: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            stop = wanted.get((frame.f_code.co_filename, frame.f_code.co_qualname))
            if stop is not None and stop not in entered:
                entered.append(stop)

    async with asyncio.timeout(60), all_services(settings) as url:
        token = issue_token(SECRET, org="local", user="me", role=Role.OWNER, hours=1, now=datetime.now(UTC))
        api = Api(url, token)
        viewer = Viewer(url, api.token, "tour")
        async with viewer.attached() as chunks:
            sys.setprofile(note)
            try:
                assert 202 == (await api.post("tour", "/count 3 0"))[0]
                async for chunk in chunks:
                    if chunk["type"] == "finish":
                        break
                while len(entered) < len(tour):
                    await asyncio.sleep(0.01)
            finally:
                sys.setprofile(None)
    assert "1 2 3" == viewer.text
    # The reactor hears every event, so it is on its way beside the others; all the rest follow one another.
    *path, reaction = tour
    assert path == [stop for stop in entered if stop != reaction]
    assert reaction in entered
