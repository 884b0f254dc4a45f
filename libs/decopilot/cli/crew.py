"""The processes of one `up` together: started, awaited, ended in order."""

import asyncio
from collections.abc import Callable, Sequence

from decopilot.cli.errors import CliError
from decopilot.cli.logs import readable
from decopilot.cli.processes import Child, Program, Reporter

# Who asks is ended before who answers; the sum stays below the 30 s that `down` waits.
STOP_ORDER = ((("gateway",), 10.0), (("runner", "command", "reactor"), 10.0), (("nats",), 5.0))


class NotReadyError(CliError):
    """Some processes did not become ready in time; `names` says which, the message also why."""

    def __init__(self, late: Sequence[Child], timeout_s: float) -> None:
        self.names = tuple(child.program.name for child in late)
        parts = [f"Not ready after {timeout_s:g} s: {', '.join(self.names)}."]
        for child in late:
            parts.append(f"\n{child.program.name} is {child.state}: {child.reason}. Its last lines:")
            lines = [readable(child.program.name, line).plain for line in child.tail]
            parts.extend(f"  {line}" for line in lines or ["(it wrote nothing)"])
        super().__init__("\n".join(parts))


class Crew:
    """All supervised processes; their tasks belong to the group given."""

    def __init__(self, tasks: asyncio.TaskGroup, reporter: Reporter, changed: Callable[[], None]) -> None:
        self.children: list[Child] = []
        self._tasks = tasks
        self._reporter = reporter
        self._changed = changed

    def start(self, program: Program) -> Child:
        """Start a program and keep it alive."""
        child = Child(program, self._reporter, self._changed)
        self.children.append(child)
        self._tasks.create_task(child.run())
        return child

    async def ready(self, children: Sequence[Child], timeout_s: float) -> None:
        """Return once every one of `children` has been ready; raises `NotReadyError` after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as waits:
                for child in children:
                    waits.create_task(child.ready.wait())
        except TimeoutError:
            raise NotReadyError([child for child in children if not child.ready.is_set()], timeout_s) from None
        refused = [child.program.name for child in children if child.refused]
        if refused:
            message = f"{', '.join(refused)} can't run as configured; the lines above say why."
            raise CliError(message)

    async def stop(self) -> None:
        """End the gateways, then the other services, then the broker."""
        for services, grace_s in STOP_ORDER:
            async with asyncio.TaskGroup() as stops:
                for child in self.children:
                    if child.program.service in services:
                        stops.create_task(child.stop(grace_s))

    def kill(self) -> None:
        """End everything at once."""
        for child in self.children:
            child.kill()
