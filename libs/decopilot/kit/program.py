"""How a service's process runs: logs, traces, event loop."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import uvloop

from decopilot.kit import logging, telemetry
from decopilot.kit.settings import Settings

SettingsT = TypeVar("SettingsT", bound=Settings)


def run(service: str, settings: SettingsT, main: Callable[[SettingsT], Awaitable[Any]]) -> None:
    """Run a service until it is told to stop (SIGTERM, SIGINT)."""
    logging.configure(settings, service)

    async def body() -> None:
        await main(settings)

    with telemetry.exporting(settings, service):
        uvloop.run(body())
