"""A service that can't start says why and ends."""

import os
import socket
import subprocess
import sys

import pytest

from decopilot.kit.settings import Settings


def start(service: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a service, or `provision`, that is expected to end by itself."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DECOPILOT_")}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            *(["decopilot.cli", "provision"] if service == "provision" else [f"decopilot_{service}"]),
        ],
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_gateway_without_a_secret_names_the_variable_that_is_missing() -> None:
    ran = start("gateway")
    assert 78 == ran.returncode
    assert ran.stderr.startswith("exactly one of DECOPILOT_JWT_SECRET, DECOPILOT_JWT_PUBLIC_KEY_FILE and ")
    assert 1 == ran.stderr.count("\n")


@pytest.mark.parametrize("variable", ["DECOPILOT_RUNS_AT_ONCE", "DECOPILOT_HEALTH_PORT"])
def test_a_setting_that_is_no_number_is_named(variable: str) -> None:
    ran = start("runner", **{variable: "many"})
    assert 78 == ran.returncode
    assert ran.stderr.startswith(f"{variable}: ")
    assert "Traceback" not in ran.stderr


def test_a_gateway_whose_port_is_taken_says_so_and_ends_even_while_the_broker_is_away() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = start(
            "gateway",
            DECOPILOT_JWT_SECRET="x" * 40,
            DECOPILOT_HTTP_PORT=str(port),
            DECOPILOT_NATS_URL="nats://127.0.0.1:9",
        )
    assert 1 == ran.returncode
    assert "address already in use" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_an_agent_that_can_not_be_had_is_named() -> None:
    ran = start("runner", DECOPILOT_AGENT="no_such_module:agent")
    assert 78 == ran.returncode
    assert "no_such_module:agent" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_model_that_can_not_be_had_is_named() -> None:
    ran = start("runner", DECOPILOT_MODEL="nobody:knows-it")
    assert 78 == ran.returncode
    assert "provider nobody: unknown. One of your own needs a [providers.nobody]" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("service", ["provision", "command", "runner"])
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DECOPILOT_NATS_TLS_CA", __file__),
        ("DECOPILOT_NATS_TLS_CA", "/no/such/file"),
        ("DECOPILOT_NATS_PASSWORD_FILE", "/no/such/file"),
        ("DECOPILOT_REPLICAS", "x"),
    ],
)
def test_what_is_wrong_about_the_way_to_the_broker_is_one_line_that_names_the_variable(
    service: str, variable: str, value: str
) -> None:
    ran = start(service, DECOPILOT_NATS_USER="runner", DECOPILOT_NATS_PASSWORD="x", **{variable: value})
    assert 78 == ran.returncode
    assert ran.stderr.startswith(f"{variable}: ")
    assert 1 == ran.stderr.count("\n")


def test_a_certificate_that_is_none_is_refused_without_asking_for_its_password() -> None:
    told = {f"DECOPILOT_NATS_TLS_{name}": __file__ for name in ("CERT", "KEY")}
    ran = start("runner", DECOPILOT_NATS_URL="tls://127.0.0.1:9", **told)
    assert 78 == ran.returncode
    assert "DECOPILOT_NATS_TLS_CERT and DECOPILOT_NATS_TLS_KEY are no certificate and its key in PEM\n" == ran.stderr


def test_a_variable_that_is_empty_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NATS_TLS_CA", "NATS_USER", "NATS_PASSWORD", "HEALTH_PORT"):
        monkeypatch.setenv(f"DECOPILOT_{name}", "")
    settings = Settings()
    assert (None, None, None, None) == (
        settings.nats_tls_ca,
        settings.nats_user,
        settings.nats_secret,
        settings.health_port,
    )
