"""What is left of a service after a rush: `python tests/bench/rush.py [--json FILE]`.

For some seconds many more wishes come than `command` can grant, each asked as a gateway asks; then a few a second.
What counts is how many of those few are answered, and how fast.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from decopilot.contracts.commands import CANCEL_RUN, CancelRun, Receipt
from decopilot.contracts.ids import OrgId, ThreadId, UserId
from decopilot.kit.connection import connected
from decopilot_gateway.commanding import Commander
from decopilot_gateway.problems import ProblemError
from support.stack import Stack, running_stack

ORG, USER = OrgId("local"), UserId("me")
BREATH_S = 1.0
"""The first moment after the rush counts for neither."""
ROUND_S = 0.02
UNANSWERED = {"broker_unavailable", "command_unavailable"}


@dataclass(slots=True)
class Phase:
    """What was asked in a part of the time, and how long each answer took, in seconds."""

    asked: int = 0
    answered_s: list[float] = field(default_factory=list)

    def told(self) -> dict[str, object]:
        """Tell it in figures."""
        p50 = statistics.median(self.answered_s) if self.answered_s else None
        return {"asked": self.asked, "answered": len(self.answered_s), "p50_ms": p50 and round(p50 * 1000, 2)}


def main() -> None:
    """Measure, and print or write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rush", type=int, default=3000, help="wishes a second while there is a rush")
    parser.add_argument("--calm", type=int, default=20, help="wishes a second behind it")
    parser.add_argument("--seconds", type=float, default=12.0, help="of rush, and as many of calm")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder)) as stack:
        rush, calm = asyncio.run(_measure(stack, asked.rush, asked.calm, asked.seconds))
    text = json.dumps({"rush": rush.told(), "calm": calm.told()}, indent=1)
    if asked.json is not None:
        asked.json.write_text(text + "\n")
    print(text)  # noqa: T201


async def _measure(stack: Stack, rush_pace: int, calm_pace: int, seconds: float) -> tuple[Phase, Phase]:
    rush, calm = Phase(), Phase()
    async with connected(stack.operator, "bench") as nc, asyncio.TaskGroup() as wishes:
        commander = Commander(nc)
        await _wish(commander, wishes, rush, rush_pace, seconds)
        await _wish(commander, wishes, Phase(), calm_pace, BREATH_S)
        await _wish(commander, wishes, calm, calm_pace, seconds)
    return rush, calm


async def _wish(commander: Commander, wishes: asyncio.TaskGroup, phase: Phase, pace: int, seconds: float) -> None:
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        for _ in range(round(passed * pace) - phase.asked):
            phase.asked += 1
            wishes.create_task(_ask(commander, phase, ThreadId(f"t{phase.asked}")))
        await asyncio.sleep(ROUND_S)


async def _ask(commander: Commander, phase: Phase, thread: ThreadId) -> None:
    """Wish something that is answered without anything else beginning: the end of what never began."""
    began = time.monotonic()
    try:
        await commander.ask(CANCEL_RUN, CancelRun(org=ORG, thread=thread, user=USER, role="member"), Receipt)
    except ProblemError as problem:
        if problem.code in UNANSWERED:
            return
    phase.answered_s.append(time.monotonic() - began)


if __name__ == "__main__":
    main()
