"""Fakes of model providers over HTTP: scripts that any of them can say, chosen by the last user message."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

from aiohttp import web

Json = dict[str, Any]
Failing = Literal["rate_limit", "overloaded", "auth", "funds", "server", "context", "unavailable"]


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that the model makes; `arguments` are what it writes, whole JSON or not."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Turn:
    """What the model says in one answer, and how that ends; a stream may break off or hang behind its text."""

    thinking: str = ""
    text: str = ""
    calls: Sequence[Call] = ()
    stop: Literal["stop", "length", "refusal"] = "stop"
    then: Literal["ends", "breaks_off", "hangs", "fails"] = "ends"
    redacted: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    """An error in place of an answer; `in_stream` it comes behind a 200."""

    kind: Failing
    retry_after_ms: int | None = None
    in_stream: bool = False


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer at all."""


Reply = Turn | Fail | Hang
Script = Sequence[Sequence[Reply]]
"""For each step of the conversation what its tries get, the last one for ever."""

BUSY = Fail("rate_limit", retry_after_ms=10)
WEATHER = Call("look", '{"place": "Oslo"}')
LOOKS = Turn(thinking="I look.", calls=[WEATHER])

SCRIPTS: dict[str, Script] = {
    "say": [[Turn(text="Hello there.")]],
    "think": [[Turn(thinking="Let me think.", text="Thought.")]],
    "weather": [[Turn(thinking="I look.", text="I look it up.", calls=[WEATHER])], [Turn(text="It is sunny.")]],
    "secretly": [[Turn(thinking="hidden", redacted=True, calls=[WEATHER])], [Turn(text="It is sunny.")]],
    "batch": [
        [Turn(thinking="All three.", calls=[Call("act", json.dumps({"name": name})) for name in ("a", "b", "c")])],
        [Turn(text="All done.")],
    ],
    "busy": [[BUSY, Fail("overloaded", retry_after_ms=10), Turn(text="At last.")]],
    "busy then tool": [[BUSY, LOOKS], [BUSY, BUSY, Turn(text="At last.")]],
    "busy in stream": [[Fail("overloaded", in_stream=True), Turn(text="At last.")]],
    "busy for ever": [[BUSY]],
    "busy for long": [[Fail("rate_limit", retry_after_ms=3_600_000)]],
    "breaks off": [[Turn(text="I began, and", then="breaks_off")]],
    "breaks off in a call": [[Turn(calls=[Call("look", '{"place": "Os')], then="breaks_off")]],
    "breaks off at once": [[Turn(then="breaks_off"), Turn(text="At last.")]],
    "fails midway": [[Turn(text="I began, and", then="fails")]],
    "hangs": [[Turn(text="I began, and", then="hangs")]],
    "hangs at once": [[Hang()]],
    "refuses": [[Turn(text="I can't help with that.", stop="refusal")]],
    "too long": [[Turn(text="On and on", stop="length")]],
    "malformed": [
        [Turn(thinking="I look.", calls=[Call("look", '{"place": "Os')])],
        [LOOKS],
        [Turn(text="It is sunny.")],
    ],
    "wrong arguments": [
        [Turn(thinking="I look.", calls=[Call("look", '{"city": 1}')])],
        [LOOKS],
        [Turn(text="It is sunny.")],
    ],
    "unauthorized": [[Fail("auth")]],
    "no money": [[Fail("funds")]],
    "broken": [[Fail("server", retry_after_ms=10)]],
    "unavailable": [[Fail("unavailable", retry_after_ms=10)]],
    "context": [[Fail("context")]],
}


class RefusedError(Exception):
    """The request breaks a rule of the API."""

    def __init__(self, rule: str) -> None:
        self.rule = rule
        super().__init__(rule)


@dataclass
class FakeProvider(ABC):
    """A provider's API at `base_url`, with everything that it was sent."""

    requests: list[Json] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    base_url: str = ""
    tries: Counter[tuple[str, int]] = field(default_factory=Counter)
    _ids: Iterator[int] = field(default_factory=lambda: count(1))
    _leaving: asyncio.Event = field(default_factory=asyncio.Event)

    @abstractmethod
    def routes(self) -> list[web.RouteDef]:
        """Give the paths that it serves."""

    @abstractmethod
    def asked(self, body: Json) -> tuple[str, int]:
        """Read the last user message, and how many answers of the model stand behind it.

        Raises:
            RefusedError: the request is none that the provider takes.

        """

    @abstractmethod
    def failure(self, fail: Fail) -> tuple[int, Json]:
        """Make the status and body of an error."""

    @abstractmethod
    def refusal(self, text: str) -> Json:
        """Make the body of a 400."""

    @abstractmethod
    def events(self, turn: Turn, body: Json, step: int) -> list[str]:
        """Make the events of an answer as they go over the wire, without its end where it has none."""

    @abstractmethod
    def failing_event(self, fail: Fail) -> str:
        """Make the event of an error within a stream."""

    def usage(self, step: int) -> tuple[int, int]:
        """Tell the tokens of an answer, in and out."""
        return 100 + 10 * step, 7

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator["FakeProvider"]:
        """Serve until the context is left."""
        app = web.Application()
        app.add_routes(self.routes())
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            self._leaving.set()
            await runner.cleanup()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request by its script."""
        body = await request.json()
        self.requests.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        try:
            text, step = self.asked(body)
        except RefusedError as error:
            return web.json_response(self.refusal(str(error)), status=400)
        tries = SCRIPTS[text][step]
        reply = tries[min(self.tries[text, step], len(tries) - 1)]
        self.tries[text, step] += 1
        # Ids of an answer that is given again are what they were.
        self._ids = count(100 * step + 1)
        if isinstance(reply, Hang):
            await self._leaving.wait()
            raise web.HTTPServiceUnavailable
        if isinstance(reply, Fail) and not reply.in_stream:
            status, told = self.failure(reply)
            headers = {} if reply.retry_after_ms is None else {"retry-after-ms": str(reply.retry_after_ms)}
            return web.json_response(told, status=status, headers=headers)
        return await self._stream(request, reply, body, step)

    async def _stream(self, request: web.Request, reply: Turn | Fail, body: Json, step: int) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        if isinstance(reply, Fail):
            await response.write(self.failing_event(reply).encode())
            return response
        for event in self.events(reply, body, step):
            await response.write(event.encode())
        if reply.then == "hangs":
            await self._leaving.wait()
        elif reply.then == "fails":
            await response.write(self.failing_event(Fail("overloaded")).encode())
        if reply.then in {"hangs", "breaks_off"} and request.transport is not None:
            # Not the chunked encoding's end: the connection is gone in the middle.
            request.transport.abort()
        return response


def pieces(text: str, size: int = 6) -> list[str]:
    """Cut a text into what a model streams at a time."""
    return [text[at : at + size] for at in range(0, len(text), size)]
