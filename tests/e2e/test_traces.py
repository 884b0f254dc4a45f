"""A run is one trace, from the POST to the last reaction, over the death of its runner, its wait and its person."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from support.otlp import ReceivedSpan, Receiver, receiving
from support.stack import running_stack
from support.viewer import Api

DEADLINE_S = 120.0
Found = TypeVar("Found")
KILLED, QUEUED, CONTINUED = "4bf92f3577b34da6a3ce929d0e0e4736", "a" * 31 + "1", "b" * 31 + "2"
CALLER = "00f067aa0ba902b7"
POST = "POST /{org}/decopilot/threads/{thread}/messages"
EXPECTED = {
    ("decopilot-gateway", POST),
    ("decopilot-command", "command send_message"),
    ("decopilot-command", "append run_requested"),
    ("decopilot-runner", "append run_started"),
    ("decopilot-runner", "attempt"),
    ("decopilot-runner", "chat demo"),
    ("decopilot-runner", "execute_tool get_weather"),
    ("decopilot-runner", "append step_completed"),
    ("decopilot-runner", "append run_completed"),
    ("decopilot-reactor", "react run_requested"),
    ("decopilot-reactor", "react run_started"),
    ("decopilot-reactor", "react step_completed"),
    ("decopilot-reactor", "react run_completed"),
}


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


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return asyncio.run(captured(tmp_path_factory.mktemp("traced")))


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


def test_a_run_is_one_tree_of_spans_over_all_services(capture: Capture) -> None:
    root = capture.the("plain", "append run_requested")
    tree = [span for span in capture.spans if span.trace_id == root.trace_id]
    assert {(span.service, span.name) for span in tree} >= EXPECTED
    assert [POST] == [span.name for span in tree if not span.parent_id]
    attempt = capture.the("plain", "attempt")
    below = {span.name for span in tree if span.parent_id == attempt.span_id}
    assert below >= {"chat demo", "execute_tool get_weather", "append step_completed", "append run_completed"}


def test_no_span_has_lost_its_parent(capture: Capture) -> None:
    known = {(span.trace_id, span.span_id) for span in capture.spans} | {("", CALLER)}
    lost = [
        (span.service, span.name)
        for span in capture.spans
        if span.parent_id not in {"", CALLER} and (span.trace_id, span.parent_id) not in known
    ]
    assert [] == lost


def test_every_span_of_a_run_says_what_it_is_about(capture: Capture) -> None:
    attempt = capture.the("plain", "attempt")
    about = {"org.id": "local", "thread.id": "traced", "run.id": capture.runs["plain"]}
    about |= {"attempt": "1", "agent.id": "default", "model.id": "demo"}
    expected = {f"decopilot.{name}": value for name, value in about.items()}
    for span in (attempt, *(span for span in capture.spans if span.parent_id == attempt.span_id)):
        assert expected == {name: span.attributes[name] for name in expected}
    unnamed = {span.name for span in capture.spans if "decopilot.thread.id" not in span.attributes}
    assert set() == unnamed


def test_a_posts_own_trace_goes_on_over_the_death_of_a_runner(capture: Capture) -> None:
    post = next(span for span in capture.spans if span.trace_id == KILLED and span.name == POST)
    first, second = capture.of("killed", "attempt")
    assert ({KILLED}, CALLER, "vendor=1") == ({first.trace_id, second.trace_id}, post.parent_id, second.trace_state)
    assert first.parent_id == second.parent_id == capture.the("killed", "append run_requested").span_id
    assert ("True", True, False) == (first.attributes["decopilot.attempt.lost"], first.is_error, second.is_error)
    assert first.attributes["decopilot.runner.id"] != second.attributes["decopilot.runner.id"]
    assert [(KILLED, first.span_id, "earlier_attempt")] == [
        (link.trace_id, link.span_id, link.why) for link in second.links
    ]
    for attempt in (first, second):
        assert "chat demo" in {span.name for span in capture.spans if span.parent_id == attempt.span_id}
    assert "cancelled" == capture.the("killed", "append run_failed").attributes["decopilot.run.failure"]
    assert KILLED == capture.the("killed", "react run_failed").trace_id


def test_a_run_that_waited_has_its_own_trace_and_leads_to_the_one_it_waited_for(capture: Capture) -> None:
    turn, attempt = capture.the("queued", "append run_requested"), capture.the("queued", "attempt")
    reaction = capture.the("queued", "react run_requested")
    assert (KILLED, QUEUED, QUEUED) == (turn.trace_id, attempt.trace_id, reaction.trace_id)
    # Its caller asked for it not to be sampled, and it is anybody's: that is not believed either.
    assert "vendor=2" == attempt.trace_state
    for span in (attempt, reaction):
        assert [(KILLED, turn.span_id, "waited_for")] == [
            (link.trace_id, link.span_id, link.why) for link in span.links
        ]
    asked = next(span for span in capture.spans if span.trace_id == QUEUED and span.name == "command send_message")
    assert [(QUEUED, asked.span_id, "asked_for")] == [(link.trace_id, link.span_id, link.why) for link in turn.links]


def test_a_run_that_goes_on_after_a_person_leads_to_the_one_that_asked(capture: Capture) -> None:
    attempt = capture.the("continued", "attempt")
    waited = capture.the("asked", "append run_requires_action")
    assert CONTINUED == attempt.trace_id != waited.trace_id
    assert [(waited.trace_id, waited.span_id, "continues")] == [
        (link.trace_id, link.span_id, link.why) for link in attempt.links
    ]


def test_a_title_is_found_in_its_threads_trace(capture: Capture) -> None:
    trace = capture.the("plain", "append run_requested").trace_id
    title = next(span for span in capture.spans if (span.trace_id, span.name) == (trace, "title"))
    assert {"append thread_titled"} <= {span.name for span in capture.spans if span.parent_id == title.span_id}


def test_each_line_that_is_logged_of_a_run_names_its_trace_and_its_span(capture: Capture) -> None:
    attempt = capture.the("plain", "attempt")
    ended = next(
        line for line in capture.log if (line["event"], line.get("run_id")) == ("run_ended", capture.runs["plain"])
    )
    assert (attempt.trace_id, attempt.span_id, "1") == (ended["trace_id"], ended["span_id"], ended["attempt"])
    accepted = [line for line in capture.log if line["event"] == "message_accepted"]
    assert {"trace_id", "span_id", "run_id"} <= set.intersection(*(set(line) for line in accepted))


def test_nothing_of_what_was_said_and_no_baggage_is_in_a_span(capture: Capture) -> None:
    told = " ".join(str(span) for span in capture.spans)
    assert [] == [word for word in ("s3cret", "Lisbon", "Oslo", "milk") if word in told]
