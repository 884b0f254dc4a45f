"""How long viewers and people wait when nodes of a cluster fail under load: `.venv/bin/python tests/bench/cluster.py`.

Some ten minutes; one JSON object to `--json FILE`, else to the terminal. `--only NAME` for one of the disturbances.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from decopilot.contracts import subjects
from decopilot.log.store import Store
from rolling.silence import silences
from support.brokers import be_operator
from support.cluster import Cluster, clustered
from support.disturbed import Disturbed, disturbed
from support.wires import Wires, wires

AWAY_S = 12.0
"""For how long a node is out of touch: longer than it takes the others to elect (4 to 9 s)."""
STREAMS = (subjects.EVENTS_STREAM, subjects.CHUNKS_STREAM)

Strike = Callable[[Cluster, Store, Wires, str], Awaitable[None]]
"""What befalls a node; returns when it is over, and the cluster is whole."""


async def _nothing(cluster: Cluster, store: Store, wires: Wires, name: str) -> None:
    await asyncio.sleep(AWAY_S)


async def _step_down(cluster: Cluster, store: Store, wires: Wires, name: str) -> None:
    for stream in STREAMS:
        await cluster.step_down(store, stream)


async def _kill(cluster: Cluster, store: Store, wires: Wires, name: str) -> None:
    await cluster.kill(name)
    await asyncio.sleep(AWAY_S)
    await cluster.start(name)


async def _freeze(cluster: Cluster, store: Store, wires: Wires, name: str) -> None:
    cluster.freeze(name)
    await asyncio.sleep(AWAY_S)
    cluster.thaw(name)
    await cluster.is_whole()


async def _part(cluster: Cluster, store: Store, wires: Wires, name: str) -> None:
    wires.cut(name)
    await asyncio.sleep(AWAY_S)
    wires.heal()
    await cluster.is_whole()


async def _stop(cluster: Cluster, store: Store, wires: Wires, name: str) -> None:
    await asyncio.to_thread(cluster.nodes[name].stop)
    await asyncio.sleep(AWAY_S)
    await cluster.start(name)


STRIKES: dict[str, Strike] = {
    "nothing": _nothing,
    "stepped down": _step_down,
    "stopped": _stop,
    "killed": _kill,
    "frozen": _freeze,
    "cut off": _part,
}


async def _measure(root: Path, role: str, what: str, times: int) -> dict[str, object]:
    """Have one thing befall the leader of events and chunks, or a follower, some times."""
    strike = STRIKES[what]

    with ExitStack() as stack:
        laid = stack.enter_context(wires())
        cluster = stack.enter_context(clustered(root / "nats", wires=laid))

        async def disturb(running: Disturbed) -> None:
            store = running.recorder.store
            for number in range(times):
                # Of both streams in turn: each may be led by another node.
                stream = STREAMS[number % len(STREAMS)]
                leader = await cluster.leader_of(store, stream)
                followers = await cluster.followers_of(store, stream)
                await strike(cluster, store, laid, leader if role == "leader" else followers[number % 2])
                await running.flows()

        began = time.monotonic()
        async with disturbed(cluster, root, disturb) as running:
            evidence = await running.judged()
            took = sorted(one.took_s for one in running.accepted)
            return {
                "who": role,
                "what": what,
                "times": times,
                "accepted": len(took),
                "accept_p50_s": round(took[len(took) // 2], 3),
                "accept_max_s": round(took[-1], 2),
                "runs": sum(len(thread.runs) for thread in evidence.threads.values()),
                "attempts": sum(len(run.starts) for thread in evidence.threads.values() for run in thread.runs.values()),
                "viewers": {name: value for name, value in asdict(silences(evidence)).items()},
                "checks": sum(running.verdict.checks.values()),
                "violations": running.verdict.violations,
                "took_s": round(time.monotonic() - began),
            }


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--times", type=int, default=2)
    given = parser.parse_args()
    be_operator()
    rows = []
    cases = [("nobody", "nothing")] + [(role, what) for role in ("leader", "follower") for what in list(STRIKES)[1:]]
    cases.remove(("follower", "stepped down"))
    for role, what in cases:
        if given.only not in f"{role} {what}":
            continue
        with tempfile.TemporaryDirectory() as root:
            rows.append(asyncio.run(_measure(Path(root), role, what, given.times)))
        print(json.dumps(rows[-1]), file=sys.stderr)  # noqa: T201
    text = json.dumps({"rows": rows}, indent=1)
    if given.json is None:
        print(text)  # noqa: T201
    else:
        given.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
