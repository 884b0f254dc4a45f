"""What the broker refuses is said once, with its reason, and where nothing else helps, at once."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import trustme
from nats.aio.client import Client
from structlog.testing import capture_logs

from decopilot.cli.broker import EmbeddedBroker
from decopilot.cli.provision import TIMEOUT_S
from decopilot.kit.connection import connected
from decopilot.kit.messaging import Messaging
from decopilot.kit.settings import Settings
from decopilot.log.topology import provision
from support.brokers import PASSWORDS, as_user, login
from support.services import Services, until
from support.stack import free_port

NEW_PASSWORDS = {user: f"new-{password}" for user, password in PASSWORDS.items()}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path / "nats", passwords=PASSWORDS) as started:
        yield started


@pytest.fixture
def services(tmp_path: Path, broker: EmbeddedBroker) -> Iterator[Services]:
    started = Services(tmp_path, broker.url)
    yield started
    started.end()


def run_provision(timeout_s: object = TIMEOUT_S, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run `decopilot provision`, which gives up after `timeout_s`."""
    code = f"from decopilot.cli import main, provision; provision.TIMEOUT_S = {timeout_s}; main()"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DECOPILOT_")}
    told = {f"DECOPILOT_{name.upper()}": str(value) for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-c", f"import decopilot.cli.provision; {code}", "provision"],
        env=kept | told,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def last_line(ran: subprocess.CompletedProcess[str]) -> str:
    assert 1 == ran.returncode, ran.stderr
    assert "Traceback" not in ran.stderr
    return ran.stderr.splitlines()[-1]


def test_provisioning_with_a_wrong_password_names_the_user_and_does_not_wait(broker: EmbeddedBroker) -> None:
    began = monotonic()
    said = last_line(run_provision(nats_url=broker.url, nats_user="provision", nats_password="wrong"))
    assert f"Provisioning failed: {broker.url} refuses user 'provision'." in said
    assert monotonic() - began < TIMEOUT_S


def test_an_operator_who_is_not_let_in_is_told_so_in_one_line(broker: EmbeddedBroker) -> None:
    told = {"DECOPILOT_NATS_URL": broker.url, "DECOPILOT_NATS_USER": "operator", "DECOPILOT_NATS_PASSWORD": "wrong"}
    command = [sys.executable, "-m", "decopilot.cli", "erased"]
    ran = subprocess.run(command, env=os.environ | told, capture_output=True, text=True, timeout=60, check=False)
    (said,) = ran.stderr.splitlines()
    assert (1, f"{broker.url} refuses user 'operator'.") == (ran.returncode, said.partition(" Are ")[0])


def test_provisioning_as_somebody_who_may_not_says_so(broker: EmbeddedBroker) -> None:
    said = last_line(run_provision(nats_url=broker.url, **login("gateway")))
    assert f"{broker.url} does not permit user 'gateway': publish to " in said


def test_provisioning_says_that_a_server_is_of_another_authority(tmp_path: Path) -> None:
    own, cert, key, ca = trustme.CA().issue_cert("127.0.0.1"), *(tmp_path / name for name in ("cert", "key", "ca"))
    own.cert_chain_pems[0].write_to_path(cert)
    own.private_key_pem.write_to_path(key)
    trustme.CA().cert_pem.write_to_path(ca)
    tls = {"tls": {"cert_file": str(cert), "key_file": str(key), "handshake_first": "auto"}}
    with EmbeddedBroker(tmp_path / "nats", passwords=PASSWORDS, config=tls) as broker:
        said = last_line(run_provision(nats_url=broker.url, nats_tls_ca=ca, **login("provision")))
    assert f"{broker.url} is not trusted: unable to get local issuer certificate. Is DECOPILOT_NATS_TLS_CA " in said


def test_provisioning_where_nobody_listens_says_what_the_last_try_met() -> None:
    said = last_line(run_provision(1.0, nats_url=f"nats://127.0.0.1:{free_port()}"))
    assert "did not answer within 1 s. The last try: " in said
    assert "Connect call failed" in said


async def test_a_service_with_a_wrong_password_says_so_once_and_is_ready_when_the_server_takes_it(
    tmp_path: Path, broker: EmbeddedBroker, services: Services
) -> None:
    runner = services.start("runner", nats_password=NEW_PASSWORDS["runner"])
    server_log = tmp_path / "nats" / "nats.log"

    async def was_refused_again() -> bool:
        return server_log.read_text().count("authentication error") >= 3

    await until(was_refused_again)
    # The server closes at once: who reads too late may find a broken connection in the place of the reason.
    refusals = [line for line in runner.lines() if line["level"] in {"warning", "error"}]
    assert {"nats_unauthorized"} <= {line["event"] for line in refusals} <= {"nats_unauthorized", "nats_error"}
    assert [("error", "runner")] == [
        (line["level"], line["user"]) for line in refusals if line["event"] == "nats_unauthorized"
    ]
    broker.stop()
    with EmbeddedBroker(tmp_path / "nats", port=broker.port, passwords=NEW_PASSWORDS):
        as_provision = Settings(nats_url=broker.url, nats_user="provision", nats_password=NEW_PASSWORDS["provision"])
        async with connected(as_provision, "provision") as nc:
            await provision(nc)
        await runner.ready()
    [started] = [line for line in runner.lines() if line["event"] == "service_started"]
    assert {"service": "runner", "instance": "runner-0"}.items() <= started.items()
    assert started["version"]


@pytest.mark.parametrize("name", ["gateway", "reactor"])
async def test_a_service_whose_password_is_taken_away_says_why_it_ends_with_70(
    broker: EmbeddedBroker, services: Services, name: str
) -> None:
    async with connected(as_user(Settings(nats_url=broker.url), "provision"), "provision") as nc:
        await provision(nc)
    more = {"jwt_secret": "x" * 40, "http_port": free_port()} if name == "gateway" else {}
    service = services.start(name, **more)
    if name == "gateway":
        service.health_port = int(str(more["http_port"]))
    await service.ready()
    configuration = broker.store_dir / "nats.conf"
    configuration.write_text(configuration.read_text().replace(PASSWORDS[name], NEW_PASSWORDS[name]))
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGHUP)
    assert 70 == await service.ended()
    said = [(line["event"], line.get("user"), line.get("exit_code")) for line in service.complaints()]
    assert [("nats_unauthorized", name, None), ("nats_closed", None, 70)] == said


