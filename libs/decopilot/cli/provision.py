"""`decopilot provision`: bring NATS to the topology that the services expect."""

import asyncio

from nats.errors import Error as NatsError

from decopilot.cli.errors import CliError
from decopilot.kit import logging
from decopilot.kit.connection import ServerTooOldError, connected
from decopilot.kit.settings import Settings
from decopilot.log import topology

TIMEOUT_S = 20.0


def run() -> None:
    """Create or update every stream, bucket and consumer; raises `CliError` where NATS refuses or stays silent."""
    settings = Settings()
    logging.configure(settings, "provision")
    try:
        asyncio.run(_run(settings))
    except TimeoutError as error:
        message = (
            f"Provisioning failed: {settings.nats_url} did not answer within {TIMEOUT_S:g} s. "
            "Is NATS there, and is DECOPILOT_NATS_URL right?"
        )
        raise CliError(message) from error
    except (OSError, NatsError, ServerTooOldError, topology.TopologyError) as error:
        message = f"Provisioning failed: {type(error).__name__}: {error}"
        raise CliError(message) from error


async def _run(settings: Settings) -> None:
    async with asyncio.timeout(TIMEOUT_S), connected(settings, "provision") as client:
        await topology.provision(client, topology.Sizes(replicas=settings.replicas))
