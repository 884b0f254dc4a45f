"""A viewer: reads a thread's Server-Sent Events as a browser would, and comes back with its cursor."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp

from decopilot.contracts.messages import UIMessage
from decopilot.domain.fold import Fold

Chunk = dict[str, Any]


@dataclass(slots=True)
class Viewer:
    """One viewer of one thread; `url` may change between connections, as behind a load balancer.

    With `rewind` it declares that it takes chunks back where a rewind says so; `query` is what else it declares.
    """

    url: str
    token: str
    thread: str
    org: str = "local"
    seen: list[tuple[str, Chunk]] = field(default_factory=list)
    raw: bytearray = field(default_factory=bytearray)
    cursor: str | None = None
    rewind: bool = False
    query: dict[str, str] = field(default_factory=dict)

    @property
    def chunks(self) -> list[Chunk]:
        """Every chunk seen, over all connections."""
        return [chunk for _, chunk in self.seen]

    @property
    def text(self) -> str:
        """The answer's text as seen."""
        return "".join(chunk["delta"] for chunk in self.chunks if chunk["type"] == "text-delta")

    @property
    def messages(self) -> dict[str, UIMessage]:
        """The answers as a client holds them that begins one anew at its `start`, and after a reset.

        One that does not take rewinds only learns from them what a continuation goes on with.
        """
        folds: dict[str, Fold] = {}
        growing: Fold | None = None
        is_opening = False
        for chunk in self.chunks:
            match chunk["type"]:
                case "start":
                    growing, is_opening = Fold(chunk["messageId"]), True
                    folds[chunk["messageId"]] = growing
                case "data-thread-reset":
                    folds = {message_id: fold for message_id, fold in folds.items() if fold.finished}
                    growing = None
                case "data-run-rewind" if growing is None and self.rewind:
                    message_id = chunk["data"]["message"]["id"]
                    growing = folds[message_id] = Fold(message_id)
                case "data-run-rewind" if not self.rewind and not is_opening:
                    continue
            is_opening = is_opening and (chunk["type"] == "start" or chunk.get("transient", False))
            if growing is not None:
                growing.add(chunk)
        return {message_id: fold.message() for message_id, fold in folds.items()}

    @asynccontextmanager
    async def attached(self) -> AsyncIterator[AsyncIterator[Chunk]]:
        """Attach at the cursor; yields once the server has answered."""
        headers = {"Authorization": f"Bearer {self.token}"}
        if self.cursor is not None:
            headers["Last-Event-ID"] = self.cursor
        query = self.query | ({"rewind": "true"} if self.rewind else {})
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(
                f"{self.url}/{self.org}/decopilot/attach/{self.thread}", headers=headers, params=query
            ) as response,
        ):
            response.raise_for_status()
            assert "text/event-stream" == response.content_type
            yield self._read(response)

    async def _read(self, response: aiohttp.ClientResponse) -> AsyncIterator[Chunk]:
        rest = b""
        async for data in response.content.iter_any():
            self.raw += data
            *events, rest = (rest + data).split(b"\n\n")
            for event in events:
                fields = dict(line.split(b": ", 1) for line in event.split(b"\n") if not line.startswith(b":"))
                # What has no id leaves one where one was.
                id_ = fields.get(b"id", b"").decode()
                self.cursor = id_ or self.cursor
                if b"data" not in fields or fields[b"data"] == b"[DONE]":
                    continue
                chunk = json.loads(fields[b"data"])
                self.seen.append((id_, chunk))
                yield chunk

    async def watch_run(self, *, deadline_s: float = 60, at_most: int | None = None) -> bool:
        """Read until a run's `finish`, or `at_most` chunks, or until the connection ends; tell whether it finished."""
        async with asyncio.timeout(deadline_s), self.attached() as chunks:
            count = 0
            async for chunk in chunks:
                count += 1
                if chunk["type"] == "finish":
                    return True
                if at_most is not None and count >= at_most:
                    return False
        return False

    async def watch_run_through(self, *, deadline_s: float = 60) -> None:
        """Read until a run's `finish`, coming back whenever the connection ends or fails."""
        async with asyncio.timeout(deadline_s):
            while True:
                with suppress(aiohttp.ClientError, ConnectionError):
                    if await self.watch_run(deadline_s=deadline_s):
                        return
                await asyncio.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Api:
    """Calls of the gateway other than streams."""

    url: str
    token: str
    org: str = "local"

    def path(self, rest: str) -> str:
        """Make the URL of an org's path."""
        return f"{self.url}/{self.org}/{rest}"

    async def call(
        self,
        method: str,
        url: str,
        *,
        body: object = None,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Call, and return status and decoded body."""
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"} | (headers or {})
        payload = data if data is not None else (None if body is None else json.dumps(body).encode())
        timeout = aiohttp.ClientTimeout(total=20)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, url, data=payload, headers=sent) as response,
        ):
            return response.status, json.loads(await response.read())

    async def post(self, thread: str, text: str, *, message_id: str | None = None, **more: object) -> tuple[int, Any]:
        """Post a message."""
        message: dict[str, object] = {"role": "user", "parts": [{"type": "text", "text": text}]}
        if message_id is not None:
            message["id"] = message_id
        return await self.call(
            "POST", self.path(f"decopilot/threads/{thread}/messages"), body={"messages": [message], **more}
        )

    async def get(self, rest: str) -> tuple[int, Any]:
        """Read something of the org's."""
        return await self.call("GET", self.path(rest))

    async def settled(self, thread: str, *, deadline_s: float = 20) -> dict[str, Any]:
        """Read a thread that nothing is active on any more: viewers see a run's `finish` just before it has ended."""
        async with asyncio.timeout(deadline_s):
            while True:
                status, body = await self.get(f"decopilot/threads/{thread}")
                assert 200 == status, body
                if body["status"] != "in_progress":
                    return cast("dict[str, Any]", body)
                await asyncio.sleep(0.02)

    async def messages(self, thread: str) -> tuple[list[dict[str, Any]], str]:
        """Read a thread's messages and their cursor."""
        status, body = await self.get(f"decopilot/threads/{thread}/messages")
        assert 200 == status, body
        return body["messages"], body["cursor"]
