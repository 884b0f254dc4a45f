"""Reacting to an event: first the views, then whose turn it is, what the org's watchers are told, and the places."""

from opentelemetry.trace import SpanKind

from decopilot.contracts.events import Recorded
from decopilot.domain.tracing import attributes_of, origin, promoter
from decopilot.kit import telemetry
from decopilot.log.ending import Ender
from decopilot.log.metrics import since_s
from decopilot_reactor.metrics import REACTION
from decopilot_reactor.placing import Placer
from decopilot_reactor.projecting import Projector
from decopilot_reactor.telling import Teller


class Reactor:
    """Reacts to events, each as often as it is delivered."""

    def __init__(self, projector: Projector, teller: Teller, ender: Ender, placer: Placer) -> None:
        self._projector = projector
        self._teller = teller
        self._ender = ender
        self._placer = placer

    async def react(self, recorded: Recorded) -> None:
        """Write the views up to this event, let the queue's head start if it may, append the watch events up to it.

        Then the places of the thread's runs are kept or given back.
        """
        attributes = {telemetry.ORG: recorded.org, telemetry.THREAD: recorded.thread, **attributes_of(recorded.event)}
        with telemetry.span(
            f"react {recorded.event.type}",
            attributes,
            headers=origin(recorded),
            links=telemetry.link(promoter(recorded), "waited_for"),
            kind=SpanKind.CONSUMER,
        ):
            state = await self._projector.project(recorded)
            if state is not None and state.may_promote:
                # Whoever ended the last run may have died before it did so.
                await self._ender.promote(recorded.org, recorded.thread)
            await self._teller.tell(recorded, state)
            reacted_s = since_s(recorded.at)
            await self._placer.place(recorded)
            # Once, however often an event comes again for its place.
            REACTION.record(reacted_s)
