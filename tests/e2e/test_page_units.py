"""The pure modules of the page hold their rules, told by Node's own test runner."""

import subprocess
from pathlib import Path

from support.node import node

UNITS = Path(__file__).with_suffix(".mjs")


def test_the_pages_pure_modules_hold_their_rules() -> None:
    done = subprocess.run([node(), "--test", str(UNITS)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
