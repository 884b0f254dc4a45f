"""Which services run, as far as the broker tells it without its system account."""

from collections.abc import Mapping

from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.js.errors import NotFoundError

from decopilot.contracts import subjects

_ANSWER_S = 2.0
_SERVICES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "runner": (
        (subjects.EVENTS_STREAM, subjects.RUNNER_CONSUMER),
        (subjects.EVENTS_STREAM, subjects.TITLER_CONSUMER),
    ),
    "reactor": (
        (subjects.EVENTS_STREAM, subjects.REACTOR_CONSUMER),
        (subjects.EVENTS_STREAM, subjects.JANITOR_CONSUMER),
        (subjects.BLOBS_STREAM, subjects.SWEEPER_CONSUMER),
    ),
}
"""Who waits for what consumers deliver."""


async def running_services(nc: Client) -> list[str]:
    """Name the services that hear commands or wait for events; gateways do neither, and are not seen.

    Raises:
        nats.errors.Error, TimeoutError: the broker does not answer.

    """
    there = ["command"] if await _answers(nc) else []
    js = nc.jetstream(timeout=10)
    for service, consumers in _SERVICES.items():
        for stream, consumer in consumers:
            try:
                waiting = (await js.consumer_info(stream, consumer)).num_waiting
            except NotFoundError:
                continue
            if waiting:
                there.append(service)
                break
    return there


async def _answers(nc: Client) -> bool:
    """Ask for something that nobody grants, and that is not even a request."""
    try:
        await nc.request(subjects.command("send_message"), b"", timeout=_ANSWER_S)
    except NoRespondersError:
        return False
    except TimeoutError:
        return True  # it is there, and hangs
    return True
