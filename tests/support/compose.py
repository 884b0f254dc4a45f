"""docker-compose.yml as it is, on a Docker engine: images built, containers started, and taken away again."""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from decopilot.log.permissions import USERS
from support.stack import free_port

ROOT = Path(__file__).parents[2]
BASES = ("python:3.12-slim", "nats:2.12-alpine")
BUILT = ("command", "runner", "reactor", "gateway", "provision")
TAG = "tests"
UP_S = 600.0
"""Building included."""
_NOT_OURS = ("DECOPILOT_", "COMPOSE_", "OTEL_")


@dataclass(frozen=True, slots=True)
class Compose:
    """A project of its own: `port` is the gateway's, `proxy_port` nginx's, `prometheus_port` Prometheus'."""

    command: tuple[str, ...]
    port: int
    proxy_port: int
    prometheus_port: int

    def run(self, *arguments: str) -> str:
        """Have compose do something; returns what it says on standard output."""
        return run(*self.command, *arguments)

    def image(self, service: str) -> str:
        """Name the image of a service."""
        config = json.loads(self.run("--profile", "*", "config", "--format", "json"))
        return str(config["services"][service]["image"])

    def inspect(self, service: str) -> list[dict[str, Any]]:
        """Tell what the engine knows of a service's containers."""
        found: list[dict[str, Any]] = json.loads(run("docker", "inspect", *self.run("ps", "--quiet", service).split()))
        return found

    def prometheus(self, path: str) -> dict[str, Any]:
        """Ask Prometheus' API."""
        with urlopen(f"http://127.0.0.1:{self.prometheus_port}{path}", timeout=30) as answer:
            data: dict[str, Any] = json.load(answer)["data"]
        return data

    def token(self) -> str:
        """Make a token as the head of docker-compose.yml says."""
        return self.run(
            "run", "--rm", "--no-deps", "token", "--org", "local", "--user", "me", "--role", "owner"
        ).strip()


def run(*command: str) -> str:
    """Run a command that must not fail."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_NOT_OURS)}
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=UP_S
    )
    assert 0 == done.returncode, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def image(name: str) -> dict[str, Any]:
    """Tell what the engine knows of an image."""
    found: dict[str, Any] = json.loads(run("docker", "image", "inspect", name))[0]
    return found


def require_engine(*more: str) -> None:
    """Skip the test, loudly, where it can't be run: nothing is pulled unless DECOPILOT_ENGINE_TESTS is `required`."""
    if os.environ.get("DECOPILOT_ENGINE_TESTS") == "required":
        return
    if missing := _missing([*BASES, *more]):
        pytest.skip(f"NOT RUN: {missing}. CONTRIBUTING.md says how engine tests are run")


def _missing(images: list[str]) -> str | None:
    if shutil.which("docker") is None:
        return "there is no docker"
    for question, answer in (
        (("info",), "no Docker engine answers"),
        (("compose", "version"), "docker has no compose plugin"),
        *((("image", "inspect", name), f"the engine has no image {name}") for name in images),
    ):
        if subprocess.run(["docker", *question], capture_output=True, check=False, timeout=60).returncode:
            return answer
    return None


@contextmanager
def composed(folder: Path, *profiles: str, told: Mapping[str, str] | None = None) -> Iterator[Compose]:
    """Build the images and have everything run while the context is open."""
    ports = {name: free_port() for name in ("DECOPILOT_PROXY_PORT", "DECOPILOT_PROMETHEUS_PORT")}
    port = free_port()
    # Passwords as .env.example has them made.
    said = {f"DECOPILOT_NATS_PASSWORD_{user.upper()}": secrets.token_hex(32) for user in USERS}
    said |= {"DECOPILOT_JWT_SECRET": secrets.token_hex(32), "DECOPILOT_TAG": TAG, "DECOPILOT_PORT": str(port)}
    said |= {name: str(number) for name, number in ports.items()} | dict(told or {})
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in said.items()))
    # An engine without a way out for its containers builds all the same.
    override = {"services": {name: {"build": {"network": "host"}} for name in BUILT}}
    (folder / "build.json").write_text(json.dumps(override))
    command = [
        *("docker", "compose", "--project-name", f"decopilot-{secrets.token_hex(4)}"),
        *("--project-directory", str(ROOT), "--env-file", str(folder / ".env")),
        *("--file", str(ROOT / "docker-compose.yml"), "--file", str(folder / "build.json")),
        *(word for profile in profiles for word in ("--profile", profile)),
    ]
    project = Compose(tuple(command), port, *ports.values())
    try:
        project.run("up", "--detach", "--build", "--wait")
        yield project
    except BaseException:
        print(project.run("logs", "--no-color", "--tail", "50"))  # noqa: T201  shown where the test fails
        raise
    finally:
        project.run("--profile", "*", "down", "--volumes", "--remove-orphans")
