"""Holding a run: whoever drives one answers when asked, so that a slow broker is not taken for a dead runner."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.client import Client
from nats.aio.msg import Msg
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


class Holding:
    """Answers for the runs of this process, and asks for those of others."""

    def __init__(self, nc: Client, runner_id: str, gaps: Gaps) -> None:
        self._nc = nc
        self._answer = runner_id.encode()
        self._gaps = gaps
        self._held: set[RunId] = set()

    @asynccontextmanager
    async def held(self, org: OrgId, run: RunId, woken: asyncio.Event) -> AsyncIterator[None]:
        """Answer for a run while the context is open; a signal that is no question sets `woken`."""

        async def answer(msg: Msg) -> None:
            if msg.reply:
                await msg.respond(self._answer)
            else:
                woken.set()

        subscription = await self._nc.subscribe(subjects.signal(org, run), cb=answer)
        self._held.add(run)
        try:
            yield
        finally:
            self._held.discard(run)
            if not self._nc.is_closed:
                await subscription.unsubscribe()

    async def may_be_held(self, org: OrgId, run: RunId) -> bool:
        """Tell whether a runner may still drive the run: it is our own, its runner answers, or nobody can tell.

        Half a second of silence is a no, but only from a broker that answers itself: after its restart an item
        comes again before the runner that drives it is back, and a broker that hangs carries no answers.
        """
        if run in self._held:
            return True
        for _ in range(2):
            try:
                await self._nc.request(subjects.signal(org, run), b"", timeout=ASK_TIMEOUT_S)
            except NoRespondersError:
                return not self._gaps.is_settled
            except (NatsError, TimeoutError):
                if not await broker_answers(self._nc, ASK_TIMEOUT_S):
                    return True
            else:
                return True
        return not self._gaps.is_settled
