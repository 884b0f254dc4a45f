"""`decopilot provision`: bring NATS to the topology that the services expect."""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping, Sequence

import typer
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import APIError, NotFoundError

from decopilot.cli.errors import CliError
from decopilot.kit import logging
from decopilot.kit.connection import ServerTooOldError, connected, forbidden, is_unauthorized
from decopilot.kit.redaction import redact
from decopilot.kit.settings import Settings, read
from decopilot.log import topology
from decopilot.log.drift import wanted_consumers
from decopilot.log.permissions import STREAMS
from decopilot.log.unfinished import UnfinishedRestoreError

TIMEOUT_S = 20.0
_TOO_MANY_REPLICAS = (10005, 10074)
"""No such cluster, or too few servers in it."""


def run() -> None:
    """Create or update every stream, bucket and consumer.

    Raises:
        CliError: NATS refuses or stays silent.
        SystemExit: the settings are wrong, which has been said (exit code 78).

    """
    settings = read(Settings)
    logging.configure(settings, "provision")
    causes: list[Exception] = []
    try:
        typer.echo(asyncio.run(_run(settings, causes)))
    except TimeoutError as error:
        message = f"Provisioning failed: {reason(settings, causes)}"
        raise CliError(message) from error
    except UnfinishedRestoreError as error:
        message = f"Provisioning failed: {error}"
        raise CliError(message) from error
    except APIError as error:
        copies = f" Does its cluster have {settings.replicas} servers, as DECOPILOT_REPLICAS says?"
        asked = copies if error.err_code in _TOO_MANY_REPLICAS else ""
        message = f"Provisioning failed: {settings.nats_url} refuses: {error.description}.{asked}"
        raise CliError(message) from error
    except (OSError, NatsError, ServerTooOldError, topology.TopologyError) as error:
        message = f"Provisioning failed: {type(error).__name__}: {error}"
        raise CliError(message) from error


async def _run(settings: Settings, causes: list[Exception]) -> str:
    def note(error: Exception) -> None:
        causes.append(error)
        if _is_refusal(error):
            # Asking again gets the same answer.
            deadline.reschedule(asyncio.get_running_loop().time())

    async with asyncio.timeout(TIMEOUT_S) as deadline, connected(settings, "provision", on_failure=note) as client:
        before = await _found(client)
        await topology.provision(client, topology.Sizes(replicas=settings.replicas))
        return _difference(before, await _found(client))


async def _found(client: Client) -> dict[str, object]:
    """Read the configuration of every stream and consumer that is there."""
    js = client.jetstream(timeout=10)
    found: dict[str, object] = {}
    for name in STREAMS:
        with contextlib.suppress(NotFoundError):
            found[name] = (await js.stream_info(name)).config
    for stream, consumer in wanted_consumers():
        with contextlib.suppress(NotFoundError):
            found[f"consumer {consumer.name}"] = (await js.consumer_info(stream, str(consumer.name))).config
    return found


def _difference(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    if not before:
        return f"Provisioned: made all {len(after)} streams and consumers."
    made = [name for name in after if name not in before]
    changed = [name for name in after if name in before and after[name] != before[name]]
    told = [f"{verb} {', '.join(names)}" for verb, names in (("made", made), ("changed", changed)) if names]
    return f"Provisioned: {'; '.join(told) or 'nothing to change'}."


def _is_refusal(error: Exception) -> bool:
    return is_unauthorized(error) or forbidden(error) is not None or isinstance(error, ssl.SSLCertVerificationError)


def reason(settings: Settings, causes: Sequence[Exception], user: str = "provision") -> str:
    """Say why nothing came of it, by all that was met meanwhile, and what to look at."""
    # Who is refused is hung up on, too, and hears of that behind it.
    cause = next(filter(_is_refusal, causes), causes[-1] if causes else None)
    url = redact(settings.nats_url)
    who = "a client without a user" if settings.nats_user is None else f"user {settings.nats_user!r}"
    if cause is not None and is_unauthorized(cause):
        return f"{url} refuses {who}. Are DECOPILOT_NATS_USER and its password those that the server has?"
    if cause is not None and (refused := forbidden(cause)):
        return f"{url} does not permit {who}: {refused[0]} to {refused[1]}. Is DECOPILOT_NATS_USER `{user}`?"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"{url} is not trusted: {cause.verify_message}. Is DECOPILOT_NATS_TLS_CA what the server is known by?"
    last = "" if cause is None else f" The last try: {str(cause) or type(cause).__name__}."
    return f"{url} did not answer within {TIMEOUT_S:g} s.{last} Is NATS there, and is DECOPILOT_NATS_URL right?"
