"""The whole of it as processes: gateway, command, runner and reactor over a broker, and what its streams hold."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from decopilot.contracts import subjects
from decopilot.log.store import Store
from support.gateways import GatewayProcess, gateway_process
from support.gateways import until as holds
from support.services import Record, Services

Automations = Mapping[str, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Whole:
    """Everything that runs, seen from outside and from below."""

    gateway: GatewayProcess
    record: Record
    services: Services

    async def head(self) -> int:
        """Read the last sequence of the event log."""
        return int((await self.record.store.js.stream_info(subjects.EVENTS_STREAM)).state.last_seq)

    async def rest(self, *, deadline_s: float = 60) -> int:
        """Wait until no run goes on, and nobody but whoever asks something appends to the log; returns its head."""
        await self.record.drained(subjects.RUNNER_CONSUMER, deadline_s)
        return await self.head()

    def complaints(self) -> list[dict[str, object]]:
        """What the services logged that no operator should have to read."""
        lines = [json.loads(line) for line in self.gateway.log.read_text().splitlines() if line.startswith("{")]
        own = [line for line in lines if line.get("level") not in {"debug", "info", "warning"}]
        # A runner that is told to cancel in a model's stream may leave a generator of pydantic-ai's behind, of which
        # the event loop complains once it is collected (2.68.0: `async_generator_athrow`).
        lines = [line for service in self.services.started for line in service.complaints()]
        return own + [line for line in lines if "async_generator_athrow" not in str(line.get("event"))]


def write_automations(path: Path, automations: Automations) -> Path:
    """Write the configuration of automations; what TOML and JSON write differently is not among it."""
    lines = []
    for name, told in automations.items():
        lines += [f"[automations.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in told.items()), ""]
    path.write_text("\n".join(lines))
    return path


@asynccontextmanager
async def whole(nats_url: str, store: Store, folder: Path, automations: Automations) -> AsyncIterator[Whole]:
    """Run it while the context is open; the demo model answers without pauses."""
    config = write_automations(folder / "decopilot.toml", automations)
    services = Services(folder, nats_url)
    try:
        async with gateway_process(nats_url, folder, config=config, log_level="info") as gateway:
            for name in ("command", "runner", "reactor"):
                # One after the other: each takes a core for as long as it begins.
                await services.start(name, config=config, demo_delay_ms=0).ready()
            await holds(lambda: gateway.answers(200))
            yield Whole(gateway, Record.of(store), services)
    finally:
        services.end()
