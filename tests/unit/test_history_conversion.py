from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from decopilot.contracts.ids import MessageId
from decopilot.contracts.messages import UIMessage
from decopilot_runner.default_agent.continuing import begun
from decopilot_runner.default_agent.history import (
    INTERRUPTED_CALL,
    NOT_APPROVED,
    NOT_REPEATED,
    begun_messages,
    earlier_messages,
    prompt,
    window,
)

Role = Literal["user", "assistant", "system"]


def message(role: Role, *parts: dict[str, Any]) -> UIMessage:
    return UIMessage(id=MessageId("m"), role=role, parts=list(parts))


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def tool(state: str, **fields: object) -> dict[str, Any]:
    return {"type": "tool-look", "toolCallId": "c1", "state": state, "input": {"at": "x"}, **fields}


QUESTION = message("user", text("Next?"))


def converted(*history: UIMessage) -> list[ModelMessage]:
    return earlier_messages([*history, QUESTION])


def shapes(messages: list[ModelMessage]) -> list[list[tuple[str, object]]]:
    return [[(part.part_kind, getattr(part, "content", None)) for part in message.parts] for message in messages]


def test_the_last_message_is_the_prompt_and_what_stands_before_is_history() -> None:
    history = [message("user", text("Hi"), text("there")), message("assistant", text("Hello")), QUESTION]

    assert prompt(history) == "Next?"
    assert shapes(earlier_messages(history)) == [[("user-prompt", "Hi\nthere")], [("text", "Hello")]]


def test_reasoning_is_left_out_and_a_message_of_nothing_else_too() -> None:
    reasoning = {"type": "reasoning", "text": "hm", "state": "done"}

    assert shapes(converted(message("assistant", {"type": "step-start"}, reasoning, text("Yes")))) == [
        [("text", "Yes")]
    ]
    assert converted(message("assistant", reasoning), message("assistant")) == []


def test_a_finished_tool_call_is_a_call_and_its_return_and_each_step_an_answer_of_its_own() -> None:
    steps = message(
        "assistant",
        {"type": "step-start"},
        text("I look."),
        tool("output-available", output={"seen": None}),
        {"type": "step-start"},
        text("Seen."),
    )
    first, returned, second = converted(steps)

    assert isinstance(first, ModelResponse)
    assert first.parts == [TextPart("I look."), ToolCallPart("look", {"at": "x"}, "c1")]
    assert isinstance(returned, ModelRequest)
    (result,) = returned.parts
    assert isinstance(result, ToolReturnPart)
    assert (result.tool_name, result.content, result.tool_call_id, result.outcome) == (
        "look",
        {"seen": None},
        "c1",
        "success",
    )
    assert isinstance(second, ModelResponse)
    assert second.parts == [TextPart("Seen.")]


def test_unfinished_tool_calls_are_ignored() -> None:
    for part in (
        tool("input-streaming"),
        tool("input-available"),
        tool("approval-responded", approval={"id": "a", "approved": True}),
        tool("output-available", output=1, preliminary=True),
        {"type": "tool-look", "state": "output-available", "output": 1},
        {"type": "dynamic-tool", "toolCallId": "c1", "state": "output-available", "output": 1},
        {"type": "data-note", "data": 1},
        {"type": "something-new"},
        {},
    ):
        assert converted(message("assistant", part)) == []


def test_failed_and_denied_tool_calls_say_so() -> None:
    for part, content, outcome in (
        (tool("output-error", errorText="broken"), "broken", "failed"),
        (tool("output-error"), "The tool failed.", "failed"),
        (tool("output-denied", approval={"id": "a", "approved": False, "reason": "no!"}), "no!", "denied"),
        (tool("output-denied"), "The user denied this tool call.", "denied"),
        (tool("approval-requested", approval={"id": "a"}), NOT_APPROVED, "denied"),
    ):
        result = converted(message("assistant", part))[1].parts[0]
        assert isinstance(result, ToolReturnPart)
        assert (result.content, result.outcome) == (content, outcome)


def test_an_answer_that_has_begun_keeps_the_open_calls_of_its_last_step_and_no_others() -> None:
    steps = message(
        "assistant",
        {"type": "step-start"},
        tool("input-available") | {"toolCallId": "lost"},
        {"type": "step-start"},
        tool("output-available", output=1),
        tool("approval-responded", approval={"id": "a", "approved": True}) | {"toolCallId": "c2"},
        tool("input-streaming") | {"toolCallId": "c3"},
        tool("input-available", providerExecuted=True) | {"toolCallId": "c4"},
    )
    question, response, returned = begun_messages([QUESTION], steps)

    assert [("user-prompt", "Next?")] == shapes([question])[0]
    assert isinstance(response, ModelResponse)
    assert ["c1", "c2"] == [call.tool_call_id for call in response.tool_calls]
    assert [("tool-return", 1)] == shapes([returned])[0]
    assert ["c2"] == [part["toolCallId"] for part in begun(steps, is_resumed=True, in_step=True).open_calls]


