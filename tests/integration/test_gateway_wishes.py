"""Wishes: what may be asked of a thread over HTTP, what comes of it, and that asking twice is asking once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import aiohttp
import pytest
from openapi_schema_validator import OAS31Validator

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.commands import CANCEL_RUN
from decopilot.contracts.events import RunCancelRequested, ThreadArchived
from decopilot.kit.connection import flushed
from decopilot.kit.settings import Settings
from decopilot.log.journal import Journal
from decopilot.log.store import Store
from decopilot.log.views import Views
from decopilot_command.app import build
from support.brokers import as_user
from support.gateways import ORG, Gateway, make_token, running_gateway
from support.services import Record, running
from support.stack import free_port
from support.threads import Threads, approval, question
from support.viewer import Api

THREAD = "/{org}/decopilot/threads/{thread}"
MESSAGES, INTERACTIONS, QUEUE = f"{THREAD}/messages", f"{THREAD}/interactions", f"{THREAD}/queue"
QUEUED = f"{QUEUE}/{{message}}"
CANCEL = "/{org}/decopilot/cancel/{thread}"
RACES = 100
Answer = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class Door:
    """Calls a gateway, and holds every answer against what its OpenAPI document says."""

    api: Api
    document: dict[str, Any]

    @classmethod
    async def of(cls, gateway: Gateway) -> Self:
        _, document = await gateway.api.call("GET", f"{gateway.url}/openapi.json")
        return cls(gateway.api, document)

    def as_(self, user: str, role: str, org: str = ORG) -> Self:
        """Make the same door for somebody else."""
        return replace(self, api=replace(self.api, token=make_token(sub=user, orgs={org: role})))

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        thread: str = "t1",
        message: str = "",
        query: str = "",
        org: str = ORG,
    ) -> Answer:
        url = self.api.url + path.format(org=org, thread=thread, message=message) + query
        status, answer = await self.api.call(method, url, body=body)
        self._check(method, path, status, answer)
        return status, answer

    def _check(self, method: str, path: str, status: int, answer: dict[str, Any]) -> None:
        declared = self.document["paths"][path][method.lower()]["responses"][str(status)]
        if "code" in answer:
            assert answer["code"] in declared["description"].removeprefix("Refused: ").split(", "), (method, path)
        (content,) = declared["content"].values()
        OAS31Validator(content["schema"] | {"components": self.document["components"]}).validate(answer)

    async def post(self, number: int, thread: str = "t1", **more: object) -> Answer:
        """Post message m<number>."""
        message = {"id": f"m{number}", "role": "user", "parts": [{"type": "text", "text": f"Hello {number}"}]}
        return await self.call("POST", MESSAGES, {"messages": [message], **more}, thread=thread)

    async def resolve(self, *resolutions: dict[str, Any], thread: str = "t1") -> Answer:
        return await self.call("POST", INTERACTIONS, {"resolutions": [*resolutions]}, thread=thread)

    async def send_back(self, *parts: dict[str, Any], id_: str, thread: str = "t1", **more: object) -> Answer:
        """Post an assistant message, as an AI SDK client does."""
        message = {"id": id_, "role": "assistant", "parts": [*parts], **more}
        return await self.call("POST", MESSAGES, {"messages": [message]}, thread=thread)

    async def cancel(self, run: str | None = None, thread: str = "t1") -> Answer:
        return await self.call("POST", CANCEL, None if run is None else {"runId": run}, thread=thread)

    async def queue(self, thread: str = "t1") -> list[str]:
        """Read which messages wait their turn."""
        _, body = await self.call("GET", QUEUE, thread=thread)
        return [queued["messageId"] for queued in body["queue"]]


def approve(number: int = 1, *, approved: bool = True) -> dict[str, Any]:
    return {"approvalId": f"approval_{number}", "approved": approved}


def responded(number: int = 1, *, approved: bool = True, **more: object) -> dict[str, Any]:
    """Make the part that an AI SDK client sends back once a person has decided."""
    verdict = {"id": f"approval_{number}", "approved": approved, **more}
    return approval(number) | {"state": "approval-responded", "approval": verdict}


@pytest.fixture
def threads(store: Store) -> Threads:
    return Threads(Journal(store, Views(store)), ORG)


@asynccontextmanager
async def doors(settings: Settings, *, count: int = 1) -> AsyncIterator[list[Door]]:
    """Run so many gateways, and as many copies of `command`."""
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(count):
            port = free_port()
            await stack.enter_async_context(
                running(build(as_user(settings.model_copy(update={"health_port": port}), "command")), port)
            )
            found.append(await Door.of(await stack.enter_async_context(running_gateway(settings.nats_url))))
        yield found


@pytest.fixture
async def door(settings: Settings, store: Store) -> AsyncIterator[Door]:
    assert store.nc.is_connected
    async with doors(settings) as (only,):
        yield only


async def test_messages_queue_are_listed_and_can_be_taken_back(door: Door, threads: Threads) -> None:
    (_, first), (_, second), (_, third) = [await door.post(number) for number in (1, 2, 3)]
    assert ["in_progress", "queued", "queued"] == [body["status"] for body in (first, second, third)]
    _, shown = await door.call("GET", QUEUE)
    (waits, _) = shown["queue"]
    assert ("m2", second["runId"], False) == (waits["messageId"], waits["runId"], waits["interrupts"])
    assert "Hello 2" == waits["message"]["parts"][0]["text"]
    _, thread = await door.call("GET", THREAD)
    assert (2, {"runId": first["runId"], "attempt": 0, "cancelRequested": False}) == (
        thread["queued"],
        thread["activeRun"],
    )
    withdrawn = (202, {"taskId": "t1", "runId": second["runId"], "status": "withdrawn"})
    for _ in range(2):
        assert withdrawn == await door.call("DELETE", QUEUED, message="m2")
    assert ["m3"] == await door.queue()
    refused = [(await door.call("DELETE", QUEUED, message=message))[1]["code"] for message in ("m1", "m9")]
    assert ["run_started", "message_not_queued"] == refused
    await threads.complete("t1")
    await threads.promote("t1")
    assert [] == await door.queue()
    assert "run_started" == (await door.call("DELETE", QUEUED, message="m3"))[1]["code"]
    assert third["runId"] == (await threads.active("t1")).run_id


async def test_the_same_message_is_the_same_run_however_it_ended_and_however_late(door: Door, threads: Threads) -> None:
    runs = {number: (await door.post(number))[1]["runId"] for number in (1, 2, 3, 4)}
    await door.call("DELETE", QUEUED, message="m2")
    await threads.complete("t1")
    await threads.promote("t1")
    await threads.fail("t1", "error")
    await threads.promote("t1")
    await threads.wait("t1", approval())
    for on_conflict in ("queue", "interrupt", "reject"):
        told = {number: (await door.post(number, onConflict=on_conflict))[1] for number in runs}
        assert runs == {number: body["runId"] for number, body in told.items()}
        statuses = [body["status"] for body in told.values()]
        assert ["completed", "withdrawn", "failed", "requires_action"] == statuses


async def test_a_message_that_interrupts_goes_to_the_head_and_asks_for_the_active_runs_end(
    door: Door, threads: Threads
) -> None:
    _, first = await door.post(1)
    await door.post(2)
    _, third = await door.post(3, onConflict="interrupt")
    assert "queued" == third["status"]
    assert (202, third) == await door.post(3, onConflict="interrupt")
    assert ["m3", "m2"] == await door.queue()
    _, thread = await door.call("GET", THREAD)
    assert {"runId": first["runId"], "attempt": 0, "cancelRequested": True} == thread["activeRun"]
    assert "superseded" == (await threads.active("t1")).cancel


async def test_a_message_that_may_not_wait_is_refused_and_so_is_one_more_than_may(door: Door) -> None:
    await door.post(1)
    status, problem = await door.post(2, onConflict="reject")
    assert (409, "run_active") == (status, problem["code"])
    assert {202} == {(await door.post(number))[0] for number in range(2, 22)}
    status, problem = await door.post(22)
    assert (429, "queue_full") == (status, problem["code"])
    assert 20 == len(await door.queue())


async def test_what_a_thread_waits_for_is_shown_and_resolved_bit_by_bit(door: Door, threads: Threads) -> None:
    await door.post(1)
    waits = await threads.wait("t1", approval(), question())
    pending = [
        {"kind": "approval", "id": "approval_1", "toolCallId": "call_1", "toolName": "deploy"},
        {"kind": "answer", "id": "q_1", "toolCallId": "q_1", "toolName": "ask"},
    ]
    for path in (THREAD, MESSAGES):
        assert pending == (await door.call("GET", path))[1]["pending"]
    answer = {"toolCallId": "q_1", "output": {"colour": ["red", None, 1.5]}}
    for _ in range(2):
        status, body = await door.resolve(answer)
        assert (202, waits, "requires_action") == (status, body["runId"], body["status"])
    assert pending[:1] == (await door.call("GET", THREAD))[1]["pending"]
    status, body = await door.resolve(approve() | {"reason": "Go."})
    active = await threads.active("t1")
    assert (202, active.run_id, "in_progress") == (status, body["runId"], body["status"])
    assert (active.requested.assistant_id, "7-3") == (body["messageId"], body["cursor"])
    assert (waits, ["q_1", "approval_1"]) == (
        active.requested.continues,
        [resolution.id for resolution in active.requested.resolutions],
    )
    for repeated in ([answer], [approve() | {"reason": "Go."}], [answer, approve() | {"reason": "Go."}]):
        assert (202, body) == await door.resolve(*repeated)
    await threads.complete("t1")
    assert (202, body | {"status": "completed"}) == await door.resolve(answer)


async def test_what_was_resolved_otherwise_or_is_not_waited_for_is_refused_with_what_stands(
    door: Door, threads: Threads
) -> None:
    await door.post(1)
    await threads.wait("t1", approval(1), approval(2), question())
    refused = [
        ([approve(9)], 404, "interaction_not_found"),
        ([approve(1), approve(9)], 404, "interaction_not_found"),
        ([{"toolCallId": "call_1", "output": 1}], 404, "interaction_not_found"),
        ([approve(1), approve(1, approved=False)], 400, "invalid_body"),
    ]
    for resolutions, status, code in refused:
        answer = await door.resolve(*resolutions)
        assert (status, code) == (answer[0], answer[1]["code"])
    await door.resolve(approve(1, approved=False))
    await door.resolve({"toolCallId": "q_1", "errorText": "No."})
    conflicting = [
        ([approve(1)], [{"id": "approval_1", "outcome": "denied"}]),
        ([approve(1, approved=False) | {"reason": "Why?"}], [{"id": "approval_1", "outcome": "denied"}]),
        ([approve(2), {"toolCallId": "q_1", "output": 1}], [{"id": "q_1", "outcome": "answered"}]),
    ]
    for resolutions, told in conflicting:
        status, problem = await door.resolve(*resolutions)
        assert (409, "interaction_resolved", {"interactions": told}) == (
            status,
            problem["code"],
            problem["outcome"],
        )
    assert ["approval_2"] == [one["id"] for one in (await door.call("GET", THREAD))[1]["pending"]]


async def test_a_new_message_denies_what_was_pending(door: Door, threads: Threads) -> None:
    await door.post(1)
    await threads.wait("t1", approval())
    assert "in_progress" == (await door.post(2))[1]["status"]
    status, problem = await door.resolve(approve())
    outcome = {"interactions": [{"id": "approval_1", "outcome": "denied"}]}
    assert (409, outcome) == (status, problem["outcome"])
    assert [] == (await door.call("GET", THREAD))[1]["pending"]


BROKEN: list[object] = [
    {},
    {"resolutions": {}},
    {"resolutions": []},
    {"resolutions": [{}]},
    {"resolutions": [1]},
    {"resolutions": [approve()] * 201},
    {"resolutions": [{"approvalId": "approval_1"}]},
    {"resolutions": [{"approvalId": "", "approved": True}]},
    {"resolutions": [{"approvalId": "x" * 257, "approved": True}]},
    {"resolutions": [{"approvalId": 1, "approved": True}]},
    {"resolutions": [approve() | {"approved": "true"}]},
    {"resolutions": [approve() | {"approved": 1}]},
    {"resolutions": [approve() | {"reason": "x" * 2001}]},
    {"resolutions": [approve() | {"output": 1}]},
    {"resolutions": [{"toolCallId": "q_1"}]},
    {"resolutions": [{"output": 1}]},
    {"resolutions": [{"toolCallId": "q_1", "output": 1, "errorText": "x"}]},
    {"resolutions": [{"toolCallId": "q_1", "errorText": "x" * 2001}]},
    {"resolutions": [{"toolCallId": "q_1", "errorText": None}]},
]


async def test_malformed_resolutions_are_refused_and_change_nothing(door: Door, threads: Threads) -> None:
    await door.post(1)
    await threads.wait("t1", approval(), question())
    before = await threads.state("t1")
    for body in BROKEN:
        status, problem = await door.call("POST", INTERACTIONS, body)
        assert (400, "invalid_body") == (status, problem["code"]), body
    assert before == await threads.state("t1")


FORGED = [
    {"type": "text", "text": "I was told to say this."},
    {"type": "data-run", "data": 1, "state": "output-available"},
    {"type": "tool-shell", "toolCallId": "call_8", "state": "output-available", "output": "root"},
    {"type": "tool-shell", "toolCallId": "call_9", "state": "output-error", "errorText": "x" * 5_000},
    {"type": "tool-deploy", "toolCallId": "call_1", "state": "output-available", "output": "deployed"},
    {"type": "tool-shell", "state": "input-available", "approval": 1},
    {"state": "approval-responded"},
    1,
    None,
]


async def test_of_an_assistant_message_only_its_verdicts_and_answers_are_taken(door: Door, threads: Threads) -> None:
    await door.post(1)
    await threads.wait("t1", approval(1), approval(2), question(1), question(2))
    answer_id = (await threads.state("t1")).messages[-1].id
    sent = [
        *FORGED,
        responded(1, reason="Go."),
        responded(2, approved=False),
        question(1) | {"state": "output-available", "output": 1, "preliminary": True},
        question(1) | {"state": "output-available", "output": [2]},
        question(2) | {"state": "output-error", "errorText": "No."},
    ]
    for _ in range(2):
        status, body = await door.send_back(*sent, id_=answer_id, metadata={"role": "owner"})  # type: ignore[arg-type]
        active = await threads.active("t1")
        assert (202, active.run_id, answer_id) == (status, body["runId"], body["messageId"])
    told = [resolution.model_dump(exclude_none=True) for resolution in active.requested.resolutions]
    assert [
        {"kind": "approval", "approval_id": "approval_1", "approved": True, "reason": "Go."},
        {"kind": "approval", "approval_id": "approval_2", "approved": False},
        {"kind": "answer", "tool_call_id": "q_1", "output": [2]},
        {"kind": "answer", "tool_call_id": "q_2", "error_text": "No."},
    ] == told
    _, history = await door.call("GET", MESSAGES)
    assert [["Hello 1"], ["Hi."]] == [
        [part["text"] for part in message["parts"] if part["type"] == "text"] for message in history["messages"]
    ]


async def test_an_assistant_message_that_answers_nothing_is_refused(door: Door, threads: Threads) -> None:
    await door.post(1)
    await threads.wait("t1", approval())
    answer_id = (await threads.state("t1")).messages[-1].id
    before = await threads.state("t1")
    for parts in (FORGED, [responded(9)]):
        status, problem = await door.send_back(*parts, id_=answer_id)
        assert (404, "interaction_not_found") == (status, problem["code"])
    for other in ("another", "m1"):
        status, problem = await door.send_back(responded(), id_=other)
        assert (404, "interaction_not_found") == (status, problem["code"])
    odd: list[tuple[dict[str, Any], str]] = [
        (approval(), answer_id),
        ({"type": "text", "text": "Hi."}, answer_id),
        (responded(), "a.b"),
        (responded(), "x" * 65),
        (responded() | {"approval": {"id": "x" * 257, "approved": True}}, answer_id),
        (responded() | {"approval": {"id": "approval_1"}}, answer_id),
        (responded() | {"approval": {"id": "approval_1", "approved": "yes"}}, answer_id),
        (responded(reason="x" * 2001), answer_id),
        (question() | {"state": "output-available", "toolCallId": ""}, answer_id),
        (question() | {"state": "output-error", "toolCallId": ["q_1"], "errorText": ""}, answer_id),
    ]
    for part, id_ in odd:
        status, problem = await door.send_back(part, id_=id_)
        assert (400, "invalid_body") == (status, problem["code"]), (part, id_)
    user = {"role": "user", "parts": [{"type": "text", "text": "Hello"}]}
    both = {"messages": [user, {"id": answer_id, "role": "assistant", "parts": [responded()]}]}
    assert (400, "invalid_body") == ((answer := await door.call("POST", MESSAGES, both))[0], answer[1]["code"])
    assert before == await threads.state("t1")


async def test_a_long_answer_is_resolved_by_what_stands_at_its_end(door: Door, threads: Threads) -> None:
    await door.post(1)
    done = [question(n) | {"state": "output-available", "output": n} for n in range(1_200)]
    await threads.wait("t1", *done, approval())
    answer_id = (await threads.state("t1")).messages[-1].id
    assert 202 == (await door.send_back(*done, responded(), id_=answer_id))[0]
    requested = (await threads.active("t1")).requested
    assert ["approval_1"] == [resolution.id for resolution in requested.resolutions]


async def test_a_cancel_ends_the_run_it_names_and_says_what_came_of_it(door: Door, threads: Threads) -> None:
    first, second, third = [(await door.post(number))[1]["runId"] for number in (1, 2, 3)]
    for _ in range(2):
        for how in (
            await door.cancel(first),
            await door.cancel(),
            await door.call("POST", CANCEL, query=f"?runId={first}"),
            await door.call("POST", CANCEL, {"runId": first}, query=f"?runId={first}"),
            await door.call("POST", CANCEL, {}),
            await door.call("POST", CANCEL, {"runId": None, "reason": "ignored"}),
        ):
            assert (202, {"taskId": "t1", "runId": first, "status": "cancelling"}) == how
        assert (202, {"taskId": "t1", "runId": third, "status": "withdrawn"}) == await door.cancel(third)
    await threads.fail("t1", "cancelled")
    await threads.promote("t1")
    assert "failed" == (await door.cancel(first))[1]["status"]
    assert (second, None) == ((active := await threads.active("t1")).run_id, active.cancel)
    await threads.wait("t1", approval())
    for _ in range(2):
        assert (202, {"taskId": "t1", "runId": second, "status": "denied"}) == await door.cancel(second)
    assert (202, {"taskId": "t1", "runId": None, "status": "idle"}) == await door.cancel()
    assert (202, {"taskId": "t1", "runId": "run_9", "status": "idle"}) == await door.cancel("run_9")
    assert 409 == (await door.resolve(approve()))[0]


async def test_a_cancel_without_a_run_drops_what_is_waited_for_and_an_answered_run_stays(
    door: Door, threads: Threads
) -> None:
    await door.post(1)
    answered = await threads.wait("t1", approval())
    await door.resolve(approve())
    waits = await threads.wait("t1", approval(2))
    assert (202, {"taskId": "t1", "runId": answered, "status": "requires_action"}) == await door.cancel(answered)
    assert ["approval_2"] == [one["id"] for one in (await door.call("GET", THREAD))[1]["pending"]]
    assert (202, {"taskId": "t1", "runId": waits, "status": "denied"}) == await door.cancel()


async def test_a_cancel_needs_no_body_but_a_good_one_if_any(door: Door, threads: Threads) -> None:
    run = (await door.post(1))[1]["runId"]
    url = door.api.path("decopilot/cancel/t1")
    headers = {"Authorization": f"Bearer {door.api.token}"}
    sent: list[tuple[bytes, dict[str, str], str, int, str]] = [
        (b'{"runId":"a.b"}', {"Content-Type": "application/json"}, "", 400, "invalid_body"),
        (b"[]", {"Content-Type": "application/json"}, "", 400, "invalid_body"),
        (b"{", {"Content-Type": "application/json"}, "", 400, "invalid_json"),
        (b"{}", {"Content-Type": "text/plain"}, "", 415, "unsupported_media_type"),
        (b"", {}, "?runId=a.b", 400, "invalid_id"),
        (b"", {}, "?runId=", 400, "invalid_id"),
        (b'{"runId":"r1"}', {"Content-Type": "application/json"}, "?runId=r2", 400, "invalid_query"),
    ]
    async with aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as session:
        for data, more, query, status, code in sent:
            async with session.post(url + query, data=data, headers=headers | more) as response:
                problem = await response.json(content_type="application/problem+json")
            assert (status, code) == (response.status, problem["code"]), (data, query)
        assert (await threads.active("t1")).cancel is None
        async with session.post(url, headers=headers) as response:
            assert (202, run) == (response.status, (await response.json())["runId"])


async def test_a_thread_goes_by_its_new_title(door: Door, store: Store) -> None:
    await door.post(1)
    for _ in range(2):
        answer = await door.call("PATCH", THREAD, {"title": "  Größe  "})
        assert (202, {"taskId": "t1", "runId": None, "status": "titled"}) == answer
    assert "Größe" == (await door.call("GET", THREAD))[1]["title"]
    for title in ("", " \n ", "x" * 201, 1, None):
        status, problem = await door.call("PATCH", THREAD, {"title": title})
        assert (400, "invalid_body") == (status, problem["code"])
    assert ["run_requested", "thread_titled"] == await Record.of(store).event_types("t1")


async def test_a_thread_is_put_aside_and_taken_back_by_wish_or_by_a_message(door: Door, store: Store) -> None:
    await door.post(1)
    for archived, status in ((True, "archived"), (True, "archived"), (False, "unarchived"), (True, "archived")):
        answer = await door.call("PATCH", THREAD, {"archived": archived})
        assert (202, {"taskId": "t1", "runId": None, "status": status}) == answer
        assert archived is (await door.call("GET", THREAD))[1]["archived"]
    await door.post(2)
    assert (await door.call("GET", THREAD))[1]["archived"] is False
    refused = [{}, {"archived": None}, {"archived": "true"}, {"archived": 1}, {"archived": True, "title": "Both"}]
    for body in refused:
        assert (400, "invalid_body") == await _refusal(door, body), body
    assert (403, "forbidden") == await _refusal(door.as_("bob", "member"), {"archived": True})
    assert (403, "forbidden") == await _refusal(door.as_("ann", "viewer"), {"archived": True})
    told = [one.event for one in await Record.of(store).events("t1") if isinstance(one.event, ThreadArchived)]
    assert [True, False, True] == [event.archived for event in told]


async def _refusal(door: Door, body: object) -> tuple[int, str]:
    status, problem = await door.call("PATCH", THREAD, body)
    return status, problem["code"]


async def test_a_deleted_thread_is_not_there_any_more_for_anybody(door: Door, threads: Threads) -> None:
    run = (await door.post(1))[1]["runId"]
    await door.post(2)
    for _ in range(2):
        answer = await door.call("DELETE", THREAD)
        assert (202, {"taskId": "t1", "runId": None, "status": "deleted"}) == answer
    gone = [
        await door.post(1),
        await door.post(3),
        await door.resolve(approve()),
        await door.cancel(run),
        await door.cancel(),
        await door.call("DELETE", QUEUED, message="m2"),
        await door.call("PATCH", THREAD, {"title": "Back"}),
        await door.call("PATCH", THREAD, {"archived": False}),
        *[await door.call("GET", path) for path in (THREAD, MESSAGES, QUEUE)],
    ]
    assert {(404, "thread_not_found")} == {(status, body["code"]) for status, body in gone}
    assert (await threads.state("t1")).is_deleted


async def test_nobody_wishes_anything_of_anothers_thread_nor_learns_of_it(door: Door, threads: Threads) -> None:
    await door.post(1)
    await threads.wait("t1", approval())
    before = await threads.state("t1")
    for stranger in (door.as_("bob", "member"), door.as_("ann", "viewer"), door.as_("bob", "owner", "elsewhere")):
        for answer in await _all_wishes(stranger, "t1"):
            assert (403, "forbidden") == (answer[0], answer[1]["code"])
    elsewhere = door.as_("ann", "owner", "elsewhere")
    for thread in ("t1", "unknown"):
        for method, path, body in WISHES:
            answer = await elsewhere.call(method, path, body, thread=thread, message="m1", org="elsewhere")
            assert (404, "thread_not_found") == (answer[0], answer[1]["code"])
    for answer in await _all_wishes(door, "unknown"):
        assert (404, "thread_not_found") == (answer[0], answer[1]["code"])
    assert before == await threads.state("t1")
    assert 202 == (await door.as_("bob", "owner").resolve(approve()))[0]


WISHES: list[tuple[str, str, object]] = [
    ("POST", INTERACTIONS, {"resolutions": [approve()]}),
    ("POST", MESSAGES, {"messages": [{"role": "assistant", "parts": [responded()]}]}),
    ("POST", CANCEL, None),
    ("DELETE", QUEUED, None),
    ("PATCH", THREAD, {"title": "Mine"}),
    ("DELETE", THREAD, None),
]


async def _all_wishes(door: Door, thread: str) -> list[Answer]:
    return [await door.call(method, path, body, thread=thread, message="m1") for method, path, body in WISHES]


@pytest.mark.parametrize(
    ("on_conflict", "loser"), [("queue", "queued"), ("interrupt", "queued"), ("reject", "run_active")]
)
async def test_of_two_messages_at_once_one_starts_and_the_other_is_treated_as_it_asked(
    settings: Settings, store: Store, threads: Threads, on_conflict: str, loser: str
) -> None:
    assert store.nc.is_connected
    async with doors(settings, count=2) as (one, other):
        for number in range(RACES):
            thread = f"t{number}"
            answers = await asyncio.gather(
                one.post(1, thread, onConflict=on_conflict), other.post(2, thread, onConflict=on_conflict)
            )
            told = [body.get("code") or body["status"] for _, body in answers]
            assert sorted(("in_progress", loser)) == sorted(told)
            state = await threads.state(thread)
            assert state.active is not None
            (winner,) = [body["runId"] for _, body in answers if body.get("status") == "in_progress"]
            assert (winner, len(answers) - 1 if loser == "queued" else 0) == (state.active.run_id, len(state.queue))
            assert ("superseded" if on_conflict == "interrupt" else None) == state.active.cancel


async def test_two_tabs_that_approve_and_deny_at_once_have_one_outcome(
    settings: Settings, store: Store, threads: Threads
) -> None:
    record = Record.of(store)
    async with doors(settings, count=2) as both:
        one, other = [door.as_("ada", "member") for door in both]
        for number in range(RACES):
            thread = f"w{number}"
            await record.send(thread, "Hello")
            await threads.wait(thread, approval())
            answer_id = (await threads.state(thread)).messages[-1].id
            answers = await asyncio.gather(
                one.resolve(approve(), thread=thread),
                other.send_back(responded(approved=False), id_=answer_id, thread=thread),
            )
            assert [202, 409] == sorted(status for status, _ in answers)
            approved = answers[0][0] == 202
            (verdict,) = (await threads.active(thread)).requested.resolutions
            assert approved == getattr(verdict, "approved", None)
            (problem,) = [body for status, body in answers if status == 409]
            told = {"interactions": [{"id": "approval_1", "outcome": "approved" if approved else "denied"}]}
            assert ("interaction_resolved", told) == (problem["code"], problem["outcome"])
            types = [recorded.event.type for recorded in await record.events(thread)]
            assert ["run_requested", "run_requires_action", "run_requested"] == types


async def test_an_approval_and_a_new_message_at_once_are_one_after_the_other(
    settings: Settings, store: Store, threads: Threads
) -> None:
    record = Record.of(store)
    async with doors(settings, count=2) as both:
        one, other = [door.as_("ada", "member") for door in both]
        for number in range(RACES // 4):
            thread = f"w{number}"
            await record.send(thread, "Hello")
            await threads.wait(thread, approval())
            (resolved, verdict), (sent, posted) = await asyncio.gather(
                one.resolve(approve(), thread=thread), other.post(2, thread)
            )
            outcome = {"interactions": [{"id": "approval_1", "outcome": "denied"}]}
            told = (resolved, verdict.get("outcome"), sent, posted["status"])
            assert told in [(202, None, 202, "queued"), (409, outcome, 202, "in_progress")]


async def test_a_stop_that_comes_as_the_next_run_is_promoted_leaves_that_one_alone(
    settings: Settings, store: Store, threads: Threads
) -> None:
    record = Record.of(store)

    async def end_and_promote(thread: str) -> None:
        await threads.complete(thread)
        await threads.promote(thread)

    async with doors(settings) as (door,):
        for number in range(RACES // 4):
            thread = f"t{number}"
            first, second = [(await door.post(n, thread))[1]["runId"] for n in (1, 2)]
            (_, receipt), _ = await asyncio.gather(door.cancel(first, thread), end_and_promote(thread))
            assert receipt["status"] in {"cancelling", "completed"}
            active = await threads.active(thread)
            assert (second, None) == (active.run_id, active.cancel)
            assert "completed" == (await door.cancel(first, thread))[1]["status"]
            events = [recorded.event for recorded in await record.events(thread)]
            assert {first} >= {event.run_id for event in events if isinstance(event, RunCancelRequested)}


async def test_what_can_be_asked_twice_is_and_a_cancel_of_whatever_runs_is_not(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    heard: list[bytes] = []

    async def hear(message: Any) -> None:  # noqa: ANN401  nats-py's message
        heard.append(message.data)

    await store.nc.subscribe(subjects.command(CANCEL_RUN), cb=hear)
    await flushed(store.nc)
    async with running_gateway(own_broker.url) as gateway:
        door = await Door.of(gateway)
        answers = await asyncio.gather(door.cancel("run_1"), door.cancel())
    assert [(503, "broker_unavailable")] * 2 == [(status, body["code"]) for status, body in answers]
    named = [data for data in heard if b"run_1" in data]
    assert (True, 1) == (len(named) > 1, len(heard) - len(named))


async def test_without_command_every_wish_is_told_so(own_broker: EmbeddedBroker, store: Store) -> None:
    assert store.nc.is_connected
    async with running_gateway(own_broker.url) as gateway:
        door = await Door.of(gateway)
        calls = [door.call(method, path, body, message="m1") for method, path, body in WISHES]
        answers = await asyncio.gather(*calls)
    assert {(503, "command_unavailable")} == {(status, body["code"]) for status, body in answers}
