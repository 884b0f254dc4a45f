import asyncio
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

import pytest
import trustme
from nats.aio.client import Client

from decopilot.cli.nats_binary import find_binary
from decopilot.kit.connection import Lifeline, connected
from decopilot.kit.settings import Settings
from decopilot.log.permissions import USERS
from decopilot.log.topology import provision
from support.services import Services
from support.stack import free_port

READY_S = 15.0
REFUSED_S = 2.0


def nats_config(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "decopilot.cli", "nats-config", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def told(file: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in file.read_text().splitlines())


@contextmanager
def server(configuration: Path, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run nats-server with a configuration as it was written."""
    log = configuration.with_suffix(".log")
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(find_binary()), "-c", str(configuration)], stdout=out, stderr=out, env=environment
        )
    try:
        deadline = monotonic() + READY_S
        while "Server is ready" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert monotonic() < deadline, log.read_text()
            sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(READY_S)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def arguments(tmp_path: Path, port: int) -> list[object]:
    """Where the server listens and keeps its data."""
    listen = ("--listen", f"127.0.0.1:{port}", "--monitor", f"127.0.0.1:{free_port()}")
    return [tmp_path / "nats", "--url", f"nats://127.0.0.1:{port}", *listen, "--store-dir", tmp_path / "data"]


def settings(file: Path, **more: object) -> Settings:
    """Settings as a service has them that is started with a file of variables."""
    given = {name.removeprefix("DECOPILOT_").lower(): value for name, value in told(file).items()}
    return Settings.model_validate(given | more)


async def is_let_in(given: Settings) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(REFUSED_S), connected(given, "test") as nc:
            return nc.is_connected
    return False


@asynccontextmanager
async def provisioned(folder: Path) -> AsyncIterator[Client]:
    async with asyncio.timeout(READY_S), connected(settings(folder / "provision.env"), "provision") as nc:
        await provision(nc)
        yield nc


async def test_a_server_takes_the_configuration_and_lets_each_service_in_as_itself(
    tmp_path: Path, arguments: list[object]
) -> None:
    assert 0 == nats_config(*arguments).returncode
    folder = tmp_path / "nats"
    with server(folder / "nats.conf"):
        async with provisioned(folder) as nc:
            assert 8 << 20 == nc.max_payload
        assert [True] * len(USERS) == [await is_let_in(settings(folder / f"{user}.env")) for user in USERS]
        assert not await is_let_in(settings(folder / "gateway.env", nats_user="runner"))


async def test_a_server_that_is_configured_otherwise_includes_the_users(
    tmp_path: Path, arguments: list[object], port: int
) -> None:
    assert 0 == nats_config(*arguments).returncode
    # As NATS's Helm chart has it: a configuration of its own, and the users in a folder below it.
    folder, own = tmp_path / "nats", tmp_path / "nats-config"
    (own / "users").mkdir(parents=True)
    (own / "users" / "users.conf").write_bytes((folder / "users.conf").read_bytes())
    conf = own / "nats.conf"
    conf.write_text(
        f'include users/users.conf;\n{{"port": {port}, "max_payload": 8388608, "server_name": $SERVER_NAME, '
        f'"jetstream": {{"store_dir": "{tmp_path / "data"}", "sync_interval": "always"}}}}\n'
    )
    with server(conf, {"SERVER_NAME": "nats-0"}):
        async with provisioned(folder) as nc:
            assert 8 << 20 == nc.max_payload
        assert [True] * len(USERS) == [await is_let_in(settings(folder / f"{user}.env")) for user in USERS]
        assert not await is_let_in(settings(folder / "gateway.env", nats_user="runner"))


async def test_services_become_ready_with_the_variables_of_their_files(tmp_path: Path, arguments: list[object]) -> None:
    assert 0 == nats_config(*arguments).returncode
    folder, services = tmp_path / "nats", Services(tmp_path, "")
    with server(folder / "nats.conf"):
        async with provisioned(folder):
            pass
        try:
            for name in ("command", "runner", "reactor"):
                given = settings(folder / f"{name}.env")
                own = {"nats_url": given.nats_url, "nats_user": given.nats_user, "nats_password": given.nats_secret}
                await services.start(name, **own).ready()
        finally:
            services.end()
    assert [[], [], []] == [service.complaints() for service in services.started]


def test_what_is_written_is_private_and_each_file_holds_one_secret(tmp_path: Path, arguments: list[object]) -> None:
    ran = nats_config(*arguments)
    folder = tmp_path / "nats"
    assert {".gitignore", "nats.conf", "users.conf", *(f"{user}.env" for user in USERS)} == {
        file.name for file in folder.iterdir()
    }
    assert {0o600} == {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    passwords = {user: told(folder / f"{user}.env")["DECOPILOT_NATS_PASSWORD"] for user in USERS}
    assert len(USERS) == len(set(passwords.values()))
    assert min(map(len, passwords.values())) >= 43
    for user in USERS:
        assert user == told(folder / f"{user}.env")["DECOPILOT_NATS_USER"]
        assert [user] == [other for other in USERS if passwords[other] in (folder / f"{user}.env").read_text()]
    assert not any(password in ran.stdout + ran.stderr for password in passwords.values())


def test_passwords_stay_when_the_configuration_is_written_anew_unless_new_ones_are_asked_for(
    tmp_path: Path, arguments: list[object]
) -> None:
    files = [tmp_path / "nats" / f"{user}.env" for user in USERS]

    def passwords(*more: str) -> list[str]:
        assert 0 == nats_config(*arguments, *more).returncode
        return [told(file)["DECOPILOT_NATS_PASSWORD"] for file in files]

    first = passwords()
    files[0].chmod(0o644)
    assert first == passwords()
    assert 0o600 == stat.S_IMODE(files[0].stat().st_mode)
    assert set() == set(first) & set(passwords("--new-passwords"))


def test_a_file_without_a_password_is_no_reason_to_make_one_silently(tmp_path: Path, arguments: list[object]) -> None:
    (tmp_path / "nats").mkdir()
    (tmp_path / "nats" / "gateway.env").write_text("DECOPILOT_NATS_USER=gateway\n")
    ran = nats_config(*arguments)
    assert 1 == ran.returncode
    assert "gateway.env" in ran.stderr
    assert "--new-passwords" in ran.stderr


def test_printing_writes_nothing_and_the_server_finds_the_passwords_in_its_environment(
    tmp_path: Path, arguments: list[object], port: int
) -> None:
    ran = nats_config("--print", *arguments)
    assert 0 == ran.returncode
    assert not (tmp_path / "nats").exists()
    (tmp_path / "nats.conf").write_text(ran.stdout)
    variables = {f"DECOPILOT_NATS_PASSWORD_{user.upper()}": f'"{user}-1"' for user in USERS}
    with server(tmp_path / "nats.conf", variables):
        url = f"nats://127.0.0.1:{port}"
        right = Settings(nats_url=url, nats_user="gateway", nats_password="gateway-1")
        assert asyncio.run(is_let_in(right))


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(tmp_path: Path, authority: trustme.CA) -> list[object]:
    """Arguments that name the certificate, the key and the CA of the server."""
    own = authority.issue_cert("127.0.0.1")
    cert, key, ca = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    own.cert_chain_pems[0].write_to_path(cert)
    own.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca)
    return ["--tls-cert", cert, "--tls-key", key, "--tls-ca", ca]


async def test_over_tls_a_server_must_be_of_the_ca_and_one_that_does_not_encrypt_is_refused(
    tmp_path: Path, arguments: list[object], tls: list[object]
) -> None:
    assert 0 == nats_config(*arguments, *tls).returncode
    folder, other = tmp_path / "nats", tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with server(folder / "nats.conf"):
        async with provisioned(folder):
            pass
        assert await is_let_in(settings(folder / "gateway.env"))
        assert not await is_let_in(settings(folder / "gateway.env", nats_tls_ca=other))
        assert not await is_let_in(settings(folder / "gateway.env", nats_tls_ca=None))
        services = Services(tmp_path, "")
        try:
            given = settings(folder / "runner.env")
            own = {"nats_url": given.nats_url, "nats_password": given.nats_secret, "nats_tls_ca": given.nats_tls_ca}
            await services.start("runner", **own).ready()  # by way of FastStream, too
            services.started[0].send(signal.SIGTERM)
            await services.started[0].ended()
        finally:
            services.end()
    assert ["service_started"] == [line["event"] for line in services.started[0].lines()]
    secure = settings(folder / "gateway.env")
    assert 0 == nats_config(*arguments, "--change").returncode
    with server(folder / "nats.conf"):
        assert await is_let_in(settings(folder / "gateway.env"))
        assert not await is_let_in(secure)


async def test_a_server_that_verifies_lets_in_only_whoever_shows_a_certificate(
    tmp_path: Path, arguments: list[object], tls: list[object], authority: trustme.CA
) -> None:
    assert 0 == nats_config(*arguments, *tls, "--tls-verify").returncode
    folder, cert, key = tmp_path / "nats", tmp_path / "client.pem", tmp_path / "client.key"
    shown = authority.issue_cert("gateway.test")
    shown.cert_chain_pems[0].write_to_path(cert)
    shown.private_key_pem.write_to_path(key)
    with server(folder / "nats.conf"):
        assert not await is_let_in(settings(folder / "gateway.env"))
        assert await is_let_in(settings(folder / "gateway.env", nats_tls_cert=cert, nats_tls_key=key))


def test_a_folder_is_not_written_with_other_options_unless_it_is_to_change(
    tmp_path: Path, arguments: list[object], tls: list[object]
) -> None:
    assert 0 == nats_config(*arguments, *tls).returncode
    folder = tmp_path / "nats"
    written = (folder / "nats.conf").read_text()
    assert 0 == nats_config(*arguments, *tls).returncode
    ran = nats_config(folder)
    assert 1 == ran.returncode
    for name in ("--url", "--listen", "--monitor", "--store-dir", "--tls-cert", "--tls-key", "--tls-ca"):
        assert name in ran.stderr.partition(")")[0]
    assert written == (folder / "nats.conf").read_text()
    again = shlex.split(ran.stderr.splitlines()[1])
    assert ["decopilot", "nats-config", str(folder)] == again[:3]
    assert 0 == nats_config(*again[2:]).returncode
    assert written == (folder / "nats.conf").read_text()
    assert 0 == nats_config(folder, "--change").returncode
    assert "tls" not in (folder / "nats.conf").read_text()


def test_a_folder_that_is_made_is_left_out_by_git_and_one_that_was_there_keeps_its_own_rules(
    tmp_path: Path, arguments: list[object]
) -> None:
    assert 0 == nats_config(*arguments).returncode
    assert "*\n" == (tmp_path / "nats" / ".gitignore").read_text()
    (tmp_path / "mine").mkdir()
    assert 0 == nats_config(tmp_path / "mine", *arguments[1:]).returncode
    assert not (tmp_path / "mine" / ".gitignore").exists()


def test_how_the_server_is_can_be_asked_on_its_own_machine_only_unless_said_otherwise() -> None:
    assert '"http": "127.0.0.1:8222"' in nats_config("--print").stdout


def test_half_of_what_tls_needs_is_refused(arguments: list[object], tls: list[object]) -> None:
    ran = nats_config(*arguments, *tls[:4])
    assert 1 == ran.returncode
    assert "--tls-ca" in ran.stderr


@pytest.mark.parametrize(
    "given",
    [
        {"nats_user": "gateway"},
        {"nats_password": "x"},
        {"nats_user": "a.b", "nats_password": "x"},
        {"nats_user": "gateway", "nats_password": "x", "nats_password_file": __file__},
        {"nats_tls_cert": __file__},
        {"nats_tls_cert": __file__, "nats_tls_key": __file__},
        {"nats_tls_ca": "/no/such/file"},
    ],
)
def test_settings_that_say_half_of_it_are_refused(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DECOPILOT_NATS_USER", "DECOPILOT_NATS_PASSWORD"):
        monkeypatch.delenv(name)
    with pytest.raises(ValueError, match=r"(?i)nats_"):
        Settings.model_validate(given)


def test_a_password_may_be_in_a_file_and_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DECOPILOT_NATS_PASSWORD")
    (tmp_path / "secret").write_text("of the file\n")
    given = Settings(nats_user="gateway", nats_password_file=tmp_path / "secret")
    options = Lifeline(given, "test").options
    assert ("gateway", "of the file") == (options["user"], options["password"])
    shown = Settings(nats_user="gateway", nats_password="of the setting")
    assert "of the" not in f"{given!r} {shown!r}"
