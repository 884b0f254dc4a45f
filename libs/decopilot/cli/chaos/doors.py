"""The doors: every gateway, each call at one of them, and an answer or none."""

import asyncio
import json
import random
from dataclasses import dataclass
from typing import Any

import aiohttp

ORG = "local"
FAILURES = (aiohttp.ClientError, ConnectionError, TimeoutError, OSError)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a gateway answered."""

    status: int
    body: dict[str, Any]

    @property
    def code(self) -> str:
        """Why it refused; empty where it did not."""
        return str(self.body.get("code", ""))


@dataclass(frozen=True, slots=True)
class Doors:
    """Where a user with a token may go in."""

    session: aiohttp.ClientSession
    urls: tuple[str, ...]
    token: str
    org: str = ORG

    @property
    def headers(self) -> dict[str, str]:
        """Who asks."""
        return {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}

    def url(self, chance: random.Random, rest: str) -> str:
        """Make the URL of an org's path at some gateway."""
        return f"{chance.choice(self.urls)}/{self.org}/{rest}"

    async def call(self, chance: random.Random, method: str, rest: str, body: object = None) -> Answer | None:
        """Call; None where nobody can tell what came of it."""
        # Some are impatient: what they asked for happens all the same, or does not.
        timeout_s = chance.choice((0.1, 2.0, 6.0, 12.0, 12.0, 12.0))
        return await self.call_url(method, self.url(chance, rest), body, timeout_s=timeout_s)

    async def call_url(self, method: str, url: str, body: object = None, *, timeout_s: float = 12.0) -> Answer | None:
        """Call a certain gateway; bytes are sent as a file, everything else as JSON."""
        payload = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        type_ = {"Content-Type": "application/octet-stream"} if isinstance(body, bytes) else {}
        try:
            async with (
                asyncio.timeout(timeout_s),
                self.session.request(method, url, data=payload, headers=self.headers | type_) as response,
            ):
                return Answer(response.status, json.loads(await response.read()))
        except FAILURES:
            return None

    async def fetch(self, url: str, *, timeout_s: float = 12.0) -> tuple[int, bytes] | None:
        """Read a file; None where nobody can tell."""
        try:
            async with asyncio.timeout(timeout_s), self.session.get(url, headers=self.headers) as response:
                return response.status, await response.read()
        except FAILURES:
            return None