def test_a_call_that_may_have_happened_and_was_not_repeated_is_told_as_that() -> None:
    doubt = {"type": INTERRUPTED_CALL, "id": "c1", "data": {}}
    denied = tool("output-denied", approval={"id": "a", "approved": False})

    assert [("tool-return", NOT_REPEATED)] == shapes(converted(message("assistant", denied, doubt)))[1]


def test_dynamic_tools_are_tools() -> None:
    part = {**tool("output-available", output=1), "type": "dynamic-tool", "toolName": "far"}

    call = converted(message("assistant", part))[0].parts[0]
    assert isinstance(call, ToolCallPart)
    assert call.tool_name == "far"


def test_files_are_named_to_a_model_that_cannot_read_them() -> None:
    file = {"type": "file", "url": "data:…", "mediaType": "image/png", "filename": "cat.png"}

    assert prompt([message("user", text("Look"), file)]) == (
        "Look\n[The user attached cat.png (image/png), which you can't read.]"
    )


def test_system_messages_stay_system_messages() -> None:
    (first,) = converted(message("system", text("Be brief")))

    assert isinstance(first.parts[0], SystemPromptPart)


def test_the_window_starts_with_a_user_message() -> None:
    turns = [message("assistant" if n % 2 else "user", text(str(n))) for n in range(10)]

    assert [entry.text for entry in window(turns, 4)] == ["6", "7", "8", "9"]
    assert [entry.text for entry in window(turns, 3)] == ["8", "9"]
    assert len(window(turns, 50)) == 10


def test_a_window_without_a_user_message_is_kept_whole() -> None:
    answers = [message("assistant", text("a")), message("assistant", text("b"))]

    assert [entry.text for entry in window(answers, 2)] == ["a", "b"]


odd = st.sampled_from([None, True, 7, "", "x", "c1", [], ["x"], {}, {"reason": "no"}, {"text": "x"}])
kinds = st.sampled_from(["text", "tool-look", "tool-", "dynamic-tool", "step-start", "file", "reasoning"]) | odd
CALLED = ("input-streaming", "input-available", "approval-requested", "approval-responded")
states = st.sampled_from(["output-available", "output-error", "output-denied", *CALLED]) | odd
fields = ("text", "toolCallId", "toolName", "input", "output", "errorText", "approval", "preliminary", "filename")
odd_part = st.fixed_dictionaries({}, optional={"type": kinds, "state": states, **dict.fromkeys(fields, odd)})


roles: st.SearchStrategy[Role] = st.sampled_from(["user", "assistant", "system"])


@given(st.lists(st.tuples(roles, st.lists(odd_part, max_size=5)), max_size=4))
def test_no_stored_message_is_too_odd_and_every_call_has_its_return(
    rows: list[tuple[Role, list[dict[str, Any]]]],
) -> None:
    messages = converted(*(message(role, *parts) for role, parts in rows))

    called = [part.tool_call_id for entry in messages for part in entry.parts if isinstance(part, ToolCallPart)]
    returned = [part.tool_call_id for entry in messages for part in entry.parts if isinstance(part, ToolReturnPart)]
    assert called == returned
    assert sum(isinstance(part, UserPromptPart) for entry in messages for part in entry.parts) == sum(
        role == "user" for role, _ in rows
    )


@given(parts=st.lists(odd_part, max_size=5), is_resumed=st.booleans())
def test_whatever_has_begun_can_be_gone_on_with(parts: list[dict[str, Any]], *, is_resumed: bool) -> None:
    partial = message("assistant", *parts)
    so_far, messages = begun(partial, is_resumed=is_resumed, in_step=is_resumed), begun_messages([QUESTION], partial)

    assert so_far.end(30) is None or not so_far.open_calls
    results = so_far.deferred()
    open_calls = set() if results is None else set(results.approvals)
    called = {part.tool_call_id for entry in messages for part in entry.parts if isinstance(part, ToolCallPart)}
    returned = {part.tool_call_id for entry in messages for part in entry.parts if isinstance(part, ToolReturnPart)}
    assert called == returned | open_calls
