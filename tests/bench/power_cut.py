"""What a power cut takes, by `sync_interval`, and what that costs: `.venv/bin/python tests/bench/power_cut.py` as root.

Some thirty minutes; one JSON object to `--json FILE`, else to the terminal. `--only` takes a part.
"""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import structlog

from support.aftermath import aftermath
from support.brokers import be_operator
from support.losing import SERVERS_DEFAULT, all_at_once, losses, one_while_others_lag, the_leader
from support.pricing import price, raw_sync_ms

PARTS = ("price", "losses", "people")
INTERVALS = (SERVERS_DEFAULT, "1s", "always")
AGE_S = 45.0
"""From a stream's making to the cut: longer than the kernel leaves anything unwritten (30 s)."""
YOUNG_S = 10.0
CASES = {
    "R1": (1, all_at_once(AGE_S)),
    "R1, of a stream that is 10 s old": (1, all_at_once(YOUNG_S)),
    "R3, the leader": (3, the_leader(AGE_S)),
    "R3, all at once": (3, all_at_once(AGE_S)),
    "R3, a follower; of the others each is out of touch once": (3, one_while_others_lag(AGE_S)),
}


def _price(root: Path) -> Iterator[dict[str, object]]:
    for replicas in (1, 3):
        for sync_interval in INTERVALS:
            with tempfile.TemporaryDirectory(dir=root) as folder:
                yield from asyncio.run(price(Path(folder), sync_interval, replicas))


def _losses(root: Path, wanted: str) -> Iterator[dict[str, object]]:
    for case, (replicas, cut) in CASES.items():
        if wanted not in case:
            continue
        for sync_interval in INTERVALS:
            with tempfile.TemporaryDirectory(dir=root) as folder:
                found = asyncio.run(losses(Path(folder), sync_interval, replicas, cut))
            yield {"cut": case, "sync_interval": sync_interval} | found


def _people(root: Path) -> Iterator[dict[str, object]]:
    for sync_interval in INTERVALS:
        with tempfile.TemporaryDirectory(dir=root) as folder:
            yield {"sync_interval": sync_interval} | asyncio.run(aftermath(Path(folder), sync_interval, AGE_S))


def _told(rows: Iterator[dict[str, object]]) -> list[dict[str, object]]:
    found = []
    for row in rows:
        print(json.dumps(row), file=sys.stderr)  # noqa: T201
        found.append(row)
    return found


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--case", default="", help="of the losses, those whose name has this in it")
    given = parser.parse_args()
    be_operator()
    # That a broker is away is what this is about.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    measures = {"price": _price, "losses": lambda root: _losses(root, given.case), "people": _people}
    with tempfile.TemporaryDirectory() as root:
        found: dict[str, object] = {"raw_fsync_ms": raw_sync_ms(Path(root))}
        for part in PARTS if given.only is None else (given.only,):
            found[part] = _told(measures[part](Path(root)))
    text = json.dumps(found, indent=1)
    if given.json is None:
        print(text)  # noqa: T201
    else:
        given.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
