"""An issuer: serves its keys over HTTP, counts who asks, and fails when it is told to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from support.keys import SigningKey


@dataclass(slots=True)
class Issuer:
    """What it answers, and how often it was asked."""

    keys: list[SigningKey] = field(default_factory=list)
    url: str = ""
    asked: int = 0
    answer: web.Response | None = None
    """In the place of its keys."""
    closed: asyncio.Event | None = None
    """Until this is set it keeps who asks waiting."""

    async def handle(self, _request: web.Request) -> web.Response:
        """Answer with the keys."""
        self.asked += 1
        if self.closed is not None:
            await self.closed.wait()
        if self.answer is not None:
            return web.Response(status=self.answer.status, body=self.answer.body, headers=self.answer.headers)
        return web.json_response({"keys": [key.jwk for key in self.keys]})


@asynccontextmanager
async def running_issuer(*keys: SigningKey) -> AsyncIterator[Issuer]:
    """Run one on this machine while the context is open."""
    issuer = Issuer([*keys])
    app = web.Application()
    app.router.add_get("/keys", issuer.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
        yield issuer
    finally:
        await runner.cleanup()
