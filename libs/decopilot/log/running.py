"""Which services run, as far as the broker tells it without its system account."""

import asyncio

from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from decopilot.contracts import subjects
from decopilot.log.drift import wanted_consumers

LOOKS, PAUSE_S = 6, 0.25
"""Between two pulls nobody pulls, and who is busy does not for longer: one look proves nothing."""
WORKED_OFF_BY = {
    subjects.RUNNER_CONSUMER: "runner",
    subjects.TITLER_CONSUMER: "runner",
    subjects.REACTOR_CONSUMER: "reactor",
    subjects.JANITOR_CONSUMER: "reactor",
    subjects.SWEEPER_CONSUMER: "reactor",
}
"""Who waits for what consumers deliver."""
_ANSWER_S = 2.0


async def running_services(nc: Client) -> list[str]:
    """Name the services that hear commands or wait for events; gateways do neither, and are not seen.

    Takes some 1.5 s where nobody is there.

    Raises:
        nats.errors.Error, TimeoutError: the broker does not answer.

    """
    there = {"command"} if await _answers(nc) else set()
    js = nc.jetstream(timeout=10)
    durables = [(stream, str(wanted.durable_name)) for stream, wanted in wanted_consumers()]
    for look in range(LOOKS):
        there |= {WORKED_OFF_BY[name] for stream, name in durables if await _is_pulled(js, stream, name)}
        await asyncio.sleep(PAUSE_S if look < LOOKS - 1 else 0)
    return sorted(there)


async def _is_pulled(js: JetStreamContext, stream: str, consumer: str) -> bool:
    try:
        return bool((await js.consumer_info(stream, consumer)).num_waiting)
    except NotFoundError:
        return False


async def _answers(nc: Client) -> bool:
    """Ask for something that nobody grants, and that is not even a request."""
    try:
        await nc.request(subjects.command("send_message"), b"", timeout=_ANSWER_S)
    except NoRespondersError:
        return False
    except TimeoutError:
        return True  # it is there, and hangs
    return True
