"""Progress: what chaos is doing, on a line that moves on a terminal, and on a plain one now and then elsewhere."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from rich.console import Console
from rich.markup import escape

from decopilot.cli.chaos.conducting import Conductor
from decopilot.cli.chaos.outcome import Outcome

LOOK_S, PLAIN_S = 1.0, 15.0


class Progress:
    """Says what is being done, and how far it is."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Say something that stays."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    @asynccontextmanager
    async def of(self, conductor: Conductor, name: str, before: Sequence[Outcome]) -> AsyncIterator[None]:
        """Show how a round goes while the context is open."""
        showing = asyncio.create_task(self._show(conductor, name, before))
        try:
            yield
        finally:
            showing.cancel()
            await asyncio.wait([showing])

    async def _show(self, conductor: Conductor, name: str, before: Sequence[Outcome]) -> None:
        faults = sum(len(one.faults) for one in before)
        runs = sum(sum(one.load.runs.values()) for one in before)
        broken = sum(len(promise.violations) for one in before for promise in one.promises)

        def line() -> str:
            evidence = conductor.evidence
            if evidence is None:
                return f"{self._clock()} {name}: {conductor.phase}"
            asked = sum(one.event.type == "run_requested" for one in evidence.recorder.events.values())
            found = broken + len(conductor.verdict.violations)
            return (
                f"{self._clock()} {name}, {conductor.phase}: {faults + len(evidence.hits):,} faults, "
                f"{runs + asked:,} runs, {found:,} violations"
            )

        if self._console.is_terminal:
            with self._console.status(escape(line())) as status:
                while True:
                    await asyncio.sleep(LOOK_S)
                    status.update(escape(line()))
        phase, said_at = "", 0.0
        while True:
            if conductor.phase != phase or time.monotonic() - said_at > PLAIN_S:
                phase, said_at = conductor.phase, time.monotonic()
                self.say(line())
            await asyncio.sleep(LOOK_S)

    def _clock(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        return f"{minutes}:{seconds:02}"
