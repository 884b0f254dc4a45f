"""What a thousand runs and a thousand viewers cost each service and the broker: `python tests/bench/sizing.py`."""

import argparse
import asyncio
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).parents[1]))

import aiohttp
from pydantic_core import from_json

from decopilot.cli.bench.procfs import cpu_s, pss_bytes
from support.stack import Stack, running_stack

MIB = 1 << 20
RUN_DEADLINE_S = 180.0
SERVICES = ("gateway", "command", "runner", "reactor", "nats")


@dataclass(frozen=True, slots=True)
class Sample:
    """What everything has used by now."""

    at: float
    cpu_s: Mapping[str, float]
    memory: Mapping[str, int]
    messages: int
    disk_bytes: int


def sample(stack: Stack) -> Sample:
    """Look at every process, and at the broker's own figures."""
    cpu, memory = dict.fromkeys(SERVICES, 0.0), dict.fromkeys(SERVICES, 0)
    for process in stack.processes():
        if process.pid is not None:
            cpu[process.service] += cpu_s(process.pid) or 0.0
            memory[process.service] += pss_bytes(process.pid) or 0
    broker = next(process for process in stack.processes() if process.service == "nats")
    monitor = broker.health_url.rpartition("/")[0]
    server, streams = (from_json(urlopen(f"{monitor}/{path}").read()) for path in ("varz", "jsz"))
    return Sample(time.monotonic(), cpu, memory, server["in_msgs"] + server["out_msgs"], streams["storage"])


class Load:
    """Runs and viewers at one gateway."""

    def __init__(self, stack: Stack, session: aiohttp.ClientSession) -> None:
        self._url = f"{stack.url}/local/decopilot"
        self._session = session
        self._mark = uuid.uuid4().hex[:8]

    async def runs(self, count: int, at_once: int, text: str) -> None:
        """Have so many runs done, so many at a time, each on a thread of its own."""
        room = asyncio.Semaphore(at_once)

        async def one(number: int) -> None:
            async with room:
                await self._run(f"{self._mark}-{number}", text)

        async with asyncio.timeout(RUN_DEADLINE_S * max(1, count / at_once)), asyncio.TaskGroup() as tasks:
            for number in range(count):
                tasks.create_task(one(number))

    async def _run(self, thread: str, text: str) -> None:
        message = {"id": f"m-{thread}", "role": "user", "parts": [{"type": "text", "text": text}]}
        path = f"{self._url}/threads/{thread}"
        async with self._session.post(f"{path}/messages", json={"messages": [message]}) as answer:
            answer.raise_for_status()
        while True:
            async with self._session.get(path) as answer:
                answer.raise_for_status()
                if (await answer.json())["status"] != "in_progress":
                    return
            await asyncio.sleep(1.0)

    async def viewers(self, count: int, threads: int, attached: Callable[[], Awaitable[None]]) -> int:
        """Attach so many viewers to so many threads, evenly, while `attached` goes on; return the bytes they got."""
        got, there = 0, 0
        everyone = asyncio.Event()

        async def view(number: int) -> None:
            nonlocal got, there
            path = f"{self._url}/attach/{self._mark}-{number % threads}"
            async with self._session.get(path) as answer:
                answer.raise_for_status()
                there += 1
                if there == count:
                    everyone.set()
                async for data in answer.content.iter_any():
                    got += len(data)

        viewing = [asyncio.create_task(view(number)) for number in range(count)]
        try:
            async with asyncio.timeout(RUN_DEADLINE_S):
                await everyone.wait()
            await attached()
        finally:
            for task in viewing:
                task.cancel()
            await asyncio.wait(viewing)
        return got


def table(title: str, before: Sample, after: Sample, per: int) -> list[str]:
    """Write what was used between two samples, per thousand of what there were `per` of."""
    took_s = after.at - before.at
    lines = [f"### {title} ({took_s:.0f} s)", "", "| | CPU s per 1,000 | cores meanwhile | memory (all copies) |"]
    lines.append("|---|---|---|---|")
    for service in SERVICES:
        used = after.cpu_s[service] - before.cpu_s[service]
        memory = after.memory[service] / MIB
        lines.append(f"| {service} | {1_000 * used / per:.1f} | {used / took_s:.2f} | {memory:.0f} MiB |")
    messages, disk = after.messages - before.messages, after.disk_bytes - before.disk_bytes
    lines.append("")
    lines.append(
        f"Broker: {1_000 * messages / per:,.0f} messages per 1,000 ({messages / took_s:,.0f}/s meanwhile), "
        f"{1_000 * disk / per / MIB:.1f} MiB on disk per 1,000 by then."
    )
    return [*lines, ""]


async def measure(stack: Stack, told: argparse.Namespace) -> list[str]:
    """Measure runs without viewers, viewers without runs, and viewers of runs."""
    lines = []
    headers = {"Authorization": f"Bearer {stack.token()}"}
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:
        await Load(stack, session).runs(8, 8, "/count 5 10")
        load, before = Load(stack, session), sample(stack)
        await load.runs(told.runs, told.at_once, told.text)
        lines += table(
            f"{told.runs} runs `{told.text}`, {told.at_once} at once, no viewer", before, sample(stack), told.runs
        )

        idle = Load(stack, session)
        samples: list[Sample] = []

        async def nothing() -> None:
            samples.append(sample(stack))
            await asyncio.sleep(told.idle_s)
            samples.append(sample(stack))

        before = sample(stack)
        await idle.viewers(told.viewers, told.threads, nothing)
        grown = (samples[1].memory["gateway"] - before.memory["gateway"]) / told.viewers / 1024
        lines += table(f"{told.viewers} viewers of {told.threads} idle threads", samples[0], samples[1], told.viewers)
        lines += [f"Gateway: {grown:.0f} KiB per viewer.", ""]

        live = Load(stack, session)
        samples.clear()

        async def running() -> None:
            samples.append(sample(stack))
            await live.runs(told.threads, told.threads, told.text)
            samples.append(sample(stack))

        got = await live.viewers(told.viewers, told.threads, running)
        title = f"{told.viewers} viewers of {told.threads} runs `{told.text}`, all at once"
        lines += table(title, samples[0], samples[1], told.viewers)
        lines += [f"Viewers: {got / told.viewers / 1024:.0f} KiB each.", ""]
    return lines


def main() -> None:
    """Measure; print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=20)
    parser.add_argument("--text", default="/count 200 50", help="what the demo model is asked: 200 chunks, 20 a second")
    parser.add_argument("--viewers", type=int, default=500)
    parser.add_argument("--threads", type=int, default=20)
    parser.add_argument("--idle-s", type=float, default=30.0)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder)) as stack:
        lines = asyncio.run(measure(stack, told))
    sys.stdout.write("\n".join(lines))


if __name__ == "__main__":
    main()
