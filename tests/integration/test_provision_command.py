"""`decopilot provision` tells what it did, and what it was refused."""

from pathlib import Path

import pytest

from decopilot.cli.errors import CliError
from decopilot.cli.provision import run
from support.brokers import embedded, login_environment


def test_it_tells_what_it_made_and_changed_and_that_a_single_server_keeps_no_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with embedded(tmp_path / "broker") as broker:
        for name, value in login_environment(broker.url, "provision").items():
            monkeypatch.setenv(name, value)
        run()
        assert "Provisioned: made all 15 streams and consumers.\n" == capsys.readouterr().out
        run()
        assert "Provisioned: nothing to change.\n" == capsys.readouterr().out
        monkeypatch.setenv("DECOPILOT_REPLICAS", "3")
        with pytest.raises(CliError, match="Does its cluster have 3 servers, as DECOPILOT_REPLICAS says"):
            run()
