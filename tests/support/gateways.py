"""A gateway in this process, over runs whose every frame and event the test writes itself."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import aiohttp
import jwt

from decopilot.contracts import subjects
from decopilot.contracts.configuration import Configuration
from decopilot.contracts.events import Event, RunCompleted, RunRequested, ThreadCreated
from decopilot.contracts.frames import Cursor, Frame, Outcome
from decopilot.contracts.ids import MessageId, OrgId, RunId, ThreadId, UserId
from decopilot.contracts.messages import RunConfig, UIMessage, Usage
from decopilot.domain.margins import closing, opening, rewind_chunk
from decopilot.domain.resuming import ResumePoint, resume_point
from decopilot.log.chunklog import ChunkLog
from decopilot.log.ending import Attempt, Ender
from decopilot.log.history import Histories
from decopilot.log.journal import Journal
from decopilot.log.store import Store
from decopilot.log.views import Views
from decopilot_gateway.app import listening
from decopilot_gateway.settings import GatewaySettings
from support.brokers import login, login_environment
from support.stack import READY_S, free_port
from support.viewer import Api, Chunk, Viewer

SECRET = "a secret of thirty-two characters"
ORG = OrgId("acme")
_COMPLETED = Outcome(status="completed", finish_reason="stop")


def make_token(*, secret: str = SECRET, algorithm: str = "HS256", **claims: object) -> str:
    """Make a token: valid for ann of acme unless the claims say otherwise (None: leave the claim out)."""
    said = {"sub": "ann", "orgs": {ORG: "owner"}, "exp": int(time.time()) + 600} | claims
    return jwt.encode({name: value for name, value in said.items() if value is not None}, secret, algorithm)


def gateway_settings(nats_url: str, **more: object) -> GatewaySettings:
    """Settings of a gateway on a free port."""
    given = {"nats_url": nats_url, "jwt_secret": SECRET, "http_port": 0, "instance": "test", "jwt_leeway_s": 0}
    given |= login("gateway") | more
    return GatewaySettings.model_validate(given)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that listens."""

    url: str

    @property
    def api(self) -> Api:
        """Calls of ann's."""
        return Api(self.url, make_token(), ORG)

    def viewer(self, thread: str, cursor: str | None = None, *, rewind: bool = False, **query: str) -> Viewer:
        """Make a viewer of ann's."""
        return Viewer(self.url, make_token(), thread, ORG, cursor=cursor, rewind=rewind, query=query)


@asynccontextmanager
async def running_gateway(
    nats_url: str, configuration: Configuration | None = None, /, **more: object
) -> AsyncIterator[Gateway]:
    """Run a gateway in this process while the context is open; leaving is what SIGTERM does to a process."""
    settings = gateway_settings(nats_url, **more)
    async with listening(settings, configuration) as port:
        gateway = Gateway(f"http://127.0.0.1:{port}{settings.path_prefix}")
        await until(lambda: _is_ready(gateway))
        yield gateway


@dataclass(frozen=True, slots=True)
class GatewayProcess(Gateway):
    """A gateway in a process of its own."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    async def status(self, path: str) -> int | None:
        """Ask; None where nobody listens."""
        async with aiohttp.ClientSession() as session:
            with suppress(aiohttp.ClientConnectionError):
                async with session.get(self.url + path, headers={"Authorization": f"Bearer {self.api.token}"}) as got:
                    return got.status
        return None

    async def answers(self, status: int | None, path: str = "/readyz") -> bool:
        """Tell whether a path answers with this status."""
        return await self.status(path) == status

    async def end(self, *, deadline_s: float = 8) -> int:
        """Send SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, deadline_s)


def _spawn(environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        command = [sys.executable, "-m", "decopilot_gateway"]
        return subprocess.Popen(command, env=os.environ | environment, stdout=out, stderr=out)


@asynccontextmanager
async def gateway_process(
    nats_url: str, folder: Path, *, port: int = 0, **more: object
) -> AsyncIterator[GatewayProcess]:
    """Run a gateway as a process, alive but perhaps not ready; it is killed at the end if it still runs."""
    port = port or free_port()
    log = folder / f"gateway-{port}.log"
    environment = (
        login_environment(nats_url, "gateway")
        | {
            "DECOPILOT_JWT_SECRET": SECRET,
            "DECOPILOT_JWT_LEEWAY_S": "0",
            "DECOPILOT_HTTP_PORT": str(port),
            "DECOPILOT_LOG_LEVEL": "debug",
        }
        | {f"DECOPILOT_{name.upper()}": str(value) for name, value in more.items()}
    )
    process = _spawn(environment, log)
    try:
        gateway = GatewayProcess(f"http://127.0.0.1:{port}", process, log)
        await until(lambda: gateway.answers(200, "/livez"), deadline_s=READY_S)
        yield gateway
    finally:
        process.kill()
        process.wait()


async def _is_ready(gateway: Gateway) -> bool:
    status, _ = await gateway.api.call("GET", f"{gateway.url}/readyz")
    return status == 200


async def until(holds: Callable[[], object], *, deadline_s: float = 10) -> None:
    """Wait until a condition, which may be asynchronous, holds."""
    async with asyncio.timeout(deadline_s):
        while True:
            found = holds()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.005)


