"""`decopilot provision` tells what it did, and what it was refused."""

import os
import subprocess
import sys
from pathlib import Path

from support.brokers import embedded, login_environment


def provision(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DECOPILOT_")}
    command = [sys.executable, "-m", "decopilot.cli", "provision"]
    return subprocess.run(command, env=kept | environment, capture_output=True, text=True, timeout=120, check=False)


def test_it_tells_what_it_made_and_changed_and_that_a_single_server_keeps_no_copies(tmp_path: Path) -> None:
    with embedded(tmp_path / "broker") as broker:
        environment = login_environment(broker.url, "provision")
        assert "Provisioned: made all 15 streams and consumers.\n" == provision(environment).stdout
        assert "Provisioned: nothing to change.\n" == provision(environment).stdout
        refused = provision({**environment, "DECOPILOT_REPLICAS": "3"})
    assert 1 == refused.returncode
    assert "Does its cluster have 3 servers, as DECOPILOT_REPLICAS says" in refused.stderr
