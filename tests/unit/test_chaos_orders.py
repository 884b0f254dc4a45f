"""What `decopilot chaos` is asked for: what is refused before it begins, and the command line that does it again."""

import os
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from decopilot.cli.chaos import orders
from decopilot.cli.chaos.commands import Commanded, commands_of
from decopilot.cli.chaos.ledger import Probe
from decopilot.cli.chaos.odds import COMMAND
from decopilot.cli.chaos.orders import Orders, kinds_of
from decopilot.cli.chaos.schedule import Fault
from decopilot.cli.chaos.target import Aim, Target
from decopilot.cli.errors import CliError
from decopilot.cli.outputs import check_output
from decopilot.cli.reaching import Where
from decopilot.kit.settings import Settings

SAID = ("paused=docker compose pause gateway", "paused:undo=docker compose unpause gateway", "gone=true")


def aim(**changed: object) -> Aim:
    where = Where(Path(".decopilot"), None, {})
    given = {"where": where, "commands": commands_of(SAID), "stranger": "secret of eve", **changed}
    return Aim(("https://chat.example",), "secret", "acme", **given)  # type: ignore[arg-type]


def test_the_command_line_that_does_it_again_names_the_target_and_no_token() -> None:
    again = Orders(20, 7, aim=aim(keeps=True)).again
    words = shlex.split(again)
    assert ["decopilot", "chaos", "--seconds", "20", "--seed", "7"] == words[:6]
    assert ["--target", "https://chat.example", "--org", "acme", "--data-dir", ".decopilot"] == words[6:12]
    assert list(SAID) == [word for before, word in pairwise(words) if before == "--fault"]
    assert "--keep-threads" == words[-1]
    assert "secret" not in again


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (Orders(1, 1, nodes=3, aim=aim()), "for a stack of chaos' own"),
        (Orders(1, 1, keep=Path("kept"), aim=aim()), "for a stack of chaos' own"),
        (Orders(1, 1, ("processes",), aim=aim()), "no such kind here"),
        (Orders(1, 1, keep=Path(__file__)), "is a file"),
        (Orders(1, 1, keep=Path(__file__).parent), "is not empty"),
        (Orders(1, 1, json=Path(__file__).parent), "is a folder"),
        (Orders(1, 1, html=Path(__file__) / "page.html"), "There is no folder"),
    ],
)
def test_what_would_go_wrong_in_the_end_is_refused_in_the_beginning(asked: Orders, reason: str) -> None:
    with pytest.raises(CliError, match=reason):
        asked.check()


def test_clocks_alone_are_refused_where_none_can_be_made_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "faketime", lambda: None)
    Orders(1, 1, ("clock", "kill")).check()
    with pytest.raises(CliError, match="libfaketime is missing"):
        Orders(1, 1, ("clock",)).check()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "found.json").touch(0o400)
    with pytest.raises(CliError, match="permission denied"):
        check_output(tmp_path / "found.json")


def test_kinds_that_name_nothing_do_not_mean_all() -> None:
    assert () == kinds_of(())
    assert ("kill", "stop") == kinds_of(("kill, STOP", "kill"))
    with pytest.raises(CliError, match="names no fault"):
        kinds_of((" ,",))


async def test_a_command_that_is_to_be_undone_is_not_done_again_before() -> None:
    target = Target(aim(commands=commands_of(("on=true", "on:undo=true", "hit=true"))), Settings(), [], ())

    def made(name: str) -> Commanded | None:
        breakage = target.breaks(Fault(at_s=0, service=name, index=0, blow=COMMAND, for_s=1), ())
        if breakage is None:
            return None
        assert isinstance(breakage.fault, Commanded)
        return breakage.fault

    first, hit = made("on"), made("hit")
    assert first is not None
    assert hit is not None
    await first.begin()
    await hit.begin()
    assert made("on") is None
    assert made("hit") is not None
    await first.end()
    assert made("on") is not None


def test_a_request_that_was_not_refused_is_told_in_a_sentence() -> None:
    probe = Probe("GET watch", (403, "forbidden"), 200, "")
    assert "GET watch was answered 200 (no code), not 403 forbidden" == str(probe)
