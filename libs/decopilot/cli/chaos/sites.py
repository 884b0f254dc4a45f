"""The sites there are: a stack of our own, and a deployment of somebody's."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from decopilot.cli.chaos.evidence import Limits
from decopilot.cli.chaos.ground import embedded
from decopilot.cli.chaos.odds import CLOCKS
from decopilot.cli.chaos.orders import Orders
from decopilot.cli.chaos.schedule import THREADS
from decopilot.cli.chaos.site import Reach, Site
from decopilot.cli.chaos.target import NO_STRANGER, Aim, Detour, aimed, limits_of, prefix

TARGET_WATCHED, TARGET_PACE = 7, 0.5
"""Of the load that a stack of our own bears: a user may send 300 messages a minute, if nobody said otherwise."""
UNMARKED = "Marks of tools can't be read from here: whether a call was executed twice was not counted."
NO_CLOCKS = "No clock was wrong: libfaketime is not there (pip install 'decopilot[chaos]')."
NO_ENDLESS = "Nobody asked for an answer that never comes: a deployment waits for such ones for minutes."

Say = Callable[[str], None]


@asynccontextmanager
async def site_of(orders: Orders, folder: Path, say: Say) -> AsyncIterator[Site]:
    """Have what was ordered; what is made is made in the folder."""
    if orders.aim is None:
        async with _own(orders, folder) as site:
            yield site
    else:
        async with _theirs(orders, orders.aim, folder, say) as site:
            yield site


@asynccontextmanager
async def _own(orders: Orders, folder: Path) -> AsyncIterator[Site]:
    limits = Limits()
    skews = any(family.name == CLOCKS.name for family in orders.families)
    servers = "3 NATS servers" if orders.nodes > 1 else "1 NATS server"
    async with embedded(folder, nodes=orders.nodes, environment=limits.environment, skews=skews) as ground:
        yield Site(
            ground,
            what=f"its own stack with {servers}, on this machine",
            reach=Reach(doors=ground.doors, breaks=ground.breaks),
            families=orders.families,
            notes=ground.notes,
            limits=limits,
            watched=THREADS - 1,
            bounds=() if ground.clocks or not skews else (NO_CLOCKS,),
        )


@asynccontextmanager
async def _theirs(orders: Orders, aim: Aim, folder: Path, say: Say) -> AsyncIterator[Site]:
    name = prefix(orders.seed)
    marks = None if aim.marks is None or not aim.marks.exists() else aim.marks
    async with aimed(aim) as target:
        say(f"Will post to threads {name}-… of the org {aim.org} at {', '.join(aim.urls)}, and to no others.")
        for command in aim.commands:
            undone = "" if command.undoes is None else f", undone by: {command.undoes}"
            say(f"Will run, now and then: {command.does}{undone}")

        async def clear(names: Sequence[str]) -> None:
            if not aim.keeps:
                deleted = await target.delete(names)
                say(f"Deleted {deleted} threads; {len(names) - deleted} more were gone already.")
            else:
                say(f"Kept: threads {name}-….")

        yield Site(
            target,
            what=", ".join(aim.urls),
            reach=Reach(
                doors=target.doors,
                org=aim.org,
                resolver=Detour(),
                breaks=target.breaks,
                is_shared=True,
                has_stranger=aim.stranger is not None,
                has_marks=marks is not None,
            ),
            families=orders.families,
            notes=marks or folder / "none",
            limits=limits_of(os.environ),
            watched=TARGET_WATCHED,
            pace=TARGET_PACE,
            hangs=False,
            prefix=name,
            reasons={} if aim.stranger is not None else {"TENANT-WALL": NO_STRANGER},
            bounds=(NO_ENDLESS,) if marks is not None else (NO_ENDLESS, UNMARKED),
            clears=clear,
        )
