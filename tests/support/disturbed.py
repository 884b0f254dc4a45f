"""Everything over a cluster: people who post and watch while its nodes are disturbed, and the chaos suite's judges."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from decopilot.cli.chaos.conducting import Conductor
from decopilot.cli.chaos.doors import ORG, Doors
from decopilot.cli.chaos.evidence import Evidence, Limits
from decopilot.cli.chaos.judging_runs import judge_runs
from decopilot.cli.chaos.judging_threads import judge_threads
from decopilot.cli.chaos.judging_viewers import judge_viewers
from decopilot.cli.chaos.recorder import Recorder
from decopilot.cli.chaos.sabotage import Saboteur
from decopilot.cli.chaos.schedule import Schedule, ThreadPlan, ViewerPlan
from decopilot.cli.chaos.verdict import Verdict
from decopilot.cli.state import ProcessInfo
from decopilot.contracts.events import RunCompleted, RunFailed, RunRequiresAction
from decopilot.kit.settings import Settings
from decopilot.log.permissions import OPERATOR
from support.brokers import login
from support.cluster import Cluster
from support.gateways import SECRET, make_token
from support.services import Services
from support.stack import free_port

COPIES = {"command": 1, "runner": 2, "reactor": 1, "gateway": 2}
LONG, SHORT = "/count 250 20", "/count 5 20"
"""What is asked on threads that stream all the time, and on those where the next message is soon posted."""
FLOWS, FLOWS_S = 40, 180.0
POST_S = 12.0
READY_S = 180.0
_LATE = " s after what hit it"
_ENDS = (RunCompleted, RunFailed, RunRequiresAction)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message that was answered by 202: when (seconds since the epoch), and how long since it was first tried."""

    thread: str
    message_id: str
    run_id: str
    at: float
    took_s: float


@dataclass(slots=True)
class ClusterGround:
    """Every service as processes, over a cluster: a `Ground` of the chaos suite."""

    cluster: Cluster
    services: Services

    @property
    def operator(self) -> Settings:
        """Settings that lead to the brokers, as the one who may do everything there."""
        return Settings.model_validate({"nats_url": self.cluster.url} | login(OPERATOR))

    def token(self, org: str, user: str) -> str:
        """A token of an owner of an org."""
        return make_token(sub=user, orgs={org: "owner"}, exp=int(time.time()) + 86_400)

    def processes(self) -> Sequence[ProcessInfo]:
        """What runs."""
        return [
            ProcessInfo(
                service=service.name.partition("-")[0],
                index=index,
                pid=service.process.pid,
                port=service.health_port,
                health_url="",
                state="",
            )
            for index, service in enumerate(self.services.started, 1)
        ]

    def start(self, service: str, settings: Mapping[str, object]) -> None:
        """Start a copy of a service."""
        port = free_port()
        own = {"http_host": "127.0.0.1", "http_port": port, "jwt_secret": SECRET} if service == "gateway" else {}
        started = self.services.start(service, **settings, **own)
        if service == "gateway":
            started.health_port = port


@asynccontextmanager
async def ground(
    cluster: Cluster,
    folder: Path,
    limits: Limits,
    copies: Mapping[str, int] = COPIES,
    more: Mapping[str, object] = MappingProxyType({}),
) -> AsyncIterator[ClusterGround]:
    """Run every service while the context is open."""
    services = Services(folder, cluster.url)
    running = ClusterGround(cluster, services)
    told = {name: getattr(limits, name) for name in limits.__slots__} | {"demo_dir": folder / "demo"} | dict(more)
    try:
        for service, count in copies.items():
            for _ in range(count):
                running.start(service, told)
        for started in services.started:
            await started.ready(READY_S)
        yield running
    finally:
        services.end()


Disturb = Callable[["Disturbed"], Awaitable[None]]


