"""How a service's process runs: settings, logs, traces, event loop, and a clear word where it can't."""

import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog
import uvloop
from pydantic import ValidationError

from decopilot.kit import logging, telemetry
from decopilot.kit.settings import Settings

SettingsT = TypeVar("SettingsT", bound=Settings)

log = structlog.get_logger()


def run(service: str, settings_type: type[SettingsT], main: Callable[[SettingsT], Awaitable[Any]]) -> None:
    """Run a service, configured by environment, until it is told to stop (SIGTERM, SIGINT).

    What the environment or the machine does not allow ends the process with exit code 1 and says why.
    """
    settings = _read(settings_type)
    logging.configure(settings, service)

    async def body() -> None:
        await main(settings)

    with telemetry.exporting(settings, service):
        try:
            uvloop.run(body())
        except* OSError as errors:
            log.error("cannot_run", errors=[str(error) for error in errors.exceptions])  # noqa: TRY400  no bug of ours
            sys.exit(1)


def _read(settings_type: type[SettingsT]) -> SettingsT:
    try:
        return settings_type()
    except ValidationError as error:
        prefix = settings_type.model_config.get("env_prefix", "")
        for entry in error.errors(include_url=False, include_context=False, include_input=False):
            name = "_".join(map(str, entry["loc"])).upper()
            sys.stderr.write(f"{prefix}{name}: {entry['msg']}\n")
        sys.exit(1)
