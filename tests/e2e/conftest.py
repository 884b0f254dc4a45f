from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from decopilot.cli.broker import EmbeddedBroker
from decopilot.log.store import Store
from support.browser import chromium
from support.gateways import GatewayProcess, gateway_process, until
from support.meddling import Meddler, meddling
from support.pages import Tabs, tabs
from support.stack import Stack, running_stack
from support.viewer import Api


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything as processes, shared by the tests of this folder: each has threads of its own."""
    folder: Path = tmp_path_factory.mktemp("stack")
    with running_stack(folder) as running:
        yield running


@pytest.fixture(scope="package")
def token(stack: Stack) -> str:
    return stack.token()


@pytest.fixture
def api(stack: Stack, token: str) -> Api:
    return Api(stack.url, token)


@pytest.fixture
def thread(request: pytest.FixtureRequest) -> str:
    """A thread of the test's own."""
    return str(request.node.name)[:56].replace("[", "-").replace("]", "")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Share one among the tests of a module, whose loop is that of their module: each has contexts of its own."""
    async with chromium() as launched:
        yield launched


@pytest_asyncio.fixture(loop_scope="module")
async def person(browser: Browser, stack: Stack, token: str) -> AsyncIterator[Tabs]:
    """Somebody with a browser."""
    async with tabs(browser, stack.url, token) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def meddler(stack: Stack) -> AsyncIterator[Meddler]:
    """A bad way to the gateway."""
    async with meddling(stack.url) as proxy:
        yield proxy


@pytest_asyncio.fixture(loop_scope="module")
async def distant(browser: Browser, meddler: Meddler, token: str) -> AsyncIterator[Tabs]:
    """Somebody whose browser has but that way to the gateway."""
    async with tabs(browser, meddler.url, token) as opened:
        yield opened


@pytest.fixture
async def gateways(own_broker: EmbeddedBroker, store: Store, tmp_path: Path) -> AsyncIterator[list[GatewayProcess]]:
    """Two gateways alone, over threads that the test writes itself."""
    del store  # there is something to be ready for
    async with (
        gateway_process(own_broker.url, tmp_path) as one,
        gateway_process(own_broker.url, tmp_path) as other,
    ):
        for gateway in (one, other):
            await until(partial(gateway.answers, 200))
        yield [one, other]