class Run:
    """A run that the test writes, frame by frame, attempt by attempt, and the events around it if they matter.

    With `continues` it goes on with the answer of the run of that number, which stands as this message. `requested` is
    the one that `command` requested, where it did.
    """

    def __init__(
        self,
        store: Store,
        thread: str,
        number: int = 1,
        *,
        previous: int = 0,
        continues: int | None = None,
        base: UIMessage | None = None,
        requested: RunRequested | None = None,
    ) -> None:
        self.run_id = RunId(f"run_{number}") if requested is None else requested.run_id
        self._thread = ThreadId(thread)
        self._base = base
        asked = UIMessage(id=MessageId(f"u{number}"), role="user", parts=[])
        self.requested = requested or RunRequested(
            at=datetime.now(UTC),
            run_id=self.run_id,
            user_id=UserId("ann"),
            message=asked if continues is None else None,
            assistant_id=MessageId(f"a{continues or number}"),
            config=RunConfig(),
            thread=ThreadCreated(owner=UserId("ann"), agent_id="default", title="A thread") if number == 1 else None,
            continues=None if continues is None else RunId(f"run_{continues}"),
        )
        self._attempt = Attempt(ORG, self._thread, self.requested, 1, previous)
        self._store = store
        views = Views(store)
        journal = Journal(store, views)
        self._ender = Ender(store, journal, Histories(journal, views))
        self._pump = self._ender.pump(self._attempt)
        self._attempts = AsyncExitStack()
        self._end = Cursor(0, 0)

    async def __aenter__(self) -> Self:
        await self._attempts.enter_async_context(self._pump)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._attempts.aclose()

    async def start(self, text: str = "") -> None:
        """Write the first frame: `start`, `text-start`, and a delta a character of the text."""
        start = {"type": "start", "messageId": self.requested.assistant_id}
        await self.write(start, {"type": "text-start", "id": "t"}, text)

    async def say(self, text: str) -> None:
        """Write one frame: a delta a character."""
        await self.write(text)

    async def finish(self) -> int:
        """Write the closing frame; returns its sequence."""
        return await self._close([{"type": "finish", "finishReason": "stop"}])

    async def write(self, *chunks: object) -> None:
        """Write one frame of chunks; a text is a delta a character."""
        for chunk in chunks:
            for one in [chunk] if isinstance(chunk, dict) else [_delta(text) for text in str(chunk)]:
                await self._pump.write(one)
        await self._pump.barrier()

    async def open(self) -> None:
        """Write the frame that a runner begins with."""
        await self._pump.frame(opening(self.requested, 1, self._base))

    async def frame(self, *chunks: Chunk) -> int:
        """Write exactly one frame; returns its sequence."""
        return (await self._pump.frame(list(chunks))).sequence

    async def fence(self) -> Frame:
        """Let the next attempt begin: the one before died, or only seems to."""
        await self._attempts.aclose()
        self._attempt = replace(self._attempt, number=self._attempt.number + 1)
        self._pump, fence = await self._attempts.enter_async_context(self._ender.fencing_pump(self._attempt))
        assert fence is not None
        return fence

    async def take_over(self) -> ResumePoint:
        """Let the next attempt go on behind the last cut, as runners do."""
        fence = await self.fence()
        frames = await ChunkLog(self._store).of_run(ORG, self._thread, self.run_id, until=fence.sequence)
        point = resume_point(self.requested.assistant_id, frames)
        if point.void != fence.void:
            rewind = rewind_chunk(self.requested, self._attempt.number, point.fold.message())
            await self._pump.frame([rewind], void=point.void, rewinds=True)
        return point

    async def close(self) -> int:
        """Write the closing frame as runners do; returns its sequence."""
        return await self._close(closing(self.requested, _COMPLETED, {}))

    async def seal(self, *chunks: Chunk) -> int:
        """Write a closing frame of these chunks alone; returns its sequence."""
        return await self._close(list(chunks))

    async def _close(self, chunks: list[Chunk]) -> int:
        self._end = await self._pump.close(chunks, _COMPLETED)
        return self._end.sequence

    async def record_request(self) -> None:
        """Append `run_requested`."""
        await self._record(self.requested)

    async def record_end(self, text: str = "") -> None:
        """Append `run_completed`, as the closing frame implies it."""
        part = {"type": "text", "text": text, "state": "done"}
        await self._record(
            RunCompleted(
                at=datetime.now(UTC),
                run_id=self.run_id,
                attempt=self._attempt.number,
                message=UIMessage(id=self.requested.assistant_id, role="assistant", parts=[part]),
                finish_reason="stop",
                usage=Usage(),
                last_frame=self._end.sequence,
                last_index=self._end.index,
            )
        )

    async def _record(self, event: Event) -> None:
        subject = subjects.event(ORG, self._thread, event.type)
        await self._store.publish(subjects.EVENTS_STREAM, subject, event.model_dump_json().encode())


async def read_run(chunks: AsyncIterator[Chunk]) -> None:
    """Read an attached stream until a run's `finish`; fails when the stream ends first, or nothing comes for 20 s."""
    async with asyncio.timeout(20):
        async for chunk in chunks:
            if chunk["type"] == "finish":
                return
    msg = "the stream ended"
    raise AssertionError(msg)


def _delta(text: str) -> dict[str, str]:
    return {"type": "text-delta", "id": "t", "delta": text}


async def whole_run(store: Store, thread: str, text: str, number: int = 1, *, previous: int = 0) -> int:
    """Write a whole run with its events, a frame a word; returns its last frame's sequence."""
    async with Run(store, thread, number, previous=previous) as run:
        await run.record_request()
        await run.start()
        for word in text.split(" "):
            await run.say(word)
        end = await run.finish()
        await run.record_end(text.replace(" ", ""))
    return end
