"""The pure modules of the run inspector hold their rules, told by Node's own test runner."""

import subprocess
from pathlib import Path

from support.node import node

UNITS = Path(__file__).with_suffix(".mjs")


def test_the_inspectors_pure_modules_hold_their_rules() -> None:
    done = subprocess.run([node(), "--test", str(UNITS)], capture_output=True, text=True, timeout=60, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr
