"""A rollout under load, judged by the newest of its versions, which runs this with its own rooms ahead."""

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from decopilot.cli.chaos.conducting import Conductor
from decopilot.cli.chaos.doors import ORG, Doors
from decopilot.cli.chaos.evidence import Evidence, Limits
from decopilot.cli.chaos.judging import judge
from decopilot.cli.chaos.recorder import EVENTS, Recorder, whole
from decopilot.cli.chaos.sabotage import Hit, Saboteur
from decopilot.cli.chaos.schedule import Fault, Schedule, draw
from decopilot.cli.chaos.verdict import Verdict
from decopilot.contracts import subjects
from decopilot.kit.connection import connected
from decopilot.log.store import Store
from rolling.changes import FLAVOUR, HEADER, PRIORITY, RENAMED
from rolling.fleet import Copy, Fleet, fleet
from rolling.silence import silences
from rolling.versions import Version

READERS_FIRST = ("reactor", "runner", "command", "gateway")
"""As docs/upgrading.md has it."""
WRITERS_FIRST = ("command", "gateway", "runner", "reactor")
"""As it should not be done: what is new is written while everybody who reads it is old."""
RENAMED_S = 60.0
LOST_STREAM = "an error occurred during closing of asynchronous generator"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is rolled over to what, under which load."""

    folder: str
    versions: Sequence[Mapping[str, Any]]
    seed: int = 1
    seconds: float = 20.0
    watched: int = 4
    unwatched: int = 1
    pace: float = 0.5
    copies: int = 2
    runners: int = 1
    text: str = "/count 30 40"
    """What is asked on every thread before a service is replaced, beside what is drawn."""

    def schedule(self) -> Schedule:
        """The load."""
        return draw(self.seed, self.seconds, watched=self.watched, unwatched=self.unwatched, pace=self.pace)


class Rollout(Conductor):
    """A conductor whose disturbance is that every service is replaced, once for each further version."""

    ground: Fleet
    versions: Sequence[Version]
    took_s: list[float]
    text: str

    async def _disturb(self, saboteur: Saboteur, doors: Doors, recorder: Recorder) -> None:
        self.took_s = []
        # What is to begin as a fork must not be there before.
        threads = [plan.name for plan in self._schedule.threads]
        for version in self.versions[1:]:
            began = time.monotonic()
            await asyncio.to_thread(self.ground.provision, version)
            is_last = version is self.versions[-1]
            for service in WRITERS_FIRST if is_last else READERS_FIRST:
                await self._ask(doors, f"{version.name}-{service}", threads)
                await self.ground.replace(service, version, lambda copy: saboteur.hits.append(_left(copy)))
                if is_last and service == "command":
                    await self._rename(doors, recorder)
            self.took_s.append(round(time.monotonic() - began, 1))
        # A view is of the fold that wrote it: whatever is there goes on once with the newest.
        await self._ask(doors, "after", self._names)

    async def _ask(self, doors: Doors, mark: str, names: Sequence[str]) -> None:
        """Have runs under way wherever there is none, and others that wait their turn, while copies are replaced."""

        async def ask(name: str, url: str) -> None:
            for part, text, on_conflict in (
                ("now", self.text, "reject"),
                ("next", f"/steps 2 /note {name}-{mark}", "queue"),
            ):
                message = {"id": f"{name}-{mark}-{part}", "role": "user", "parts": [{"type": "text", "text": text}]}
                answer = await doors.call_url("POST", url, {"messages": [message], "onConflict": on_conflict})
                if answer is None or answer.status != 202:
                    return

        async with asyncio.TaskGroup() as asking:
            for number, name in enumerate(names):
                door = doors.urls[number % len(doors.urls)]
                asking.create_task(ask(name, f"{door}/{ORG}/decopilot/threads/{name}/messages"))

    async def _rename(self, doors: Doors, recorder: Recorder) -> None:
        """Have threads renamed until there are events that nobody else can read."""
        deadline = time.monotonic() + RENAMED_S
        count = 0
        while sum(recorded.event.type == RENAMED for recorded in recorder.events.values()) < 3:
            assert time.monotonic() < deadline, "nothing new is written"
            for name in self._names[::2]:
                count += 1
                url = f"{doors.urls[0]}/{ORG}/decopilot/threads/{name}"
                await doors.call_url("PATCH", url, {"title": f"Name {count}"})
            await asyncio.sleep(0.3)


def _left(copy: Copy) -> Hit:
    now = datetime.now(UTC)
    return Hit(Fault(0.0, copy.service, copy.index, "TERM"), copy.process.pid, now, now)


def _is_error(line: str) -> bool:
    # pydantic-ai loses a stream whose request is cancelled as it opens; the loop finds it at its own end.
    is_lost = LOST_STREAM in line and "pydantic_ai" in line
    return not is_lost and ('"level": "error"' in line or '"level":"error"' in line)


async def _lost(operator: Fleet) -> tuple[list[str], dict[str, int]]:
    """Find what older versions have lost of what the newest said; count what of it there was."""
    queued: dict[str, dict[str, Any]] = {}
    lost: list[str] = []
    found = {"renamed": 0, "headers": 0, "fields": 0}
    async with connected(operator.operator, "rollout") as nc, Store(nc) as store:
        for stored in await whole(store, subjects.EVENTS_STREAM, EVENTS):
            told = json.loads(stored.data)
            found["renamed"] += told["type"] == RENAMED
            found["headers"] += HEADER in stored.headers
            if told["type"] == "run_queued" and told.get("priority") == PRIORITY:
                queued[told["run_id"]] = told
            if told["type"] == "run_requested" and told["run_id"] in queued:
                found["fields"] += 1
                if (told.get("priority"), told["config"].get("flavour")) != (PRIORITY, FLAVOUR):
                    lost.append(f"{told['run_id']} was queued with a priority and a flavour, and requested without")
    return lost, found


def _is_of_the_previous(folder: Path, promise: str, text: str) -> bool:
    """Tell whether it is the one thing that the previous version is known to do wrong, and did here.

    Where two forks were wished for at once, the one that it began may name files of its source.
    """
    begun = (
        json.loads(line)
        for file in folder.glob("command-*-previous.log")
        for line in file.read_text(errors="replace").splitlines()
        if '"fork_accepted"' in line
    )
    thread = text.partition(":")[0]
    is_gone = promise == "FILES" and f"status={HTTPStatus.NOT_FOUND.value}," in text
    return is_gone and any(told["thread"] == thread and not told["repeated"] for told in begun)


def roll(plan: Plan) -> dict[str, Any]:
    """Do it; return the verdict and the figures."""
    folder = Path(plan.folder)
    limits, verdict = Limits(), Verdict()
    notes = folder / "demo" / "notes.jsonl"
    versions = [Version(one["name"], one["tree"] and Path(one["tree"]), one["python"]) for one in plan.versions]
    environment = limits.environment | {"DECOPILOT_DEMO_DIR": str(notes.parent)}
    scale = dict.fromkeys(WRITERS_FIRST, plan.copies) | {"runner": plan.runners}
    with fleet(folder, environment) as ground:
        rollout = Rollout(ground, plan.schedule(), limits, notes, verdict)
        rollout.ground, rollout.versions, rollout.text = ground, versions, plan.text

        async def conduct() -> tuple[Evidence, list[str], dict[str, int]]:
            await ground.launch(versions[0], scale)
            evidence = await rollout.conduct()
            return evidence, *await _lost(ground)

        evidence, lost, found = asyncio.run(conduct())
        left = sum('"event_unknown"' in line or "UnknownEventError" in line for line in ground.log())
        errors = [line[:300] for line in ground.log() if _is_error(line)]
    judge(evidence, verdict)
    return {
        "versions": [version.name for version in versions],
        "rounds_s": rollout.took_s,
        "checks": dict(verdict.checks),
        "violations": [one for one in verdict.violations if not _is_of_the_previous(folder, *one)],
        "lost": lost,
        "found": found,
        "left_to_newer": left,
        "errors": errors,
        "viewers": len(evidence.viewers),
        "runs": sum(len(thread.runs) for thread in evidence.threads.values()),
        "answers": dict(evidence.ledger.answers),
        "silences": asdict(silences(evidence)),
        "table": verdict.table(),
    }


if __name__ == "__main__":
    told = json.loads(sys.stdin.read())
    Path(told["folder"], "report.json").write_text(json.dumps(roll(Plan(**told)), indent=1))
