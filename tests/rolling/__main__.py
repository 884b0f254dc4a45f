"""`python -m rolling`, in `tests`: the rolling restart in full. It takes some ten minutes, and a machine of its own."""

import argparse
import sys
import tempfile
from pathlib import Path

from rolling.launching import launch
from rolling.versions import following, present, previous


def main() -> int:
    """Roll twice; print what came of it, and return how many promises were broken."""
    parser = argparse.ArgumentParser(prog="python -m rolling", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--watched", type=int, default=40, help="threads with five viewers each")
    parser.add_argument("--unwatched", type=int, default=10)
    parser.add_argument("--pace", type=float, default=0.25)
    parser.add_argument("--copies", type=int, default=2, help="of each service")
    parser.add_argument("--runners", type=int, default=2)
    parser.add_argument(
        "--text", default="/count 30 500", help="what is asked on every thread before a service is replaced"
    )
    parser.add_argument("--same-environment", action="store_true", help="run the previous version in this environment")
    told = vars(parser.parse_args())
    own_environment = not told.pop("same_environment")
    folder = Path(tempfile.mkdtemp(prefix="rolling-"))
    versions = [previous(folder, own_environment=own_environment), present(), following(folder)]
    report = launch(folder, versions, **told)
    lines = [f"{name}: {report[name]}" for name in report if name not in {"table", "violations", "checks", "errors"}]
    broken = [f"VIOLATION {promise}: {text}" for promise, text in report["violations"]]
    sys.stdout.write("\n".join([f"report: {folder}", *report["table"], *lines, *broken]) + "\n")
    return min(len(broken) + len(report["lost"]), 100)


if __name__ == "__main__":
    sys.exit(main())
