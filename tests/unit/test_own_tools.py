import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from decopilot.agent import Agent
from decopilot.contracts.configuration import AgentEntry, Configuration
from decopilot.contracts.messages import RunConfig
from decopilot.domain.interactions import pending_in
from decopilot_runner.default_agent import build
from decopilot_runner.default_agent.models import Models
from decopilot_runner.importing import ImportPathError
from support import own_tools
from support.driven import READONLY, Driven, calls_of, kinds, of, verdicts

TOOLS = (
    "order",
    "stock",
    "pay",
    "label",
    "whose",
    "whose_async",
    "returns_nothing",
    "raises",
    "refuses",
    "refuses_by_name",
    "ends_the_process",
    "ends_the_process_async",
    "stops_iteration",
    "cancels_itself",
    "hangs",
    "hangs_in_its_thread",
    "will_not_stop",
    "odd",
    "picture",
    "large",
    "by_context",
)


@pytest.fixture(autouse=True)
def seen() -> Iterator[list[str]]:
    own_tools.seen.clear()
    own_tools.gate.clear()
    yield own_tools.seen
    own_tools.gate.set()


def agent_with(*names: str, timeout_s: float = 300.0) -> Agent:
    paths = tuple(f"support.own_tools:{name}" for name in names)
    entry = AgentEntry(tools=paths, tool_timeout_s=timeout_s)
    return build(entry, Models(Configuration(), delay_ms=0))


async def called(text: str, *, timeout_s: float = 300.0, config: RunConfig | None = None) -> Driven:
    run = Driven(agent_with(*TOOLS, timeout_s=timeout_s), f"/tool {text}", config=config or RunConfig())
    outcome = await run.attempt()
    assert outcome.status in {"completed", "requires_action"}
    return run


async def output_of(text: str) -> Any:  # noqa: ANN401  any JSON
    (part,) = calls_of((await called(text)).message)
    assert "output-available" == part["state"]
    return part["output"]


async def error_of(text: str, *, timeout_s: float = 300.0) -> str:
    run = await called(text, timeout_s=timeout_s)
    (part,) = calls_of(run.message)
    assert "output-error" == part["state"]
    # The run went on: its model was told.
    assert "gave nothing" in run.message.text
    return str(part["errorText"])


async def test_a_typed_function_is_called_with_what_its_types_make_of_the_input(seen: list[str]) -> None:
    output = await output_of('order {"item": {"name": "apple", "count": 2}, "note": "soon"}')
    assert {"ordered": {"name": "apple", "count": 2}, "thread": "tool"} == output
    assert ["2 apple soon"] == seen


async def test_input_that_does_not_fit_the_types_is_refused(seen: list[str]) -> None:
    assert "Field required" in await error_of('order {"item": {}}')
    assert [] == seen


async def test_an_async_function_is_awaited() -> None:
    assert 5 == await output_of('stock {"name": "apple"}')


async def test_a_tool_knows_its_call() -> None:
    run = await called("whose")
    (part,) = calls_of(run.message)
    assert {"org": "org", "thread": "thread", "run": "run", "call": part["toolCallId"]} == part["output"]
    for name in ("whose_async", "by_context"):
        (part,) = calls_of((await called(name)).message)
        assert part["toolCallId"] == part["output"]
    with pytest.raises(LookupError):
        own_tools.whose()


@pytest.mark.parametrize(
    ("text", "config", "asked"),
    [
        ('order {"item": {"name": "x"}}', READONLY, True),
        ('stock {"name": "x"}', READONLY, False),
        ('label {"text": "x"}', READONLY, True),
        ('pay {"amount": 1}', RunConfig(), True),
        ('order {"item": {"name": "x"}}', RunConfig(), False),
    ],
)
async def test_the_user_is_asked_as_a_function_is_marked(text: str, config: RunConfig, *, asked: bool) -> None:
    run = await called(text, config=config)
    assert asked is bool(pending_in(run.message))


async def test_what_was_approved_is_done(seen: list[str]) -> None:
    first = await called('pay {"amount": 2.5}')
    assert [] == seen
    run = first.gone_on_with(*verdicts(first.message))
    await run.attempt()
    assert ["paid 2.5"] == seen


@pytest.mark.parametrize(("text", "asked"), [('label {"text": "x"}', False), ('order {"item": {"name": "x"}}', True)])
async def test_what_may_have_happened_is_done_again_only_where_it_is_idempotent(
    text: str, seen: list[str], *, asked: bool
) -> None:
    run = Driven(agent_with(*TOOLS), f"/tool {text}")
    at = kinds((await called(text)).chunks).index("tool-output-available")
    await run.killed_at(at + 1, loses=1)
    seen.clear()
    await run.attempt()
    assert (asked, not asked) == (bool(pending_in(run.message)), bool(seen))


