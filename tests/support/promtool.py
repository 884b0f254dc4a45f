"""Prometheus' own tool."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def promtool(*arguments: str | Path, stdin: str = "") -> str:
    """Run it, which must succeed; without it the test is NOT RUN on a developer's machine, and fails in CI."""
    found = shutil.which("promtool")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is missing: sudo apt-get install -y prometheus")
        pytest.skip("NOT RUN: promtool is missing: sudo apt-get install -y prometheus")
    ran = subprocess.run([found, *arguments], input=stdin, capture_output=True, text=True, timeout=100, check=False)
    assert 0 == ran.returncode, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr
