import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from ruamel.yaml import YAML

from decopilot.cli.nats_binary import find_binary
from decopilot.contracts import subjects
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.permissions import USERS
from decopilot.log.topology import Sizes, provision
from support.brokers import CONF
from support.stack import free_port

COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"
NODES = ("nats", "nats-2", "nats-3")
PASSWORDS = {user: f"{number}2345678901234567890" for number, user in enumerate(USERS, 1)}
READY_S = 60.0
PUBLISHED = re.compile(r"\$\{DECOPILOT_NATS_PASSWORD_(\w+)(?::[^}]*)?\}")

Ports = dict[str, tuple[int, int, int]]
"""For clients, for monitoring, for routes."""


@cache
def service(name: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = YAML(typ="safe").load(COMPOSE.read_text())["services"][name]
    return found


def told(name: str, ports: Ports) -> dict[str, str]:
    """Read what compose tells a server, with our passwords and the ports of this machine."""
    said = service(name)["environment"]
    filled = {key: PUBLISHED.sub(lambda found: PASSWORDS[found[1].lower()], value) for key, value in said.items()}
    for other, (_, _, route) in ports.items():
        filled["DECOPILOT_NATS_ROUTES"] = filled["DECOPILOT_NATS_ROUTES"].replace(
            f"@{other}:6222", f"@127.0.0.1:{route}"
        )
    return filled


@contextmanager
def server(folder: Path, name: str, ports: Ports) -> Iterator[None]:
    """Run a server with the configuration of compose, on ports and a store of its own."""
    client, monitor, route = ports[name]
    for file in CONF.parent.glob("*.conf"):
        text = file.read_text()
        for theirs, ours in (
            ("0.0.0.0:4222", f"127.0.0.1:{client}"),
            ("127.0.0.1:8222", f"127.0.0.1:{monitor}"),
            ("0.0.0.0:6222", f"127.0.0.1:{route}"),
            ('"/data"', f'"{folder / "data"}"'),
        ):
            text = text.replace(theirs, ours)
        (folder / file.name).write_text(text)
    command = [str(find_binary()), "--config", str(folder / "cluster.conf")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=told(name, ports), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(READY_S)


def is_healthy(port: int) -> bool:
    """Ask what compose asks."""
    asked = service("nats")["healthcheck"]["test"][-1].replace(":8222", f":{port}")
    try:
        with urlopen(asked, timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


@pytest.fixture
def ports() -> Ports:
    return {name: (free_port(), free_port(), free_port()) for name in NODES}


async def test_servers_of_the_profile_cluster_find_each_other_and_hold_everything_three_times(
    tmp_path: Path, ports: Ports
) -> None:
    with ExitStack() as stack:
        for name in NODES:
            (tmp_path / name).mkdir()
            stack.enter_context(server(tmp_path / name, name, ports))
            if name == NODES[0]:
                # By itself it has no leader: nothing is to start before there is one.
                assert not await asyncio.to_thread(is_healthy, ports[name][1])
        async with asyncio.timeout(READY_S):
            for name in NODES:
                while not await asyncio.to_thread(is_healthy, ports[name][1]):
                    await asyncio.sleep(0.1)
        url = ",".join(f"nats://127.0.0.1:{client}" for client, _, _ in ports.values())
        login = {"nats_url": url, "nats_user": "provision", "nats_password": PASSWORDS["provision"]}
        async with asyncio.timeout(READY_S), connected(Settings.model_validate(login), "test") as client:
            await provision(client, Sizes(replicas=3))
            found = (await client.jetstream().stream_info(subjects.EVENTS_STREAM)).cluster
    assert found is not None
    assert set(NODES) == {found.leader, *(peer.name for peer in found.replicas or ())}


async def test_a_server_without_the_operators_password_does_not_join(tmp_path: Path, ports: Ports) -> None:
    (tmp_path / "nats").mkdir()
    with server(tmp_path / "nats", "nats", ports):
        _, _, route = ports["nats"]
        async with asyncio.timeout(READY_S):
            while True:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", route)
                    break
                except OSError:
                    await asyncio.sleep(0.05)
            said = {"user": "operator", "pass": PASSWORDS["gateway"], "name": "stranger", "cluster": "decopilot"}
            writer.write(b"CONNECT " + json.dumps(said).encode() + b"\r\nPING\r\n")
            answer = await reader.read()
            writer.close()
    assert b"Authorization Violation" in answer
