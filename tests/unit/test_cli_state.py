import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from decopilot.cli.errors import CliError
from decopilot.cli.ports import FIRST, LAST, is_free, next_port, random_port
from decopilot.cli.state import DataFolder, FolderTakenError, ProcessInfo, RunInfo, write_private
from decopilot.log.permissions import USERS

INFO = RunInfo(
    pid=1,
    started_at=datetime(2025, 1, 2, tzinfo=UTC),
    nats_url="nats://127.0.0.1:4222",
    web_url="http://127.0.0.1:8080/",
    processes=(ProcessInfo(service="nats", index=1, pid=7, port=4222, health_url="http://x/", state="ready"),),
)


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    made = DataFolder(tmp_path / "data")
    made.create()
    return made


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_folder_is_private_and_out_of_version_control(folder: DataFolder) -> None:
    assert mode(folder.path) == 0o700
    assert (folder.path / ".gitignore").read_text() == "*\n"


def test_a_folder_that_can_not_be_made_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(CliError, match="Can't use"):
        DataFolder(tmp_path / "file" / "data").create()


def test_secrets_are_long_private_different_and_kept(folder: DataFolder) -> None:
    secret, passwords = folder.jwt_secret({}), folder.nats_passwords(USERS)

    assert set(USERS) == set(passwords)
    assert len({secret, *passwords.values()}) == 1 + len(USERS)
    assert min(map(len, (secret, *passwords.values()))) >= 43
    assert {0o600} == {mode(folder.path / name) for name in ("jwt-secret", *(f"nats-{user}" for user in USERS))}
    again = DataFolder(folder.path)
    assert (secret, passwords) == (again.jwt_secret({}), again.nats_passwords(USERS))


def test_a_secret_that_others_could_read_is_closed_to_them(folder: DataFolder) -> None:
    folder.jwt_secret({})
    (folder.path / "jwt-secret").chmod(0o644)

    folder.jwt_secret({})

    assert mode(folder.path / "jwt-secret") == 0o600


def test_two_that_make_the_secret_at_once_get_the_same_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: DataFolder(tmp_path / "data").jwt_secret({}), range(32)))

    assert len(secrets) == 1
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [".gitignore", "jwt-secret"]


def test_an_empty_secret_is_refused(folder: DataFolder) -> None:
    (folder.path / "jwt-secret").write_text("\n")

    with pytest.raises(CliError, match="is empty"):
        folder.jwt_secret({})


def test_a_folder_in_use_is_refused_and_its_holder_named(folder: DataFolder) -> None:
    code = (
        "import sys, pathlib; from decopilot.cli.state import DataFolder\n"
        "with DataFolder(pathlib.Path(sys.argv[1])).locked(): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(FolderTakenError, match=f"pid {other.pid}") as refused, folder.locked():
            pass
        assert refused.value.pid == other.pid == folder.holder()
        other.kill()

    assert folder.holder() is None


def test_a_lock_ends_with_its_holder(folder: DataFolder) -> None:
    with folder.locked():
        assert folder.holder() is not None
    with folder.locked():
        pass
    assert folder.holder() is None


def test_nothing_runs_in_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    missing = DataFolder(tmp_path / "none")

    assert missing.holder() is None
    with pytest.raises(CliError, match="Nothing runs"):
        missing.read_run()
    assert not (tmp_path / "none").exists()


def test_what_runs_is_told_privately_and_forgotten_at_the_end(folder: DataFolder) -> None:
    with folder.locked():
        folder.write_run(INFO)
        assert folder.read_run() == INFO
        assert mode(folder.path / "run.json") == 0o600

        folder.forget_run()
        with pytest.raises(CliError, match="only just starting"):
            folder.read_run()


def test_what_an_up_told_before_it_was_killed_is_not_believed(folder: DataFolder) -> None:
    folder.write_run(INFO)

    with pytest.raises(CliError, match="Nothing runs"):
        folder.read_run()


def test_a_file_that_can_not_be_written_leaves_the_old_one_and_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_private(path, "old")

    with pytest.raises(UnicodeEncodeError):
        write_private(path, "\ud800")

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_ports_for_children_are_never_lent_to_outgoing_connections() -> None:
    assert FIRST <= random_port() < LAST <= 32_768


def test_a_port_that_somebody_listens_on_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", random_port())) as server:
        port = server.getsockname()[1]

        assert not is_free(port)
        assert next_port(port, {port + 1}) > port + 1
