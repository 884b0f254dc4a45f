"""What a power cut takes, by `sync_interval`, and what that costs: `.venv/bin/python tests/bench/power_cut.py` as root.

Some twenty minutes; one JSON object to `--json FILE`, else to the terminal. `--only price|losses|services` for a part.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.brokers import be_operator
from support.losing import SERVERS_DEFAULT, all_at_once, losses, one_while_others_lag, the_leader

INTERVALS = (SERVERS_DEFAULT, "1s", "always")
AGE_S = 45.0
"""From a stream's making to the cut: longer than the kernel leaves anything unwritten (30 s)."""
YOUNG_S = 10.0
CASES = {
    "R1, cut": (1, all_at_once(AGE_S)),
    "R1, cut while the stream is young": (1, all_at_once(YOUNG_S)),
    "R3, the leader cut": (3, the_leader(AGE_S)),
    "R3, all three cut together": (3, all_at_once(AGE_S)),
    "R3, a follower cut while the others are out of touch in turn": (3, one_while_others_lag(AGE_S)),
}


async def _losses(root: Path, wanted: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for case, (replicas, cut) in CASES.items():
        for sync_interval in INTERVALS:
            if wanted not in case:
                continue
            with tempfile.TemporaryDirectory(dir=root) as folder:
                found = await losses(Path(folder), sync_interval, replicas, cut)
            rows.append({"case": case, "sync_interval": sync_interval} | found)
            print(json.dumps(rows[-1]), file=sys.stderr)  # noqa: T201
    return rows


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=("price", "losses", "services"))
    parser.add_argument("--case", default="")
    given = parser.parse_args()
    be_operator()
    with tempfile.TemporaryDirectory() as root:
        print(json.dumps(asyncio.run(_losses(Path(root), given.case))))


if __name__ == "__main__":
    main()
