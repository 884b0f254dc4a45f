"""Asking whether somebody drives a run, so that a slow broker is not taken for a dead runner."""

import asyncio

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from decopilot.contracts import subjects
from decopilot.contracts.ids import OrgId, RunId
from decopilot.kit.health import broker_answers

ASK_TIMEOUT_S = 0.5
SETTLED_S = 2.0
"""So long after the broker came back, everybody who lives has come back too."""


class Gaps:
    """When this process last had the broker out of sight; one that has just come begins with a gap.

    What it meets may be a broker that has just come too, before those who hold runs have found it again.
    """

    def __init__(self, *, ago_s: float = 0.0) -> None:
        self._clock = asyncio.get_running_loop().time
        self._seen_at = self._clock() - ago_s

    async def note(self) -> None:
        """Take note that the connection is there, and was not a moment ago."""
        self._seen_at = self._clock()

    @property
    def is_settled(self) -> bool:
        """Whether it was long enough ago."""
        return self._clock() - self._seen_at >= SETTLED_S


async def may_be_held(nc: Client, gaps: Gaps, org: OrgId, run: RunId) -> bool:
    """Tell whether a runner may still drive the run: it answers, or nobody can tell.

    Half a second of silence is a no, but only from a broker that answers itself: after its restart an item
    comes again before the runner that drives it is back, and a broker that hangs carries no answers.
    """
    for _ in range(2):
        try:
            await nc.request(subjects.signal(org, run), b"", timeout=ASK_TIMEOUT_S)
        except NoRespondersError:
            return not gaps.is_settled
        except (NatsError, TimeoutError):
            if not await broker_answers(nc, ASK_TIMEOUT_S):
                return True
        else:
            return True
    return not gaps.is_settled
