"""The default agent with MCP servers as processes: real ones, and such as do not behave.

A program starts anew for every run, and takes two seconds of the processor for it. So what a tool does is asked of a
server over HTTP that all tests share; programs are for what is true of programs.
"""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from decopilot.contracts.configuration import AgentEntry, Configuration, McpServer
from decopilot.contracts.messages import RunConfig
from decopilot.domain.interactions import pending_in
from decopilot.kit.configuration import MissingVariableError
from decopilot_runner.default_agent import build
from decopilot_runner.default_agent.mcp import McpServers
from decopilot_runner.default_agent.models import Models
from support.driven import READONLY, Driven, calls_of, of, verdicts
from support.services import TESTS, until
from support.stack import free_port

LONG = "a_name_that_is_longer_than_the_sixty_four_characters_that_providers_take"
TIME = McpServer(command=sys.executable, args=("-m", "mcp_server_time"))


@dataclass
class Bench:
    """Servers in processes of their own, and what an agent does with them."""

    folder: Path
    entries: dict[str, McpServer] = field(default_factory=dict)
    servers: McpServers | None = None

    def add(self, name: str, *args: str, **more: Any) -> None:  # noqa: ANN401
        """Add a server over stdio, of `support`'s unless it is given."""
        given = McpServer(command=sys.executable, args=("-m", *args), env={"PYTHONPATH": "TESTS_FOLDER"})
        self.entries[name] = given.model_copy(update=more)

    async def call(self, text: str, *, config: RunConfig | None = None, timeout_s: float = 60.0) -> Driven:
        """Have the demo model call a tool."""
        if self.servers is None:
            self.servers = McpServers(self.entries)
        entry = AgentEntry(mcp=tuple(self.entries), tool_timeout_s=timeout_s)
        models = Models(Configuration(), delay_ms=0)
        agent = build(entry, models, demo_dir=self.folder / "demo", servers=self.servers)
        run = Driven(agent, f"/tool {text}", config=config or RunConfig())
        outcome = await run.attempt()
        assert outcome.status in {"completed", "requires_action"}
        return run

    async def output(self, text: str, *, config: RunConfig | None = None) -> Any:  # noqa: ANN401  any JSON
        (part,) = calls_of((await self.call(text, config=config)).message)
        assert "output-available" == part["state"], part
        return part["output"]

    async def error(self, text: str) -> str:
        (part,) = calls_of((await self.call(text)).message)
        assert "output-error" == part["state"], part
        return str(part["errorText"])

    async def names(self) -> list[str]:
        """The names that their tools get."""
        assert self.servers is not None
        async with self.servers.opened(list(self.entries), ()) as tools:
            return list(tools.tools)

    async def lacks(self, tool: str) -> bool:
        """Tell whether the model knows no such tool."""
        return f"I have no tool `{tool}` here." in str((await self.call(tool)).message.parts)

    @property
    def starts(self) -> list[str]:
        """The processes that were started."""
        return (self.folder / "starts").read_text().splitlines()

    @property
    def alive(self) -> list[str]:
        """Those of them that still run."""
        return [pid for pid in self.starts if Path(f"/proc/{pid}").exists()]

    @property
    def notes(self) -> list[str]:
        """What the server's tool wrote down."""
        file = self.folder / "notes"
        return file.read_text().splitlines() if file.exists() else []


@dataclass(frozen=True)
class Served:
    """A server over HTTP."""

    folder: Path
    port: int

    @property
    def entry(self) -> McpServer:
        return McpServer(url=f"http://127.0.0.1:{self.port}/mcp")

    async def listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    port = free_port()
    command = [sys.executable, "-m", "support.mcp_server", str(folder), str(port)]
    process = subprocess.Popen(command, cwd=TESTS, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield Served(folder, port)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("shared")) as server:
        yield server


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setenv("TESTS_FOLDER", str(TESTS))
    found = Bench(tmp_path)
    yield found
    if found.servers is not None:
        await found.servers.closed()


