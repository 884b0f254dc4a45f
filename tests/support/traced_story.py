"""A story that is traced: a run goes well, one loses its runner, one waits for that one, one asks a person."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from support.otlp import ReceivedSpan, Receiver, receiving
from support.stack import running_stack
from support.viewer import Api

DEADLINE_S = 120.0
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
                # So that the run that is to lose its runner is still at it by then.
                "DECOPILOT_DEMO_DELAY_MS": "40",
            }
            opened = running_stack(folder, "--scale", "runner=2", env=told)
            stack = await asyncio.to_thread(stacks.enter_context, opened)
            api = Api(stack.url, await asyncio.to_thread(stack.token))
            runs = {"plain": await _post(api, "traced", "/weather Lisbon", {})}
            killed, asked = await asyncio.gather(_killed_and_queued(api, receiver), _asked_and_continued(api))
            runs |= killed | asked
            ended = [("run_completed", runs[run]) for run in ("plain", "queued", "continued")]
            ended.append(("run_failed", runs["killed"]))
            await _until(receiver, lambda spans: all(_reacted(spans, *end) for end in ended))
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
    killed = await _post(api, "killed", "/steps 29", headers)
    in_turn = {"traceparent": f"00-{QUEUED}-{CALLER}-00", "tracestate": "vendor=2"}
    queued = await _post(api, "killed", "/weather Oslo", in_turn)
    [first] = await _until(receiver, lambda spans: _named(spans, "append run_started", killed))
    await _until(receiver, lambda spans: len(_named(spans, "append step_completed", killed)) > 1)
    os.kill(int(first.instance.rpartition("-")[2]), signal.SIGKILL)
    await _until(receiver, lambda spans: len(_named(spans, "append run_started", killed)) > 1)
    await _until(
        receiver,
        lambda spans: [one for one in _named(spans, "append step_completed", killed) if one.instance != first.instance],
    )
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


def _named(spans: list[ReceivedSpan], name: str, run: str) -> list[ReceivedSpan]:
    return [span for span in spans if (span.name, span.attributes.get("decopilot.run.id")) == (name, run)]


def _reacted(spans: list[ReceivedSpan], event: str, run: str) -> bool:
    return bool(_named(spans, f"react {event}", run)) and bool(
        [span for span in _named(spans, "attempt", run) if "decopilot.attempt.lost" not in span.attributes]
    )


async def _until(receiver: Receiver, find: Callable[[list[ReceivedSpan]], Found]) -> Found:
    async with asyncio.timeout(DEADLINE_S):
        while not (found := find(receiver.spans)):
            await asyncio.sleep(0.05)
    return found
