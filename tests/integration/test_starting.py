"""A service that can't start says why and ends."""

import os
import socket
import subprocess
import sys

import pytest


def start(service: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a service that is expected to end by itself."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DECOPILOT_")}
    return subprocess.run(
        [sys.executable, "-m", f"decopilot_{service}"],
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
