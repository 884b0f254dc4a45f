"""A run is one trace, from the POST to the last reaction, over the death of its runner, its wait and its person."""

import asyncio

import pytest

from support.traced_story import CALLER, CONTINUED, KILLED, QUEUED, Capture, captured

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


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return asyncio.run(captured(tmp_path_factory.mktemp("traced")))


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
    assert "chat demo" in {span.name for span in capture.spans if span.parent_id == first.span_id}
    failed = capture.the("killed", "append run_failed")
    assert (second.span_id, "cancelled") == (failed.parent_id, failed.attributes["decopilot.run.failure"])
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