class Disturbed(Conductor):
    """A conductor whose load goes on for as long as the disturbance does.

    `threads` stream all the time; on as many more, short runs are asked for one after the other.
    """

    def __init__(self, over: ClusterGround, folder: Path, limits: Limits, disturb: Disturb, threads: int) -> None:
        self.verdict = Verdict()
        self.cluster = over.cluster
        self.accepted: list[Accepted] = []
        plans = [_plan(f"streams-{number}") for number in range(threads)]
        plans += [_plan(f"posts-{number}") for number in range(threads)]
        schedule = Schedule(1, 0.0, tuple(plans))
        super().__init__(over, schedule, limits, folder / "demo" / "notes.jsonl", self.verdict)
        self._told = disturb
        self.names = self._names
        self._is_over = asyncio.Event()
        self._recorder: Recorder | None = None

    @property
    def recorder(self) -> Recorder:
        """What reads the logs meanwhile."""
        assert self._recorder is not None, "it has not begun"
        return self._recorder

    @property
    def broken(self) -> list[tuple[str, str]]:
        """The violations, without those that are the server's or the machine's.

        A node that was killed may hold again what was purged (docs/nats.md); and how long runs take says how busy the
        machine is.
        """
        return [found for found in self.verdict.violations if found[0] != "PURGE" and _LATE not in found[1]]

    async def flows(self) -> None:
        """Wait until every thread has more."""
        before = self._lengths()
        async with asyncio.timeout(FLOWS_S):
            while any(now < then + FLOWS for now, then in zip(self._lengths(), before, strict=True)):
                await asyncio.sleep(0.05)

    async def judged(self) -> Evidence:
        """Do it all, and judge it; what was accepted is compared with the log, too."""
        evidence = await self.conduct()
        judge_runs(evidence, self.verdict)
        judge_threads(evidence, self.verdict)
        judge_viewers(evidence, self.verdict)
        for accepted in self.accepted:
            runs = evidence.threads[accepted.thread].runs
            of_message = [run for run in runs.values() if _asks(run.request, accepted.message_id)]
            text = f"{accepted} is in the log as {[run.run_id for run in of_message]}"
            self.verdict.check("ONE-RUN", [accepted.run_id] == [run.run_id for run in of_message], text)
        return evidence

    async def _disturb(self, saboteur: Saboteur, doors: Doors, recorder: Recorder) -> None:
        del saboteur
        self._recorder = recorder
        async with asyncio.TaskGroup() as posting:
            for name in self.names:
                posting.create_task(self._post(name, doors))
            await self.flows()
            await self._told(self)
            await self.flows()
            self._is_over.set()

    async def _post(self, thread: str, doors: Doors) -> None:
        text = LONG if thread.startswith("streams") else SHORT
        number = 0
        while not self._is_over.is_set():
            number += 1
            accepted = await self._accept(thread, f"{thread}-m{number}", text, doors)
            self.accepted.append(accepted)
            await self._ended(accepted)

    async def _accept(self, thread: str, message_id: str, text: str, doors: Doors) -> Accepted:
        """Post at one gateway after the other, for as long as nobody says that it is accepted."""
        message = {"id": message_id, "role": "user", "parts": [{"type": "text", "text": text}]}
        began = time.monotonic()
        tries = 0
        while True:
            url = doors.urls[tries % len(doors.urls)]
            tries += 1
            path = f"{url}/{ORG}/decopilot/threads/{thread}/messages"
            answer = await doors.call_url("POST", path, {"messages": [message]}, timeout_s=POST_S)
            if answer is not None and answer.status == 202:
                return Accepted(thread, message_id, answer.body["runId"], time.time(), time.monotonic() - began)
            assert answer is None or answer.status == 503, answer
            await asyncio.sleep(0.05)

    async def _ended(self, accepted: Accepted) -> None:
        while not self._is_over.is_set():
            for recorded in list(self.recorder.events.values()):
                if isinstance(recorded.event, _ENDS) and recorded.event.run_id == accepted.run_id:
                    return
            await asyncio.sleep(0.1)

    def _lengths(self) -> list[int]:
        """How many chunks each thread has."""
        lengths = dict.fromkeys(self.names, 0)
        for frame in self.recorder.frames.values():
            lengths[frame.thread] += len(frame.chunks)
        return list(lengths.values())


@asynccontextmanager
async def disturbed(
    cluster: Cluster, folder: Path, disturb: Disturb, limits: Limits | None = None, threads: int = 3
) -> AsyncIterator[Disturbed]:
    """Have everything run over a cluster."""
    limits = limits or Limits()
    await cluster.provisioned()
    async with AsyncExitStack() as stack:
        over = await stack.enter_async_context(ground(cluster, folder, limits))
        yield Disturbed(over, folder, limits, disturb, threads)


def _asks(request: object, message_id: str) -> bool:
    message = getattr(request, "message", None)
    return message is not None and message.id == message_id


def _plan(thread: str) -> ThreadPlan:
    for_good, soon = (600.0, 600.0), (0.0, 0.1)
    return ThreadPlan(
        thread,
        (),
        (
            ViewerPlan(f"{thread}/steady", thread, True, True, for_good, soon),  # noqa: FBT003  the plan's fields
            ViewerPlan(f"{thread}/restless", thread, True, True, (0.1, 5.0), (0.0, 0.6)),  # noqa: FBT003
            ViewerPlan(f"{thread}/undeclared", thread, False, True, for_good, soon),  # noqa: FBT003
        ),
    )
