"""`decopilot doctor`: look at a broker, its streams, services, clocks and runs, change nothing, and say what to do."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import typer
from nats.errors import Error as NatsError
from rich.console import Console

from decopilot.cli.doctor.broker import check_broker
from decopilot.cli.doctor.clocks import check_clocks
from decopilot.cli.doctor.findings import Finding, fault
from decopilot.cli.doctor.patient import Patient
from decopilot.cli.doctor.runs import check_runs
from decopilot.cli.doctor.services import check_services
from decopilot.cli.doctor.showing import show
from decopilot.cli.doctor.topology import check_topology
from decopilot.cli.errors import CliError
from decopilot.cli.reaching import Broker, UnreachableError, Where, find, reaching
from decopilot.log.store import Store

FINE, FAULTS, CANNOT_LOOK = 0, 1, 2
LATE_S = 30.0
CHECKS = {
    "the topology": check_topology,
    "the services": check_services,
    "the clocks": check_clocks,
    "the runs": check_runs,
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is looked at, and how it is told."""

    data_dir: Path
    secrets: Path | None = None
    monitor: str | None = None
    late_s: float = LATE_S
    as_json: bool = False
    verbose: bool = False


def doctor(wish: Wish, environment: Mapping[str, str]) -> int:
    """Look, tell, and return the exit status: 0 fine, 1 faults, 2 it could not be looked."""
    console = Console(stderr=True)
    try:
        broker = find(Where(wish.data_dir, wish.secrets, environment), wish.monitor)
        with console.status("Looking…") as status:
            findings = asyncio.run(_all(broker, wish.late_s, lambda what: status.update(f"Looking at {what}…")))
    except CliError as error:
        if wish.as_json:
            typer.echo(json.dumps({"status": "cannot_look", "detail": str(error), "findings": []}))
        else:
            typer.secho(str(error), err=True, fg=typer.colors.RED)
        return CANNOT_LOOK
    has_faults = any(finding.level == "fault" for finding in findings)
    if wish.as_json:
        told = [finding.as_json() for finding in findings if wish.verbose or finding.level != "ok"]
        typer.echo(json.dumps({"status": "faults" if has_faults else "fine", "findings": told}, indent=2))
    else:
        show(findings, verbose=wish.verbose)
    return FAULTS if has_faults else FINE


async def _all(broker: Broker, late_s: float, progress: Callable[[str], None]) -> list[Finding]:
    return [finding async for finding in examine(broker, late_s=late_s, progress=progress)]


async def examine(
    broker: Broker, *, late_s: float = LATE_S, progress: Callable[[str], None] = lambda _: None
) -> AsyncIterator[Finding]:
    """Yield what is found.

    Raises:
        UnreachableError: the broker is away, or does not let us in.

    """
    refusals: list[str] = []
    async with (
        reaching(broker.settings, "doctor", on_error=lambda e: refusals.append(str(e))) as nc,
        Store(nc) as store,
    ):
        patient = Patient(broker, nc, store, late_s)
        progress("the broker")
        can_go_on = True
        async for finding in check_broker(patient):
            can_go_on = can_go_on and (finding.check, finding.level) != ("jetstream", "fault")
            yield finding
        for what, check in CHECKS.items() if can_go_on else ():
            progress(what)
            try:
                async for finding in check(patient):
                    yield finding
            except (NatsError, TimeoutError, OSError) as error:
                said = refusals[-1] if refusals else repr(error)
                if nc.is_closed:
                    message = f"The broker went away meanwhile ({said})."
                    raise UnreachableError(message, "Look again once it is back: decopilot doctor") from error
                yield fault(
                    "broker",
                    "unanswered",
                    f"Looking at {what} came to no end: {said}.",
                    "What is not seen may be broken.",
                    "Mend what is said above (a stream that is away answers nobody), then: decopilot doctor",
                )
