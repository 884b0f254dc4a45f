"""Reacting to an event: first the views, then what the org's watchers are told of it."""

from opentelemetry.trace import SpanKind

from decopilot.contracts.events import Recorded
from decopilot.kit import telemetry
from decopilot_reactor.projecting import Projector
from decopilot_reactor.telling import Teller


class Reactor:
    """Reacts to events, each as often as it is delivered."""

    def __init__(self, projector: Projector, teller: Teller) -> None:
        self._projector = projector
        self._teller = teller

    async def react(self, recorded: Recorded) -> None:
        """Write the views up to this event, then append the watch events up to it."""
        attributes = {
            telemetry.ORG: recorded.org,
            telemetry.THREAD: recorded.thread,
            telemetry.RUN: recorded.event.run_id,
        }
        name = f"react {recorded.event.type}"
        carrier = {"traceparent": recorded.traceparent or ""}
        with telemetry.span(name, attributes, headers=carrier, kind=SpanKind.CONSUMER):
            await self._projector.project(recorded)
            await self._teller.tell(recorded)
