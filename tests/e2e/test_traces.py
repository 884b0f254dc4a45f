"""A run is one trace, from the POST to the last reaction."""

import asyncio
from pathlib import Path

from support.otlp import ReceivedSpan, receiving
from support.stack import running_stack
from support.viewer import Api, Viewer

EXPECTED = {
    ("decopilot-gateway", "POST /{org}/decopilot/threads/{thread}/messages"),
    ("decopilot-command", "command send_message"),
    ("decopilot-command", "append run_requested"),
    ("decopilot-runner", "run"),
    ("decopilot-runner", "append run_started"),
    ("decopilot-runner", "agent"),
    ("decopilot-runner", "chat demo"),
    ("decopilot-runner", "execute_tool get_weather"),
    ("decopilot-runner", "append step_completed"),
    ("decopilot-runner", "append run_completed"),
    ("decopilot-reactor", "react run_requested"),
    ("decopilot-reactor", "react run_started"),
    ("decopilot-reactor", "react step_completed"),
    ("decopilot-reactor", "react run_completed"),
}


async def test_a_run_is_one_tree_of_spans_over_all_services(tmp_path: Path) -> None:
    async with receiving() as receiver:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        opened = running_stack(tmp_path, env=environment)
        stack = await asyncio.to_thread(opened.__enter__)
        try:
            api = Api(stack.url, await asyncio.to_thread(stack.token))
            status, accepted = await api.post("traced", "/weather Lisbon")
            assert 202 == status
            await Viewer(stack.url, api.token, "traced", cursor="0-0").watch_run_through(deadline_s=20)
            async with asyncio.timeout(20):
                while not {(span.service, span.name) for span in receiver.spans} >= EXPECTED:
                    await asyncio.sleep(0.05)
        finally:
            await asyncio.to_thread(opened.__exit__, None, None, None)

    trace_ids = {span.trace_id for span in receiver.spans}
    assert 1 == len(trace_ids)
    by_id = {span.span_id: span for span in receiver.spans}
    roots = [span.name for span in receiver.spans if not span.parent_id]
    assert ["POST /{org}/decopilot/threads/{thread}/messages"] == roots
    assert [] == [span.name for span in receiver.spans if span.parent_id and span.parent_id not in by_id]
    run = next(span for span in receiver.spans if span.name == "run")
    assert ("local", "traced", accepted["runId"]) == tuple(
        run.attributes[f"decopilot.{name}.id"] for name in ("org", "thread", "run")
    )
    chat = next(span for span in receiver.spans if span.name == "chat demo")
    assert "agent" in _ancestors(chat.span_id, by_id)


def _ancestors(span_id: str, by_id: dict[str, ReceivedSpan]) -> list[str]:
    names = []
    while parent := by_id[span_id].parent_id:
        names.append(by_id[parent].name)
        span_id = parent
    return names
