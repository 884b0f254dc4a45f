"""Showing what is being done: a moving line on a terminal, plain lines elsewhere."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

REFRESHES_PER_S = 2
"""Drawing takes CPU time from the publisher, which is this process."""


class Progress:
    """What is being done now, and how far it is."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Bars | None = None
        self._task: TaskID | None = None
        self._scenario = ""

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show it while the context is open."""
        if not self._console.is_terminal:
            yield
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Bars(*columns, console=self._console, transient=True, refresh_per_second=REFRESHES_PER_S) as self._bars:
            self._task = self._bars.add_task("", total=None)
            yield
        self._bars = None

    def scenario(self, name: str) -> None:
        """Say which scenario begins."""
        self._scenario = f"{name}: " if name else ""

    def step(self, text: str, total: float | None = None) -> None:
        """Say what begins, and how much of it there is."""
        if self._bars is None or self._task is None:
            self._console.print(f"{self._scenario}{text}", highlight=False, soft_wrap=True)
        else:
            self._bars.reset(self._task, description=f"{self._scenario}{text}", total=total)

    def done(self, amount: float) -> None:
        """Say how much is done."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=amount)

    @asynccontextmanager
    async def running(self, text: str, seconds: float) -> AsyncIterator[None]:
        """Say what takes so many seconds, and count them while the context is open."""
        self.step(text, seconds)
        counting = asyncio.create_task(self._count())
        try:
            yield
        finally:
            counting.cancel()
            await asyncio.wait([counting])

    async def _count(self) -> None:
        began = time.monotonic()
        while True:
            self.done(time.monotonic() - began)
            await asyncio.sleep(1 / REFRESHES_PER_S)