@pytest.fixture
def own(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("OUR_TOKEN", "of the server")
    monkeypatch.setenv("OTHER_SECRET", "of the runner")
    env = {"PYTHONPATH": "TESTS_FOLDER", "TOKEN": "OUR_TOKEN"}
    bench.add("own", "support.mcp_server", str(bench.folder), env=env)
    return bench


@pytest.fixture
async def far(bench: Bench, shared: Served) -> Bench:
    await until(shared.listens)
    (shared.folder / "notes").unlink(missing_ok=True)
    bench.folder = shared.folder
    bench.entries["own"] = shared.entry
    return bench


async def test_a_server_from_pypi_is_asked_for_the_time_and_says_what_it_refuses(bench: Bench) -> None:
    bench.entries["time"] = TIME
    told = await bench.output('get_current_time {"timezone": "Europe/Oslo"}', config=READONLY)
    assert "Europe/Oslo" == told["timezone"]
    assert "Invalid timezone" in await bench.error('get_current_time {"timezone": "Mars/Base"}')


@pytest.mark.parametrize(("trusts", "asked"), [(True, False), (False, True)])
async def test_a_hint_is_believed_where_the_operator_does(far: Bench, *, trusts: bool, asked: bool) -> None:
    far.entries["own"] = far.entries["own"].model_copy(update={"trust_hints": trusts})
    run = await far.call("look", config=READONLY)
    assert asked is bool(pending_in(run.message))


async def test_a_tool_that_writes_waits_for_approval_at_readonly(far: Bench) -> None:
    first = await far.call('own_note {"text": "milk"}', config=READONLY)
    (asked,) = pending_in(first.message)
    assert ("approval", "own_note", []) == (asked.kind, asked.tool_name, far.notes)
    run = first.gone_on_with(*verdicts(first.message))
    await run.attempt()
    assert ["milk"] == far.notes
    assert ["output-available"] == [part["state"] for part in calls_of(run.message)]


async def test_a_program_gets_the_variables_that_are_named_and_no_others(own: Bench) -> None:
    assert {"TOKEN": "of the server"} == await own.output("variables")


async def test_names_are_made_safe_and_get_their_servers_name_only_where_they_collide(far: Bench) -> None:
    assert "all" == await far.output("files_read_all")
    assert "none" == await far.output("own_get_weather")
    assert "Oslo" == (await far.output('get_weather {"city": "Oslo"}'))["city"]
    assert await far.lacks("own_look")
    (long,) = [name for name in await far.names() if name.startswith(LONG[:20])]
    assert 64 == len(long)
    assert "long" == await far.output(long)


async def test_what_a_tool_says_of_its_progress_is_shown_and_not_kept(far: Bench) -> None:
    run = await far.call("advance")
    (shown,) = of(run.chunks, "data-tool-progress")
    (part,) = calls_of(run.message)
    told = {"toolCallId": part["toolCallId"], "progress": 1.0, "total": 2.0, "message": "half way"}
    assert (told, True) == (shown["data"], shown["transient"])
    assert "data-tool-progress" not in [part["type"] for part in run.message.parts]


async def test_a_large_output_is_shown_in_part(far: Bench) -> None:
    output = await far.output('long {"kib": 300}')
    assert (300, True) == (output["lines"], output["preview"].startswith("line 0: xxx"))


async def test_a_tool_that_fails_says_why(far: Bench) -> None:
    assert "There is nothing left." in await far.error("fail")


async def test_a_server_that_dies_in_a_call_fails_the_call_and_is_there_again_for_the_next(own: Bench) -> None:
    told = "The MCP server own went away while it was called; whether the call had an effect is not known."
    assert told == await own.error("die")
    assert 0 == (await own.output("look"))["notes"]


async def test_a_server_that_hangs_fails_its_call_and_nothing_else(own: Bench) -> None:
    run = await own.call("hang", timeout_s=1)
    assert "The tool did not finish within 1 s" in calls_of(run.message)[0]["errorText"]
    assert 0 == (await own.output("look"))["notes"]


async def test_each_run_has_a_session_of_its_own_and_it_ends_with_the_run(own: Bench) -> None:
    one, other = (await own.output("look"))["pid"], (await own.output("look"))["pid"]
    assert [str(one), str(other)] == own.starts
    assert own.servers is not None
    await own.servers.closed()
    assert [] == own.alive


async def test_runs_that_begin_together_start_one_program_to_list_its_tools_and_none_that_they_do_not_need(
    own: Bench,
) -> None:
    await asyncio.gather(*(own.output('get_weather {"city": "Oslo"}') for _ in range(5)))
    assert 1 == len(own.starts)


async def test_a_run_that_is_cancelled_leaves_no_program_behind(own: Bench) -> None:
    async def starts() -> bool:
        return (own.folder / "starts").exists()

    task = asyncio.create_task(own.call("hang"))
    await until(starts)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert own.servers is not None
    await own.servers.closed()
    assert [] == own.alive


UNUSABLE = {
    "ends": "The MCP server bad can't be reached.",
    "silent": "The MCP server bad did not answer within 1 s.",
    "no_list": "The MCP server bad gives no list of its tools.",
    "no_object": "The MCP server bad gives no list of its tools.",
}


@pytest.mark.parametrize("how", UNUSABLE)
async def test_a_run_tells_of_a_server_that_can_not_be_used_and_goes_on_without(bench: Bench, how: str) -> None:
    bench.add("bad", "support.bad_mcp_server", how, timeout_s=1.0 if how == "silent" else 30.0)
    run = await bench.call('get_weather {"city": "Oslo"}')
    assert ["output-available"] == [part["state"] for part in calls_of(run.message)]
    told = {"server": "bad", "text": UNUSABLE[how]}
    assert [told] == [part["data"] for part in run.message.parts if part["type"] == "data-mcp-unavailable"]
    assert await bench.lacks("good")


@pytest.mark.parametrize("entry", [{"command": "/no/such/program"}, {"url": "http://127.0.0.1:9/mcp"}])
async def test_a_server_that_is_not_there_is_told_too(bench: Bench, entry: dict[str, str]) -> None:
    bench.entries["gone"] = McpServer.model_validate(entry)
    run = await bench.call('get_weather {"city": "Oslo"}')
    (told,) = [part["data"]["text"] for part in run.message.parts if part["type"] == "data-mcp-unavailable"]
    assert "The MCP server gone can't be reached." == told


@pytest.mark.parametrize("how", ["talks", "bad_tools"])
async def test_what_a_server_does_wrong_beside_its_tools_does_no_harm(bench: Bench, how: str) -> None:
    bench.add("bad", "support.bad_mcp_server", how)
    assert "it works" == await bench.output("good")


async def test_the_model_is_told_which_tools_are_missing(bench: Bench) -> None:
    bench.entries["gone"] = McpServer(url="http://127.0.0.1:9/mcp")
    servers = McpServers(bench.entries)
    async with servers.opened(["gone"], ()) as tools:
        told = await tools.get_instructions(None)  # type: ignore[arg-type]  # it needs none
    assert "The MCP server gone can't be reached. Its tools are missing." == told


async def test_a_server_over_http_that_dies_is_told_to_have_gone_and_then_not_to_be_there(bench: Bench) -> None:
    with served(bench.folder) as server:
        await until(server.listens)
        bench.entries["far"] = server.entry
        assert "went away while it was called" in await bench.error("die")
        assert "can't be reached" in await bench.error("look")


def test_a_variable_that_is_named_and_not_set_is_told_when_the_runner_starts() -> None:
    with pytest.raises(MissingVariableError, match=r"\[mcp\.time\] needs the environment variable NO_SUCH"):
        McpServers({"time": TIME.model_copy(update={"env": {"TOKEN": "NO_SUCH"}})})
