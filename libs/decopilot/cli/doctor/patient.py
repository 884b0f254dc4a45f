"""The patient: the broker that is looked at, and what every check needs of it."""

import asyncio
import http
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nats.aio.client import Client
from nats.errors import NoRespondersError

from decopilot.cli.reaching import Broker
from decopilot.contracts import subjects
from decopilot.kit.settings import Settings
from decopilot.log.clock import moment
from decopilot.log.store import Store

MONITOR_TIMEOUT_S = 2.0
ANSWER_S = 5.0


@dataclass(slots=True)
class Patient:
    """Reads only: every request to the broker is one that changes nothing.

    `late_s` is how long something may wait before it is a fault.
    """

    broker: Broker
    client: Client
    store: Store
    late_s: float
    infos: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """Where, and as whom."""
        return self.broker.settings

    async def ask(self, call: str, body: bytes = b"") -> dict[str, Any]:
        """Ask JetStream; what it refuses is in the answer's `error`."""
        try:
            answer = await self.client.request(f"$JS.API.{call}", body, timeout=ANSWER_S)
        except NoRespondersError:
            return {"error": {"code": http.HTTPStatus.SERVICE_UNAVAILABLE, "description": "JetStream does not answer"}}
        except TimeoutError:
            return {"error": {"code": http.HTTPStatus.REQUEST_TIMEOUT, "description": f"no answer in {ANSWER_S:g} s"}}
        found: dict[str, Any] = json.loads(answer.data)
        return found

    async def stream(self, name: str) -> dict[str, Any]:
        """Ask how a stream stands, once."""
        if name not in self.infos:
            self.infos[name] = await self.ask(f"STREAM.INFO.{name}")
        return self.infos[name]

    async def streams(self) -> AsyncIterator[dict[str, Any]]:
        """Ask after every stream that there is, ours or not; where that is not told there is none."""
        offset, total = 0, 1
        while offset < total:
            told = await self.ask("STREAM.LIST", json.dumps({"offset": offset}).encode())
            page = told.get("streams") or []
            for info in page:
                yield info
            offset, total = offset + len(page), told.get("total", 0) if page else 0

    async def consumer(self, stream: str, name: str) -> dict[str, Any]:
        """Ask how a consumer stands now."""
        return await self.ask(f"CONSUMER.INFO.{stream}.{name}")

    async def monitor(self, path: str) -> dict[str, Any] | None:
        """Ask the server's HTTP monitoring; None where it is not at hand."""
        return await asyncio.to_thread(self._monitor, path)

    def _monitor(self, path: str) -> dict[str, Any] | None:
        if self.broker.monitor_url is None:
            return None
        try:
            url = f"{self.broker.monitor_url.rstrip('/')}/{path}"
            with urllib.request.urlopen(url, timeout=MONITOR_TIMEOUT_S) as answer:  # noqa: S310  the operator's own URL
                found: dict[str, Any] = json.load(answer)
                return found
        except (OSError, ValueError, urllib.error.URLError):
            return None

    async def broker_now(self) -> datetime | None:
        """Ask the leader of the event log what time it is."""
        told = (await self.ask(f"STREAM.INFO.{subjects.EVENTS_STREAM}")).get("ts")
        return None if told is None else moment(told)
