"""How long people wait when nodes of a cluster fail under load: `.venv/bin/python tests/bench/cluster.py`.

Some ten minutes; one JSON object to `--json FILE`, else to the terminal. `--only leader` or `--only killed` for a part.
"""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import structlog

from decopilot.cli.chaos.evidence import Evidence
from decopilot.contracts import subjects
from rolling.silence import gaps, silences
from support.brokers import be_operator
from support.cluster import Cluster, clustered
from support.disturbed import Accepted, Disturbed, disturbed
from support.wires import Wires, wires

AWAY_S = 12.0
"""For how long a node is away: longer than it takes the others to elect (4 to 9 s)."""
STREAMS = (subjects.EVENTS_STREAM, subjects.CHUNKS_STREAM)
ROLES = ("leader", "follower")

Strike = Callable[[Cluster, Wires, str], Awaitable[None]]
"""What befalls a node; returns when it is over, and the cluster is whole."""


async def _nothing(cluster: Cluster, laid: Wires, name: str) -> None:
    del cluster, laid, name
    await asyncio.sleep(AWAY_S)


async def _stop(cluster: Cluster, laid: Wires, name: str) -> None:
    del laid
    await asyncio.to_thread(cluster.nodes[name].stop)
    await asyncio.sleep(AWAY_S)
    await cluster.start(name)


async def _kill(cluster: Cluster, laid: Wires, name: str) -> None:
    del laid
    await cluster.kill(name)
    await asyncio.sleep(AWAY_S)
    await cluster.start(name)


async def _freeze(cluster: Cluster, laid: Wires, name: str) -> None:
    del laid
    cluster.freeze(name)
    await asyncio.sleep(AWAY_S)
    cluster.thaw(name)
    await cluster.is_whole()


async def _cut_off(cluster: Cluster, laid: Wires, name: str) -> None:
    laid.cut(name)
    await asyncio.sleep(AWAY_S)
    laid.heal()
    await cluster.is_whole()


STRIKES: dict[str, Strike] = {
    "nothing": _nothing,
    "stopped (SIGTERM)": _stop,
    "killed (SIGKILL)": _kill,
    "frozen (SIGSTOP)": _freeze,
    "cut off from the others": _cut_off,
}


@dataclass(frozen=True, slots=True)
class Window:
    """One disturbance: what befell whom, of which stream, from when to when (seconds since the epoch)."""

    what: str
    role: str
    stream: str
    began: float
    ended: float

    def meets(self, began: float, ended: float) -> bool:
        """Whether something happened within it."""
        return began < self.ended and self.began < ended


async def _disturb(running: Disturbed, laid: Wires, only: str) -> list[Window]:
    """Have everything happen, for each of the two streams: each may be led by another node."""
    cluster, store = running.cluster, running.recorder.store
    windows: list[Window] = []

    async def during(what: str, role: str, stream: str, doing: Callable[[], Awaitable[None]]) -> None:
        if only in f"{role} {what}":
            began = time.time()
            await doing()
            await running.flows()
            windows.append(Window(what, role, stream, began, time.time()))
            print(windows[-1], file=sys.stderr)  # noqa: T201

    for stream in STREAMS:
        await during("stepped down", "leader", stream, lambda stream=stream: cluster.step_down(store, stream))  # type: ignore[misc]
        for what, strike in STRIKES.items():
            for role in ROLES:
                leader = await cluster.leader_of(store, stream)
                name = leader if role == "leader" else (await cluster.followers_of(store, stream))[0]
                await during(what, role, stream, lambda strike=strike, name=name: strike(cluster, laid, name))  # type: ignore[misc]
    return windows


def _rows(windows: list[Window], evidence: Evidence, accepted: list[Accepted]) -> Iterator[dict[str, object]]:
    silent = list(gaps(evidence))
    for window in windows:
        waits = [one.took_s for one in accepted if window.meets(one.at - one.took_s, one.at)]
        pauses = [to - from_ for from_, to in silent if window.meets(from_, to)]
        yield {
            "what": window.what,
            "who": f"{window.role} of {window.stream}",
            "longest_silence_s": round(max(pauses, default=0.0), 2),
            "longest_accept_s": round(max(waits, default=0.0), 2),
            "accepted": len(waits),
        }


async def _measure(root: Path, only: str) -> dict[str, object]:
    with ExitStack() as stack:
        laid = stack.enter_context(wires())
        cluster = stack.enter_context(clustered(root / "nats", wires=laid))
        windows: list[Window] = []

        async def disturb(running: Disturbed) -> None:
            windows.extend(await _disturb(running, laid, only))

        async with disturbed(cluster, root, disturb) as running:
            evidence = await running.judged()
        runs = [run for thread in evidence.threads.values() for run in thread.runs.values()]
        return {
            "away_s": AWAY_S,
            "rows": list(_rows(windows, evidence, running.accepted)),
            "accepted": len(running.accepted),
            "runs": len(runs),
            "attempts": sum(len(run.starts) for run in runs),
            "ends": sorted({type(end).__name__ for run in runs for end in run.ends}),
            "viewers": asdict(silences(evidence)),
            "checks": sum(running.verdict.checks.values()),
            "violations": running.broken,
            "late_or_unpurged": len(running.verdict.violations) - len(running.broken),
        }


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    be_operator()
    # That a broker is away is what this is about.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as root:
        found = json.dumps(asyncio.run(_measure(Path(root), given.only)), indent=1)
    if given.json is None:
        print(found)  # noqa: T201
    else:
        given.json.write_text(found + "\n")


if __name__ == "__main__":
    main()
