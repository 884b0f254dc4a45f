"""`decopilot run` before anything is asked: what it refuses, in one line, and where it asks."""

import subprocess
from pathlib import Path

import jwt
import pytest

from decopilot.cli.door import Door, find_door
from decopilot.cli.errors import CliError
from decopilot.cli.state import DataFolder, RunInfo
from support.stack import DECOPILOT

SECRET = "a secret of at least thirty-two bytes"


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    """A data folder in which an `up` runs."""
    folder = DataFolder(tmp_path)
    folder.create()
    told = {"pid": 1, "started_at": "2100-01-01T00:00:00Z", "nats_url": "", "processes": ()}
    folder.write_run(RunInfo.model_validate(told | {"web_url": "http://127.0.0.1:8099/"}))
    return folder


def test_a_running_up_is_asked_with_a_token_of_its_own(folder: DataFolder) -> None:
    with folder.locked():
        door = find_door({"DECOPILOT_JWT_SECRET": SECRET}, data_dir=folder.path, org="acme")
    assert "http://127.0.0.1:8099/" == door.url
    assert callable(door.token)
    claims = jwt.decode(door.token(), SECRET, algorithms=["HS256"])
    assert ({"acme": "owner"}, "me") == (claims["orgs"], claims["sub"])


def test_what_is_given_comes_first(folder: DataFolder) -> None:
    given = find_door({}, data_dir=folder.path, org="acme", url="https://example.org", token="t")
    assert Door("https://example.org", "t") == given
    with folder.locked():
        given = find_door({}, data_dir=folder.path, org="acme", token="t")
    assert Door("http://127.0.0.1:8099/", "t") == given


def test_a_token_of_this_machine_goes_to_no_other(folder: DataFolder) -> None:
    with folder.locked(), pytest.raises(CliError, match="A token is needed"):
        find_door({"DECOPILOT_JWT_SECRET": SECRET}, data_dir=folder.path, org="acme", url="https://example.org")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bad", "x"], "No such option: --bad"),
        ([], "Missing argument 'TEXT'"),
        (["--on-conflict", "fight", "x"], "Invalid value for '--on-conflict'"),
        (["x"], "Start it with: decopilot up --data-dir /"),
        (["--url", "http://127.0.0.1:1", "x"], "A token is needed"),
        (["--url", "http://127.0.0.1:1", "--token", "t", " "], "the text is empty"),
        (["--url", "ftp://host", "--token", "t", "x"], "is no URL of a gateway"),
        (["--url", "http://127.0.0.1:1", "--token", "t", "--thread", "a/b", "x"], "The thread id must be 1 to 64 of"),
        (["--url", "http://127.0.0.1:1", "--token", "t", "--timeout", "0.2", "x"], "No end within 0.2 s"),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_1(tmp_path: Path, arguments: list[str], said: str) -> None:
    command = [*DECOPILOT, "run", "--data-dir", str(tmp_path / "none"), "--thread", "t1", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (1, "") == (ran.returncode, ran.stdout)
    assert said in ran.stderr
    assert 1 == ran.stderr.count("\n")
