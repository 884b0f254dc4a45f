"""`decopilot config`, and what `up` makes of a configuration: a package of one's own beside the file, or a mistake."""

import os
import subprocess
from pathlib import Path

import pytest

from support.stack import DECOPILOT, running_stack

BOTS = """\
async def support(request):
    yield {"type": "text-delta", "id": "t", "delta": "Hi"} if "break" in request.history[-1].text else STEP
    for chunk in ({"type": "text-start", "id": "t"}, *said(request), {"type": "text-end", "id": "t"}):
        yield chunk

STEP = {"type": "start-step"}

def said(request):
    tools = ",".join(f"{name}={tool('3')}" for name, tool in request.tools.items())
    return [{"type": "text-delta", "id": "t", "delta": f"Hello from {request.config.agent_id}. {tools}"}]

def seats(row: str) -> str:
    "Tell the seats of a row."
    return f"row {row}"

def no_agent():
    pass

async def no_generator(request):
    return []

class Support: ...
"""
GOOD = """\
agent = "my_pkg.bots:support"
[agents.helper]
agent = "my_pkg.bots:support"
tools = ["my_pkg.bots:seats"]
[agents.ready]
agent = "my_pkg.made:bot"
"""
BAD = """\
agent = "my_pkg.bots:suport"
[agents.a]
agent = "my_pkg.bots:no_agent"
[agents.b]
agent = "my_pkg.bots:no_generator"
[agents.c]
agent = "my_pkg.bots:Support"
[agents.d]
agent = "my_pkg.boots:support"
[agents.e]
agent = "my_pkg.broken:support"
[agents.f]
tools = ["my_pkg.bots:seats", "my_pkg.bots:seat"]
[tiers]
fast = "nobody:knows-it"
[mcp.files]
command = "there-is-no-such-program"
env = {TOKEN = "THERE_IS_NO_SUCH_TOKEN"}
"""
COROUTINE = "a coroutine function is no agent: it must `yield` its chunks"
CLASS = "a class is no agent: name an instance, or an async generator function"
NOR = "nor among the installed packages"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a package in it, whose modules say something when they are imported."""
    package = tmp_path / "my_pkg"
    package.mkdir()
    (package / "__init__.py").write_text('print("my_pkg is imported")\n')
    (package / "bots.py").write_text(BOTS)
    (package / "broken.py").write_text("x = 1\nraise LookupError('no database')\n")
    made = "import pydantic_ai\nfrom pydantic_ai.models.test import TestModel\n"
    (package / "made.py").write_text(f"{made}bot = pydantic_ai.Agent(TestModel(custom_output_text='Made.'))\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def decopilot(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DECOPILOT_")}
    return subprocess.run(
        [*DECOPILOT, *arguments], env=kept | more, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_good_configuration_is_shown(folder: Path) -> None:
    (folder / "decopilot.toml").write_text(GOOD)
    ran = decopilot("config", "check")
    assert (0, "my_pkg is imported\n") == (ran.returncode, ran.stderr)
    for said in ("AGENT", "helper", "my_pkg.made:bot", "TIER", "thinking", "decopilot.toml is fine."):
        assert said in ran.stdout


def test_without_a_file_everything_is_as_it_comes(folder: Path) -> None:
    assert (folder / "my_pkg").exists()
    ran = decopilot("config", "check")
    assert 0 == ran.returncode
    assert "There is no decopilot.toml: everything is as it comes." in ran.stdout


def test_every_mistake_is_told_with_its_place_and_nothing_is_started(folder: Path) -> None:
    (folder / "mine.toml").write_text(BAD)
    mine, broken = folder / "mine.toml", folder / "my_pkg" / "broken.py"
    checked = decopilot("config", "check", "--config", "mine.toml")
    assert (1, "") == (checked.returncode, checked.stdout)
    told = [line.removeprefix(f"{mine}:") for line in checked.stderr.splitlines() if str(mine) in line]
    assert [
        "1: agent: agent my_pkg.bots:suport: there is no suport in my_pkg.bots; did you mean support?",
        "3: agents.a.agent: agent my_pkg.bots:no_agent: an agent takes one argument, the request",
        f"5: agents.b.agent: agent my_pkg.bots:no_generator: {COROUTINE}",
        f"7: agents.c.agent: agent my_pkg.bots:Support: {CLASS}",
        f"9: agents.d.agent: agent my_pkg.boots:support: there is no module my_pkg.boots in {folder}, {NOR}",
        f"11: agents.e.agent: agent my_pkg.broken:support: LookupError: no database ({broken}, line 2)",
        "13: agents.f.tools: tool my_pkg.bots:seat: there is no seat in my_pkg.bots; did you mean seats?",
    ] == told[:7]
    rest = "\n".join(told[7:])
    assert "15: tiers.fast: " in rest
    assert "17: mcp.files.command: there is no program there-is-no-such-program" in rest
    assert "18: mcp.files.env.TOKEN: the environment variable THERE_IS_NO_SUCH_TOKEN is not set here" in rest
    assert "Traceback" not in checked.stderr

    refused = decopilot("up", "--config", "mine.toml")
    assert (1, "") == (refused.returncode, refused.stdout)
    assert set(told) <= {line.removeprefix(f"{mine}:") for line in refused.stderr.splitlines()} | {
        line.removeprefix(f"Warning: {mine}:") for line in refused.stderr.splitlines()
    }
    assert "Nothing was started." in refused.stderr
    assert not (folder / ".decopilot").exists()


def test_a_file_that_breaks_the_schema_is_told_by_up_before_anything_starts(folder: Path) -> None:
    (folder / "decopilot.toml").write_text('[agents.a]\ntier = "slow"\n')
    ran = decopilot("up")
    assert 1 == ran.returncode
    assert ran.stderr.startswith("decopilot.toml:2: agents.a.tier: Input should be 'fast', ")
    (folder / "decopilot.toml").write_text('[automations.a]\norg = "o"\nmessage = "Hi"\nschedule = "61 * * * *"\n')
    ran = decopilot("up")
    assert 1 == ran.returncode
    assert ran.stderr.startswith("decopilot.toml:4: automations.a.schedule: ")
    assert not (folder / ".decopilot").exists()


def test_a_file_to_begin_with_is_written_once(folder: Path) -> None:
    assert 0 == decopilot("config", "init").returncode
    written = (folder / "decopilot.toml").read_text()
    again = decopilot("config", "init")
    assert (1, written) == (again.returncode, (folder / "decopilot.toml").read_text())
    assert "decopilot.toml is there already" in again.stderr
    assert 0 == decopilot("config", "check").returncode


def test_agents_of_ones_own_answer_under_up_with_no_other_change(folder: Path) -> None:
    (folder / "decopilot.toml").write_text(GOOD)
    with running_stack(folder) as stack:

        def ask(text: str, *options: str) -> subprocess.CompletedProcess[str]:
            return decopilot("run", text, "--data-dir", str(stack.data_dir), *options)

        said = ask("Hello")
        broken = ask("break it")
        made = ask("Hello", "--agent", "ready")
        helped = ask("Hello", "--agent", "helper")
        nobody = ask("Hello", "--agent", "nobody")
    assert (0, "Hello from default. ") == (said.returncode, said.stdout.rstrip("\n"))
    assert (0, "Made.") == (made.returncode, made.stdout.rstrip("\n"))
    assert (0, "Hello from helper. seats=row 3") == (helped.returncode, helped.stdout.rstrip("\n"))
    assert 1 == nobody.returncode
    assert 'There is no agent "nobody".' in nobody.stderr
    assert 3 == broken.returncode
    rule = "chunk 1 (text-delta): 't': a delta comes between its start and its end"
    assert f"The agent broke the chunk protocol: {rule}." in broken.stderr