async def test_what_is_forbidden_is_told_as_it_was_sent(broker: EmbeddedBroker) -> None:
    settings = as_user(Settings(nats_url=broker.url), "runner")

    async def try_it(nc: Client) -> str:
        async def heard() -> list[MutableMapping[str, Any]]:
            return [entry for entry in logs if entry["event"] == "nats_forbidden"]

        with capture_logs() as logs:
            await nc.publish("Decopilot.Event.Acme", b"")
            await nc.flush()
            [said] = await until(heard)
        return f"{said['action']} {said['subject']}"

    async with connected(settings, "runner") as nc:
        assert "publish Decopilot.Event.Acme" == await try_it(nc)
    messaging = Messaging(settings, "runner")
    messaging._lifeline.let_go()  # noqa: SLF001  else it would end the tests when it closes
    async with messaging.broker as by_faststream:
        assert "publish Decopilot.Event.Acme" == await try_it(by_faststream.connection)


async def test_an_answer_to_what_came_over_a_connection_that_is_gone_is_no_fault(broker: EmbeddedBroker) -> None:
    settings = as_user(Settings(nats_url=broker.url), "command")
    with capture_logs() as logs:
        async with connected(settings, "command") as nc:
            await nc.publish("_INBOX_gateway.gone", b"")
            await nc.flush()

            async def heard() -> list[MutableMapping[str, Any]]:
                return [entry for entry in logs if entry["event"].startswith("nats_")]

            [said] = await until(heard)
    assert ("nats_answer_late", "info") == (said["event"], said["log_level"])
