"""The lineage of an attempt: what came before it, as links of its span and, of a dead runner, as a span (ADR 0046)."""

from contextlib import suppress

from opentelemetry.trace import Link

from decopilot.contracts.events import Recorded, UnknownEventError
from decopilot.domain.tracing import attempt_span_id, promoter
from decopilot.kit import telemetry
from decopilot.log.chunklog import ChunkLog
from decopilot.log.ending import Attempt
from decopilot.log.journal import Journal
from decopilot.log.signs import signs_of
from decopilot.log.store import UNCERTAIN


class Lineage:
    """Reads what came before an attempt, where it is traced: no trace is worth a run."""

    def __init__(self, journal: Journal, chunks: ChunkLog) -> None:
        self._journal = journal
        self._chunks = chunks

    async def links(self, recorded: Recorded, attempt: Attempt) -> list[Link]:
        """Link to the attempt before, to what gave the run its turn, and to the run that it goes on with."""
        found = telemetry.link(promoter(recorded), "waited_for")
        if attempt.number > 1:
            found += telemetry.link_beside(attempt_span_id(attempt.run, attempt.number - 1), "earlier_attempt")
        if attempt.requested.continues is not None and telemetry.is_traced():
            with suppress(UnknownEventError, *UNCERTAIN):
                waited = await self._journal.last(attempt.org, attempt.thread, "run_requires_action")
                if waited is not None and getattr(waited.event, "run_id", None) == attempt.requested.continues:
                    found += telemetry.link(waited.traceparent, "continues")
        return found

    async def tell_lost(self, attempt: Attempt) -> None:
        """Write the span of an attempt whose runner is gone."""
        if not telemetry.is_traced():
            return
        with suppress(UnknownEventError, *UNCERTAIN):
            signs = await signs_of(self._journal, self._chunks, attempt)
            if signs is not None:
                telemetry.lost_attempt(signs)
