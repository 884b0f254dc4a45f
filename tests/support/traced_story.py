"""A story that is traced: a run goes well, one loses its runner, one waits for that one, one asks a person."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from decopilot.contracts.ids import RunId
from decopilot.domain.tracing import attempt_span_id
from support.otlp import ReceivedSpan, Receiver, receiving
from support.stack import running_stack
from support.viewer import Api

DEADLINE_S = 60.0
Found = TypeVar("Found")
KILLED, QUEUED, CONTINUED = "4bf92f3577b34da6a3ce929d0e0e4736", "a" * 31 + "1", "b" * 31 + "2"
CALLER = "00f067aa0ba902b7"


@dataclass(frozen=True, slots=True)
class Capture:
    """All that was exported, what the service of each run said, and what was logged."""

    spans: list[ReceivedSpan]
    runs: dict[str, str]
    log: list[dict[str, str]]
    bodies: list[bytes]

    def of(self, run: str, name: str) -> list[ReceivedSpan]:
        """Find a run's spans of a name, in the order in which they began."""
        found = _named(self.spans, name, self.runs[run])
        return sorted(found, key=lambda span: span.began_ns)

    def the(self, run: str, name: str) -> ReceivedSpan:
        """Find the one span of a run that is called so."""
        [found] = self.of(run, name)
        return found


async def captured(folder: Path) -> Capture:
    """Have a run go well, one lose its runner, one wait for that, one ask a person; tell what was exported of them."""
    with ExitStack() as stacks:
        async with receiving() as receiver:
            told = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
                "OTEL_BSP_SCHEDULE_DELAY": "50",
                "DECOPILOT_DEMO_DIR": str(folder),
            }
            opened = running_stack(folder, "--scale", "runner=2", env=told)
            stack = await asyncio.to_thread(stacks.enter_context, opened)
            api = Api(stack.url, await asyncio.to_thread(stack.token))
            runs = {"plain": await _post(api, "traced", "/weather Lisbon", {})}
            runs |= await _asked_and_continued(api)
            # What else a killed runner was at would die with it, and be done a second time.
            await _ended(receiver, runs["plain"], runs["continued"])
            await _titled(receiver, "traced", "asked")
            runs |= await _killed_and_queued(api, receiver)
            await _ended(receiver, runs["queued"])
            await _until(receiver, lambda spans: _reacted(spans, "run_failed", runs["killed"]))
            await asyncio.to_thread(stacks.close)
    logged = [_logged(line) for line in stack.log.read_text().splitlines() if "#" in line]
    return Capture(receiver.spans, runs, logged, receiver.bodies)


def _logged(line: str) -> dict[str, str]:
    event, *fields = line.split()[2:]
    return {"event": event} | dict(field.split("=", 1) for field in fields if "=" in field)


async def _post(api: Api, thread: str, text: str, headers: dict[str, str], **more: object) -> str:
    url = api.path(f"decopilot/threads/{thread}/messages")
    message = {"role": "user", "parts": [{"type": "text", "text": text}]}
    status, body = await api.call("POST", url, body={"messages": [message], **more}, headers=headers)
    assert 202 == status, body
    return str(body["runId"])


async def _killed_and_queued(api: Api, receiver: Receiver) -> dict[str, str]:
    headers = {"traceparent": f"00-{KILLED}-{CALLER}-01", "tracestate": "vendor=1", "baggage": "secret=s3cret"}
    killed = await _post(api, "killed", "/slowtool 600", headers)
    in_turn = {"traceparent": f"00-{QUEUED}-{CALLER}-00", "tracestate": "vendor=2"}
    queued = await _post(api, "killed", "/weather Oslo", in_turn)
    [first] = await _until(receiver, lambda spans: _named(spans, "append run_started", killed))
    # Then it is in the tool: of what it has done, it has exported everything.
    first_id = f"{attempt_span_id(RunId(killed), 1):016x}"
    await _until(receiver, lambda spans: "chat demo" in {span.name for span in spans if span.parent_id == first_id})
    await _titled(receiver, "killed")
    os.kill(int(first.instance.rpartition("-")[2]), signal.SIGKILL)
    await _until(receiver, lambda spans: len(_named(spans, "append run_started", killed)) > 1)
    status, body = await api.call("POST", api.path("decopilot/cancel/killed"), body={"runId": killed})
    assert 202 == status, body
    return {"killed": killed, "queued": queued}


async def _asked_and_continued(api: Api) -> dict[str, str]:
    asked = await _post(api, "asked", "/delete milk", {}, toolApprovalLevel="readonly")
    (pending,) = (await api.settled("asked", deadline_s=DEADLINE_S))["pending"]
    fact = {"approvalId": pending["id"], "approved": True}
    url = api.path("decopilot/threads/asked/interactions")
    headers = {"traceparent": f"00-{CONTINUED}-{CALLER}-01"}
    status, body = await api.call("POST", url, body={"resolutions": [fact]}, headers=headers)
    assert 202 == status, body
    return {"asked": asked, "continued": str(body["runId"])}


async def _ended(receiver: Receiver, *runs: str) -> None:
    await _until(receiver, lambda spans: all(_reacted(spans, "run_completed", run) for run in runs))


async def _titled(receiver: Receiver, *threads: str) -> None:
    def titles(spans: list[ReceivedSpan]) -> set[str]:
        return {span.attributes["decopilot.thread.id"] for span in spans if span.name == "title"}

    await _until(receiver, lambda spans: titles(spans) >= set(threads))


def _named(spans: list[ReceivedSpan], name: str, run: str) -> list[ReceivedSpan]:
    return [span for span in spans if (span.name, span.attributes.get("decopilot.run.id")) == (name, run)]


def _reacted(spans: list[ReceivedSpan], event: str, run: str) -> bool:
    return bool(_named(spans, f"react {event}", run)) and bool(
        [span for span in _named(spans, "attempt", run) if "decopilot.attempt.lost" not in span.attributes]
    )


async def _until(receiver: Receiver, find: Callable[[list[ReceivedSpan]], Found]) -> Found:
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not (found := find(receiver.spans)):
                await asyncio.sleep(0.05)
    except TimeoutError:
        told = sorted(
            (span.began_ns, span.name, span.attributes.get("decopilot.run.id", "")) for span in receiver.spans
        )
        msg = f"not exported in {DEADLINE_S} s; was: {[(name, run) for _, name, run in told[-40:]]}"
        raise AssertionError(msg) from None
    return found
