"""Faults that can't be ended excuse nothing that comes later, and what could be undone is."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from decopilot.cli.chaos.commands import Command, Commanded, CommandError
from decopilot.cli.chaos.sabotage import Breakage, Saboteur
from decopilot.cli.chaos.schedule import Fault
from decopilot.cli.state import ProcessInfo
from decopilot.kit.settings import Settings


class Empty:
    """A ground on which nothing runs."""

    @property
    def operator(self) -> Settings:
        return Settings()

    def token(self, org: str, user: str) -> str:
        return f"{org}/{user}"

    def processes(self) -> Sequence[ProcessInfo]:
        return ()


@dataclass
class Stubborn:
    """A fault that never ends."""

    kind: str = "stubborn"
    target: str = "all"
    tries: int = 0

    async def begin(self) -> None: ...

    async def end(self) -> None:
        self.tries += 1
        raise OSError


async def test_a_fault_that_can_not_be_ended_lasts_no_longer_than_until_that_was_tried(tmp_path: Path) -> None:
    stubborn = Stubborn()
    saboteur = Saboteur(Empty(), tmp_path / "none", dict, lambda _fault, _targets: Breakage(0, stubborn))
    await saboteur.strike_all([Fault(0.0, "mine", 0, "COMMAND")], asyncio.Event())
    [hit] = saboteur.hits
    assert hit.ended <= datetime.now(UTC)
    assert (1, 2) == (len(saboteur.failures), stubborn.tries)


async def test_what_undoes_a_command_is_run_again_where_it_failed(tmp_path: Path) -> None:
    undoes = f"test -e {tmp_path}/tried && touch {tmp_path}/undone || {{ touch {tmp_path}/tried; false; }}"
    commanded = Commanded(Command("mine", "true", undoes))
    await commanded.begin()
    with pytest.raises(CommandError):
        await commanded.end()
    await commanded.end()
    assert (tmp_path / "undone").exists()
