"""Commands: faults that the owner of a deployment does by commands of their own."""

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace

from decopilot.cli.chaos.odds import COMMAND, Family
from decopilot.cli.errors import CliError

COMMAND_S = 60.0
"""So long a command may take."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")
_SAID = re.compile(r"(?P<name>[^=:]+)(?P<undo>:undo)?=(?P<command>.+)", re.DOTALL)
TAKEN = {"viewers", "clients", "nats", "runner", "driver", "tool", "reactor", "gateway", "command", "commands"}


@dataclass(frozen=True, slots=True)
class Command:
    """A fault of the owner's: the shell's command line that does it, and the one that undoes it, if there is one."""

    name: str
    does: str
    undoes: str | None = None


@dataclass(slots=True)
class Commanded:
    """A fault that is done by a command."""

    command: Command
    kind: str = "command"
    _is_on: bool = False

    @property
    def target(self) -> str:
        """What its owner calls it."""
        return self.command.name

    @property
    def is_to_be_undone(self) -> bool:
        """Whether it goes on until something undoes it."""
        return self._is_on and self.command.undoes is not None

    async def begin(self) -> None:
        """Run the command; raises `CommandError` if it fails."""
        self._is_on = True
        await _run(self.command.does)

    async def end(self) -> None:
        """Run what undoes it, until that has been done; raises `CommandError` if it fails."""
        if self._is_on and self.command.undoes is not None:
            await _run(self.command.undoes)
            self._is_on = False


class CommandError(Exception):
    """A command of the owner's failed: how, and what it said last."""

    def __init__(self, line: str, why: str, said: str) -> None:
        self.line, self.why, self.said = line, why, said
        super().__init__(f"`{line}` {why}: {said}" if said else f"`{line}` {why}")


async def _run(line: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        line,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C must reach us alone, who mend what it has done
    )
    try:
        async with asyncio.timeout(COMMAND_S):
            output, _ = await process.communicate()
    except TimeoutError:
        raise CommandError(line, f"took longer than {COMMAND_S:g} s", "") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        raise CommandError(line, f"ended with {process.returncode}", output.decode(errors="replace").strip()[-200:])


def commands_of(texts: Sequence[str]) -> tuple[Command, ...]:
    """Read `NAME=COMMAND` and `NAME:undo=COMMAND`.

    Raises:
        CliError: one can't be read, or undoes what nothing does.

    """
    found: dict[str, Command] = {}
    undone: dict[str, str] = {}
    for text in texts:
        said = _SAID.fullmatch(text)
        if said is None or not _NAME.fullmatch(said["name"]):
            message = f"--fault {text!r}: say NAME=COMMAND or NAME:undo=COMMAND, the name in small letters."
            raise CliError(message)
        name = said["name"]
        if name in TAKEN:
            message = f"--fault {name}: that is what a fault of ours is called; choose another name, such as my-{name}."
            raise CliError(message)
        if said["undo"]:
            undone[name] = said["command"]
        else:
            found[name] = Command(name, said["command"])
    if lost := undone.keys() - found.keys():
        message = f"--fault {', '.join(sorted(lost))}:undo undoes what no --fault does."
        raise CliError(message)
    return tuple(replace(one, undoes=undone.get(one.name)) for one in found.values())


def family_of(commands: Sequence[Command]) -> Family | None:
    """Make a family of commands, each as likely as the other; None where there are none."""
    if not commands:
        return None
    return Family("commands", (6.0, 14.0), (15.0, 30.0), tuple((1.0, one.name, COMMAND) for one in commands))
