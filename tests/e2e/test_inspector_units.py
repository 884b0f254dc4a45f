"""The pure modules of the run inspector hold their rules, told by Node's own test runner."""

import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).with_suffix(".mjs")


def test_the_inspectors_pure_modules_hold_their_rules() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node")
    done = subprocess.run([node, "--test", str(UNITS)], capture_output=True, text=True, timeout=60, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr
