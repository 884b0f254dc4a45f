"""How a service's process runs: settings, logs, traces, metrics, event loop, and a clear word where it can't."""

import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import structlog
import uvloop

from decopilot.kit import logging, metrics, telemetry
from decopilot.kit.exits import CANNOT_RUN
from decopilot.kit.settings import SettingsT, read

log = structlog.get_logger()


class ConfigurationError(Exception):
    """The configuration asks for what can't be had; the text says what, for the one who configured it."""


def run(service: str, settings_type: type[SettingsT], main: Callable[[SettingsT], Awaitable[Any]]) -> None:
    """Run a service, configured by environment, until it is told to stop (SIGTERM, SIGINT).

    What can't be is said in one line: exit code 78 where the configuration is to be mended, 1 where the machine
    stands in the way.
    """
    settings = read(settings_type)
    logging.configure(settings, service)

    async def body() -> None:
        await main(settings)

    with telemetry.exporting(settings, service), metrics.exporting(settings, service):
        try:
            uvloop.run(body())
        except* ConfigurationError as errors:
            log.error("cannot_run", errors=[str(error) for error in _each(errors)])  # noqa: TRY400  no bug of ours
            sys.exit(CANNOT_RUN)
        except* OSError as errors:
            log.error("cannot_run", errors=[str(error) for error in _each(errors)])  # noqa: TRY400  no bug of ours
            sys.exit(1)


def _each(errors: BaseExceptionGroup[Exception]) -> Iterator[BaseException]:
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _each(error)
        else:
            yield error
