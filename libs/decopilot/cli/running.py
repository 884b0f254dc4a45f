"""What others may ask of a running `up`: what runs, and to end."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from decopilot.cli.errors import CliError
from decopilot.cli.processes import State
from decopilot.cli.state import DataFolder, ProcessInfo

DOWN_TIMEOUT_S = 30.0
POLL_S = 0.05
STYLES = {State.READY: "green", State.STARTING: "yellow", State.NOT_READY: "yellow", State.DEAD: "red"}


def list_processes(data_dir: Path) -> tuple[ProcessInfo, ...]:
    """Return the processes of the `up` in `data_dir`, nats too; raises `CliError` where nothing runs."""
    return tuple(_seen(process) for process in DataFolder(data_dir).read_run().processes)


def show_table(processes: Sequence[ProcessInfo]) -> None:
    """Print the processes for a person."""
    table = Table(box=None, header_style="bold")
    for column in ("SERVICE", "PID", "PORT", "STATE"):
        table.add_column(column, justify="right" if column in {"PID", "PORT"} else "left")
    for process in processes:
        name = f"{process.service}#{process.index}"
        style = STYLES.get(State(process.state), "")
        table.add_row(name, str(process.pid or "-"), str(process.port), process.state, style=style)
    Console().print(table)


def end(data_dir: Path) -> str:
    """End the `up` in `data_dir` and wait until it has ended; return what to tell the user.

    Raises `CliError` where it still runs after 30 s, or belongs to somebody else.
    """
    folder = DataFolder(data_dir)
    pid = folder.holder()
    if pid is None:
        return f"Nothing runs in {folder.path}."
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it has just ended
    except PermissionError as error:
        message = f"`decopilot up` (pid {pid}) belongs to another user."
        raise CliError(message) from error
    deadline = time.monotonic() + DOWN_TIMEOUT_S
    while folder.holder() is not None:
        if time.monotonic() > deadline:
            message = f"`decopilot up` (pid {pid}) still runs after {DOWN_TIMEOUT_S:g} s. Kill it with: kill -9 {pid}"
            raise CliError(message)
        time.sleep(POLL_S)
    return f"Ended `decopilot up` (pid {pid})."


def _seen(process: ProcessInfo) -> ProcessInfo:
    """Return the process as it is now: one that was killed an instant ago may not be written down yet."""
    if process.pid is None or _lives(process.pid):
        return process
    return process.model_copy(update={"pid": None, "state": State.DEAD.value})


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
