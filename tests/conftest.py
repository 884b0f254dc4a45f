"""Fixtures: a broker of one's own per test, the log's room over it, and everything as processes."""

import random
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis

from decopilot.cli.broker import EmbeddedBroker
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.store import Store
from decopilot.log.topology import provision
from support.brokers import ContainerBroker, be_operator, embedded

be_operator()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--nats",
        choices=("binary", "container"),
        default="binary",
        help="where tests get NATS from: an own nats-server process each, or a Docker engine (testcontainers)",
    )
    parser.addoption("--seed", type=int, help="what tests that leave something to chance draw from")
    parser.addoption("--fuzz", type=float, default=1.0, help="how many times as many examples and calls are tried")
    parser.addoption("--chaos-seed", type=int, help="what the chaos run draws its load and its faults from")
    parser.addoption("--chaos-seconds", type=float, help="for how long the chaos run goes on")
    parser.addoption("--screenshot", help="where to write the terminal's picture, as docs/client.md shows it")


def pytest_configure(config: pytest.Config) -> None:
    # How long an example takes says something about the machine.
    hypothesis.register_profile("ours", deadline=None, max_examples=max(1, int(100 * config.getoption("--fuzz"))))
    hypothesis.load_profile("ours")


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Chance, as `--seed` says; by default another one every time."""
    given = request.config.getoption("--seed")
    seed = secrets.randbelow(1_000_000) if given is None else given
    print(f"--seed {seed}")  # noqa: T201  shown where the test fails
    return random.Random(seed)


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A nats-server process that a test may kill, stop and restart."""
    with embedded(tmp_path / "nats") as broker:
        yield broker


@pytest.fixture
def broker_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty broker."""
    if request.config.getoption("--nats") == "container":
        with ContainerBroker() as broker:
            yield broker.url
    else:
        yield request.getfixturevalue("own_broker").url


@pytest.fixture
def settings(broker_url: str) -> Settings:
    """Settings that lead to the broker."""
    return Settings(nats_url=broker_url, instance="test")


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    """A store over a provisioned broker."""
    async with connected(settings, "test") as nc, Store(nc) as opened:
        await provision(nc)
        yield opened
