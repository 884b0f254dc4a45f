"""Peers beside one another, in one run, read by one client: `python -m bench.peers --json FILE`, in `tests`."""

import argparse
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from bench.peers.apps import DurableStreams, ResumableStream
from bench.peers.langgraph import LangGraph
from bench.peers.measuring import measure
from bench.peers.nchan import Nchan
from bench.peers.ours import Decopilot
from bench.peers.peer import Peer
from bench.peers.plot import plot
from bench.peers.results import Report
from bench.peers.scenarios import Sizes
from bench.peers.table import table

PEERS: dict[str, Callable[[], Peer]] = {
    "ours": Decopilot,
    "durable-file": lambda: DurableStreams(durable=True),
    "durable-memory": DurableStreams,
    "resumable": ResumableStream,
    "resumable-always": lambda: ResumableStream(durable=True),
    "langgraph": LangGraph,
    "nchan": Nchan,
}
QUICK = Sizes(
    readers=(1, 20), fanout_chunks=100, replay_chunks=2_000, reads=2, attaches=5, drops=5, kills=1, silence_s=12.0
)


async def run(names: list[str], sizes: Sizes) -> Report:
    """Measure one peer after the other."""
    began, at = time.monotonic(), datetime.now(UTC)
    found = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix=f"peers-{name}-") as folder:
            found.append(await measure(PEERS[name](), Path(folder), sizes, lambda line: print(line, file=sys.stderr)))  # noqa: T201
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    return Report(
        at=at.isoformat(timespec="seconds"),
        machine=machine,
        took_s=time.monotonic() - began,
        sizes=asdict(sizes),
        peers=tuple(found),
    )


def main() -> None:
    """Measure; print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=list(PEERS), help="measure this one; may come again")
    parser.add_argument("--quick", action="store_true", help="little of everything: does it work at all?")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--plot", type=Path, help="draw here (SVG)")
    parser.add_argument("--again", type=Path, help="measure nothing: make table and plot of this JSON")
    told = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if told.again:
        report = Report.model_validate_json(told.again.read_bytes())
    else:
        report = uvloop.run(run(told.only or list(PEERS), QUICK if told.quick else Sizes()))
    if told.json:
        told.json.write_text(report.model_dump_json(indent=1) + "\n")
    if told.plot:
        plot(report, told.plot)
    sys.stdout.write(table(report))


if __name__ == "__main__":
    main()
