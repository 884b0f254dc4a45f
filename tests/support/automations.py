"""Automations: their plans, what was decided for them, and the runs that came of it."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from decopilot.contracts import subjects
from decopilot.contracts.automations import Ledger
from decopilot.contracts.configuration import Configuration
from decopilot.contracts.events import Recorded, RunRequested
from decopilot.contracts.ids import ThreadId
from decopilot.domain.automating import Plan, plans
from decopilot.log.automations import Automations
from decopilot.log.journal import decode
from decopilot.log.store import Store
from decopilot_reactor.automating import Clockwork
from support.services import ORG, Record

NAME = "report"


def plan(**more: object) -> Plan:
    """Make the plan of one automation, due every hour unless told otherwise."""
    told = {"org": ORG, "message": "Sum up.", "schedule": "0 * * * *"} | more
    return plans(Configuration.model_validate({"automations": {NAME: told}}))[NAME]


def write_configuration(path: Path, **more: object) -> Path:
    """Write the file of one automation, for services as their operator gives it to them."""
    told = {"org": ORG, "message": "Sum up."} | more
    # What TOML and JSON write differently is not among it.
    lines = [f"{key} = {json.dumps(value)}" for key, value in told.items()]
    path.write_text("\n".join([f"[automations.{NAME}]", *lines, ""]))
    return path


def clockwork(record: Record, now: Callable[[], datetime]) -> Clockwork:
    """Make what a reactor keeps the time with, by a clock of the test's."""
    return Clockwork(record.store.nc, Automations(record.store, record.journal), [], look_s=10, now=now)


async def ledger(store: Store) -> Ledger:
    """Read what was decided."""
    bucket = subjects.AUTOMATIONS_BUCKET
    stored = await store.last(f"KV_{bucket}", subjects.bucket_key(bucket, subjects.automation_key(ORG, NAME)))
    return Ledger() if stored is None else Ledger.model_validate_json(stored.data)


async def runs(store: Store) -> list[Recorded]:
    """Read the requests of all runs of the org, in their order."""
    filter_ = subjects.event(ORG, ThreadId("*"), "run_requested")
    last = await store.last(subjects.EVENTS_STREAM, filter_)
    until = 0 if last is None else last.sequence
    return [
        decode(stored)
        async for batch in store.read(subjects.EVENTS_STREAM, filter_, 0, until=until)
        for stored in batch
    ]


def requested(recorded: Recorded) -> RunRequested:
    """Take an event for what asks for a run."""
    assert isinstance(recorded.event, RunRequested)
    return recorded.event