async def test_a_tool_that_returns_nothing_has_an_output_of_null() -> None:
    run = await called("returns_nothing")
    (output,) = of(run.chunks, "tool-output-available")
    assert None is output["output"]
    assert "output" in output


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("raises", "The tool failed unexpectedly."),
        ("refuses", "There is no order 7 ?."),
        ("refuses_by_name", "OutOfStockError: no apples left"),
        ("ends_the_process", "The tool failed unexpectedly."),
        ("ends_the_process_async", "The tool failed unexpectedly."),
        ("stops_iteration", "The tool failed unexpectedly."),
        ("cancels_itself", "The tool was interrupted."),
    ],
)
async def test_a_tool_that_raises_tells_what_it_means_to_and_nothing_else(text: str, told: str) -> None:
    assert told == await error_of(text)


@pytest.mark.parametrize("text", ["hangs", "hangs_in_its_thread", "will_not_stop"])
async def test_a_tool_that_hangs_is_given_up_and_its_run_goes_on(text: str) -> None:
    told = "The tool did not finish within 0.1 s. Whether it had an effect is not known."
    assert told == await error_of(text, timeout_s=0.1)
    own_tools.gate.set()


async def test_functions_that_hang_do_not_hold_up_others() -> None:
    for _ in range(50):
        await error_of("hangs_in_its_thread", timeout_s=0.01)
    assert await output_of('order {"item": {"name": "apple"}}')
    assert sum(thread.name == "tool" for thread in threading.enumerate()) >= 50


async def test_a_run_that_is_cancelled_does_not_wait_for_its_tool(seen: list[str]) -> None:
    task = asyncio.create_task(Driven(agent_with(*TOOLS), "/tool hangs").attempt())
    while not seen:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("bytes", "_w=="),
        ("set", [1]),
        ("nan", None),
        ("huge", str(2**200)),
        ("half", "?"),
        ("partial", {"a": "AA==", "('b', 1)": [None, "?"]}),
    ],
)
async def test_what_is_no_json_is_told_in_a_form_that_every_reader_takes(what: str, told: object) -> None:
    assert told == await output_of(f'odd {{"what": "{what}"}}')


async def test_what_has_no_json_form_at_all_is_an_error_that_says_the_tool_was_executed() -> None:
    assert (await output_of('odd {"what": "object"}')).startswith("<")
    told = "The tool was executed, but what it returned can't be told: it is nested more than 120 levels deep."
    assert told == await error_of('odd {"what": "deep"}')


async def test_a_picture_stays_one_for_the_model() -> None:
    output = await output_of('picture {"kib": 1}')
    assert ("image/png", "binary") == (output["media_type"], output["kind"])


@pytest.mark.parametrize("text", ['large {"mb": 2}', 'large {"mb": 2, "kind": "rows"}', 'picture {"kib": 1024}'])
async def test_what_is_too_large_is_shown_in_part(text: str) -> None:
    run = await called(text)
    output = calls_of(run.message)[0]["output"]
    assert {"tool_call_id", "hint", "bytes", "lines", "tokens", "preview"} == set(output)
    assert output["bytes"] > 1 << 20
    assert len(run.message.model_dump_json()) < 10_000


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (("nothing",), "there is no nothing in support.own_tools"),
        (("not_callable",), "neither a function nor a pydantic_ai.Tool"),
        (("Klass",), "neither a function nor a pydantic_ai.Tool"),
        (("yields",), "that is a generator"),
        (("undocumented",), "it has no docstring"),
        (("untold",), "its types can't be told to a model"),
        (("user_ask",), "there is a tool user_ask already, from the agent itself"),
    ],
)
def test_what_can_be_no_tool_is_refused_when_the_runner_starts(names: tuple[str, ...], why: str) -> None:
    with pytest.raises(ImportPathError, match=rf"^tool support\.own_tools:{names[-1]}: .*{why}"):
        agent_with(*names)


def test_two_functions_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other_tools.py").write_text("def order() -> None:\n    '''Order.'''\n")
    (tmp_path / "broken_tools.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    models = Models(Configuration(), delay_ms=0)
    with pytest.raises(ImportPathError, match=r"there is a tool order already, from support\.own_tools:order"):
        build(AgentEntry(tools=("support.own_tools:order", "other_tools:order")), models)
    with pytest.raises(ImportPathError, match="ZeroDivisionError: division by zero"):
        build(AgentEntry(tools=("broken_tools:order",)), models)
