"""Branching: answers made anew and forked threads, as HTTP clients, runners and viewers meet them."""

import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.client import Client
from decopilot.contracts.events import RunCompleted, RunRequested, RunStarted, ThreadForked
from decopilot.contracts.files import file_ref, output_blob
from decopilot.contracts.ids import MessageId, RunId, ThreadId
from decopilot.domain.fold import fold
from decopilot.kit.settings import Settings
from decopilot.log.blobs import Blobs
from decopilot.log.history import Histories
from decopilot.log.store import Store
from decopilot_command.app import build as build_command
from decopilot_reactor.app import build as build_reactor
from decopilot_reactor.settings import ReactorSettings
from support.brokers import as_user, login
from support.gateways import ORG, Gateway, make_token, running_gateway
from support.services import Record, Services, running, until
from support.stack import free_port
from support.threads import Threads, approval, question

PATH = "decopilot/threads"
Answer = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class Door:
    """Calls a gateway about threads."""

    gateway: Gateway

    async def call(self, method: str, path: str, body: object = None, *, token: str | None = None) -> Answer:
        api = self.gateway.api
        url = f"{api.url}/{ORG}/{PATH}/{path}"
        return await type(api)(api.url, token or api.token, api.org).call(method, url, body=body)

    async def post(self, message: str, thread: str = "t1", text: str = "Hello") -> Answer:
        sent = {"id": message, "role": "user", "parts": [{"type": "text", "text": text}]}
        return await self.call("POST", f"{thread}/messages", {"messages": [sent]})

    async def ids(self, thread: str = "t1") -> list[str]:
        """List the messages of a thread."""
        status, body = await self.call("GET", f"{thread}/messages")
        assert 200 == status
        return [message["id"] for message in body["messages"]]


@pytest.fixture
def threads(record: Record) -> Threads:
    return Threads(record.journal, ORG)


@pytest.fixture
async def door(settings: Settings, store: Store) -> AsyncIterator[Door]:
    assert store.nc.is_connected
    port = free_port()
    async with (
        running(build_command(as_user(settings.model_copy(update={"health_port": port}), "command")), port),
        running_gateway(settings.nats_url) as gateway,
    ):
        yield Door(gateway)


@pytest.fixture
def services(own_broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Services]:
    started = Services(tmp_path, own_broker.url)
    yield started
    started.end()


async def two_answers(door: Door, threads: Threads) -> list[str]:
    """Bring a thread to two questions with their answers; list them."""
    for message in ("m1", "m2"):
        assert 202 == (await door.post(message))[0]
        await threads.complete("t1")
    return await door.ids()


async def test_an_answer_is_made_anew_in_the_place_of_all_that_stood_behind_its_question(
    door: Door, threads: Threads, record: Record
) -> None:
    m1, a1, m2, a2 = await two_answers(door, threads)
    status, again = await door.call("POST", "t1/regenerate", {"messageId": a2})
    assert (202, "m2", "in_progress") == (status, again["messageId"], again["status"])
    assert [m1, a1, m2] == await door.ids()
    # Whoever asks for the same is told of the same run, while it goes on and when it has ended.
    assert (202, again) == await door.call("POST", "t1/regenerate", {"messageId": a2})
    assert (202, again) == await door.call("POST", "t1/regenerate", {"messageId": m2})
    status, refused = await door.call("POST", "t1/regenerate", {"messageId": a1})
    assert (409, "run_active") == (status, refused["code"])
    await threads.complete("t1")
    assert (202, again | {"status": "completed"}) == await door.call("POST", "t1/regenerate", {"messageId": a2})
    *kept, a3 = await door.ids()
    assert [m1, a1, m2] == kept
    assert a3 not in {a1, a2}
    # A user's message by its own id: all behind it goes, and what is gone can't be had again.
    status, anew = await door.call("POST", "t1/regenerate", {"messageId": m1})
    assert (202, "m1") == (status, anew["messageId"])
    await threads.complete("t1")
    assert [m1, "m1"] == [(await door.ids())[0], anew["messageId"]]
    assert 2 == len(await door.ids())
    for gone in (m2, a3, "m99"):
        status, refused = await door.call("POST", "t1/regenerate", {"messageId": gone})
        assert (404, "message_not_found") == (status, refused["code"])
    assert (202, "completed") == ((sent := await door.post("m2"))[0], sent[1]["status"])
    status, refused = await door.post(a2)
    assert (409, "message_conflict") == (status, refused["code"])
    assert 4 == sum(
        isinstance(one.event, RunRequested) for one in await record.journal.events(ORG, ThreadId("t1"), after=0)
    )


async def test_an_ai_sdk_client_regenerates_by_its_own_request(door: Door, threads: Threads) -> None:
    m1, a1, m2, a2 = await two_answers(door, threads)
    held = [{"id": m1, "role": "user", "parts": [{"type": "text", "text": "Forged"}]}]
    body = {"id": "t1", "messages": held, "trigger": "regenerate-message", "messageId": a1, "tier": "fast"}
    status, again = await door.call("POST", "t1/messages", body)
    assert (202, "m1") == (status, again["messageId"])
    assert "fast" == (await threads.active("t1")).requested.config.tier
    await threads.complete("t1")
    _, history = await door.call("GET", "t1/messages")
    assert ["Hello", "Hi."] == [message["parts"][0]["text"] for message in history["messages"]]
    status, _ = await door.call("POST", "t1/messages", body | {"messageId": None})
    assert 202 == status
    assert [m1] == await door.ids()
    assert {m2, a2}.isdisjoint(await door.ids())


async def test_the_same_request_is_one_run_however_late_it_comes_again(door: Door, threads: Threads) -> None:
    await two_answers(door, threads)
    body = {"requestId": "r1"}
    _, first = await door.call("POST", "t1/regenerate", body)
    await threads.complete("t1")
    told = await door.ids()
    assert (202, first | {"status": "completed"}) == await door.call("POST", "t1/regenerate", body)
    assert told == await door.ids()
    _, second = await door.call("POST", "t1/regenerate")
    assert first["runId"] != second["runId"]


async def test_what_an_answer_waited_for_is_denied_when_it_is_made_anew_ahead_of_the_queue(
    door: Door, threads: Threads
) -> None:
    await door.post("m1")
    await door.post("m2")
    await threads.wait("t1", approval())
    assert 202 == (await door.call("POST", "t1/regenerate"))[0]
    resolution = {"resolutions": [{"approvalId": "approval_1", "approved": True}]}
    status, refused = await door.call("POST", "t1/interactions", resolution)
    assert (409, "interaction_resolved") == (status, refused["code"])
    state = await threads.state("t1")
    assert (1, None, ["m1"]) == (len(state.queue), state.waiting, [ref.id for ref in state.messages])
    await threads.complete("t1")
    # Now it is the queue's turn, ahead of any other answer.
    status, refused = await door.call("POST", "t1/regenerate")
    assert (409, "run_active") == (status, refused["code"])


async def test_only_who_may_write_has_an_answer_made_anew(door: Door, threads: Threads) -> None:
    await two_answers(door, threads)
    for role in ("member", "viewer"):
        stranger = make_token(sub="bob", orgs={ORG: role})
        status, refused = await door.call("POST", "t1/regenerate", token=stranger)
        assert (403, "forbidden") == (status, refused["code"])
    assert 4 == len(await door.ids())


async def test_a_run_that_answers_anew_is_gone_on_with_when_its_runner_dies(record: Record, services: Services) -> None:
    first = services.start("runner", agent="support.agents:obey")
    await first.ready()
    run = await record.send("t1", "steps 15 30")
    await record.end_of("t1", run)
    anew = await record.regenerate("t1", "m3")
    await record.frames_reach("t1", anew, 6)
    first.send(signal.SIGKILL)
    await services.start("runner", agent="support.agents:obey").ready()
    end = await record.end_of("t1", anew)
    assert isinstance(end, RunCompleted)
    assert end.message is not None
    assert [f"number{n}" for n in range(15)] == end.message.text.split()
    chunks = await record.chunks_of("t1", anew)
    assert ["start", "data-run", "data-messages-dropped", "data-user-message"] == [one["type"] for one in chunks[:4]]
    assert ("m1", "m1") == (chunks[2]["data"]["after"], chunks[3]["data"]["message"]["id"])
    assert fold(MessageId("answer-t1-m3"), chunks) == end.message
    attempts = [one.event for one in await record.events("t1") if isinstance(one.event, RunStarted)]
    assert [(run, 1), (anew, 1), (anew, 2)] == [(one.run_id, one.attempt) for one in attempts]
    history = await Histories(record.journal, record.views).read(ORG, ThreadId("t1"))
    assert ["m1", "answer-t1-m3"] == [message.id for message in history.messages]


async def test_every_viewer_of_an_answer_made_anew_learns_what_has_gone(
    door: Door, record: Record, services: Services
) -> None:
    await services.start("runner", agent="support.agents:obey", demo_delay_ms=0).ready()
    run = await record.send("t1", "say hello")
    await record.end_of("t1", run)
    _, history = await door.call("GET", "t1/messages")
    anew = await record.regenerate("t1", "m3")
    await record.end_of("t1", anew)
    dropped = {"type": "data-messages-dropped", "data": {"after": "m1"}, "transient": True}
    # One that held the history from before, and one that read it behind the event.
    viewer = door.gateway.viewer("t1", history["cursor"])
    await viewer.watch_run()
    assert dropped in viewer.chunks
    assert ["m1", "answer-t1-m3"] == await door.ids()
    _, history = await door.call("GET", "t1/messages")
    assert [viewer.messages[MessageId("answer-t1-m3")].model_dump(exclude_none=True)] == history["messages"][1:]


async def test_the_views_of_a_thread_drop_what_is_gone(
    settings: Settings, door: Door, threads: Threads, record: Record
) -> None:
    port = free_port()
    told = {"nats_url": settings.nats_url, "instance": "r", "health_port": port} | login("reactor")
    async with running(build_reactor(ReactorSettings.model_validate(told)), port):
        m1, *_ = await two_answers(door, threads)
        await door.call("POST", "t1/regenerate", {"messageId": m1})
        await threads.complete("t1")
        await record.drained("reactor")
        view = await record.views.snapshot(ORG, ThreadId("t1"))
        assert view is not None
        assert await record.journal.newest(ORG, ThreadId("t1")) == view.sequence
        assert await door.ids() == [ref.id for ref in view.state.messages]
        assert 2 == len(view.state.messages)


async def test_a_fork_holds_what_its_source_held_and_goes_its_own_way(
    settings: Settings, door: Door, threads: Threads, record: Record
) -> None:
    m1, a1, m2, a2 = await two_answers(door, threads)
    port = free_port()
    told = {"nats_url": settings.nats_url, "instance": "r", "health_port": port} | login("reactor")
    async with running(build_reactor(ReactorSettings.model_validate(told)), port):
        reader = make_token(sub="bob", orgs={ORG: "member"})
        status, forked = await door.call("POST", "t1/fork", {"messageId": a1, "threadId": "f1"}, token=reader)
        assert (201, "f1", {"taskId": "t1", "messageId": a1}) == (status, forked["taskId"], forked["forkedFrom"])
        _, history = await door.call("GET", "f1/messages")
        assert [m1, a1] == [message["id"] for message in history["messages"]]
        assert ("0-0", "completed", []) == (history["cursor"], history["status"], history["pending"])
        _, thread = await door.call("GET", "f1")
        assert ("bob", "Fork of Hello", "default") == (thread["createdBy"], thread["title"], thread["agentId"])
        assert {"taskId": "t1", "messageId": a1} == thread["forkedFrom"]
        # Asked again it is the same one; asked for otherwise, the id is taken.
        again = {"messageId": a1, "threadId": "f1"}
        assert (201, forked) == await door.call("POST", "t1/fork", again, token=reader)
        status, refused = await door.call("POST", "t1/fork", again | {"messageId": a2}, token=reader)
        assert (409, "thread_conflict") == (status, refused["code"])
        # It is its owner's, and the source is as it was.
        sent = {"messages": [{"id": "m9", "role": "user", "parts": [{"type": "text", "text": "And?"}]}]}
        _, accepted = await door.call("POST", "f1/messages", sent, token=reader)
        assert ("0-0", "in_progress") == (accepted["cursor"], accepted["status"])
        await threads.complete("f1")
        assert [m1, a1, m2, a2] == await door.ids()
        # With the source gone it is whole, from the views and from the log alone.
        await door.call("DELETE", "t1")
        assert [m1, a1, "m9"] == (await door.ids("f1"))[:3]
        await record.drained("reactor")
        assert [m1, a1, "m9"] == (await door.ids("f1"))[:3]
        assert (201, forked) == await door.call("POST", "t1/fork", again, token=reader)
        status, refused = await door.call("POST", "t1/fork", {"threadId": "f2"})
        assert (404, "thread_not_found") == (status, refused["code"])
        watched = [event["type"] for event in await record.watched("f1")]
        assert "decopilot.thread.forked" == watched[0]


async def test_a_forks_files_are_its_own(door: Door, threads: Threads, record: Record) -> None:
    said = {"type": "text", "text": "Look"}
    data = {"type": "file", "url": "data:text/plain;base64,SGk=", "mediaType": "text/plain", "filename": "hi.txt"}
    sent = {"messages": [{"id": "m1", "role": "user", "parts": [said, data]}]}
    assert 202 == (await door.call("POST", "t1/messages", sent))[0]
    call = "call-1"
    output = {"tool_call_id": call, "preview": "1\n2"}
    called = {"type": "tool-list", "toolCallId": call, "state": "output-available", "input": {}, "output": output}
    blobs = Blobs(record.store)
    await blobs.put(ORG, ThreadId("t1"), output_blob(call), b"all of it")
    await threads.complete("t1", called)
    assert 201 == (await door.call("POST", "t1/fork", {"threadId": "f1"}))[0]
    _, history = await door.call("GET", "f1/messages")
    url = history["messages"][0]["parts"][1]["url"]
    ref = file_ref(url)
    assert ref is not None
    assert (ORG, "f1") == (ref.org, ref.thread)
    await blobs.erase(ORG, ThreadId("t1"))
    assert b"Hi" == await blobs.read(*ref)
    assert b"all of it" == await blobs.read(ORG, ThreadId("f1"), output_blob(call))


async def test_a_fork_holds_nothing_unfinished_and_waits_for_nothing(
    door: Door, threads: Threads, record: Record
) -> None:
    await door.post("m1")
    status, _ = await door.call("POST", "t1/fork", {"threadId": "f0"})
    assert (201, ["m1"]) == (status, await door.ids("f0"))
    await threads.wait("t1", approval(), question())
    resolution = {"resolutions": [{"approvalId": "approval_1", "approved": True}]}
    assert 202 == (await door.call("POST", "t1/interactions", resolution))[0]
    assert 201 == (await door.call("POST", "t1/fork", {"threadId": "f1"}))[0]
    _, history = await door.call("GET", "f1/messages")
    states = [part["state"] for part in history["messages"][1]["parts"]]
    assert ["done", "output-denied", "output-error"] == states
    assert [] == history["pending"]
    # What is being gone on with is not finished.
    await door.call("POST", "t1/interactions", {"resolutions": [{"toolCallId": "q_1", "output": 1}]})
    answer = (await threads.active("t1")).requested.assistant_id
    status, refused = await door.call("POST", "t1/fork", {"messageId": answer, "threadId": "f2"})
    assert (404, "message_not_found") == (status, refused["code"])
    status, forked = await door.call("POST", "t1/fork")
    assert (201, "m1") == (status, forked["forkedFrom"]["messageId"])
    events = await record.journal.events(ORG, ThreadId("f1"), after=0)
    assert [ThreadForked] == [type(one.event) for one in events]


async def test_a_forks_question_is_answered_anew_and_its_chunks_are_attached_to(
    door: Door, record: Record, services: Services
) -> None:
    await services.start("runner", agent="support.agents:obey").ready()
    run = await record.send("t1", "say hello")
    await record.end_of("t1", run)
    assert 201 == (await door.call("POST", "t1/fork", {"threadId": "f1"}))[0]
    viewer = door.gateway.viewer("f1", "0-0")
    _, accepted = await door.call("POST", "f1/regenerate")
    await viewer.watch_run()
    assert "hello" in viewer.text
    end = await record.end_of("f1", RunId(accepted["runId"]))
    assert isinstance(end, RunCompleted)
    _, history = await door.call("GET", "f1/messages")
    assert 2 == len(history["messages"])

    async def told() -> bool:
        _, thread = await door.call("GET", "f1")
        return bool(thread["status"] == "completed")

    await until(told)


async def test_a_fork_that_fits_no_event_is_refused(door: Door, threads: Threads) -> None:
    for number in range(9):
        await door.post(f"m{number}", text="x" * 1_000_000)
        await threads.complete("t1")
    status, refused = await door.call("POST", "t1/fork", {"threadId": "f1"})
    assert (413, "body_too_large") == (status, refused["code"])
    assert 404 == (await door.call("GET", "f1"))[0]
    assert 201 == (await door.call("POST", "t1/fork", {"threadId": "f1", "messageId": "m1"}))[0]


async def test_viewers_fork_nothing_and_of_another_org_nobody(door: Door, threads: Threads) -> None:
    await two_answers(door, threads)
    status, refused = await door.call("POST", "t1/fork", token=make_token(sub="bob", orgs={ORG: "viewer"}))
    assert (403, "forbidden") == (status, refused["code"])
    status, refused = await door.call("POST", "t1/fork", token=make_token(sub="bob", orgs={"other": "owner"}))
    assert (403, "forbidden") == (status, refused["code"])
    for body, code in (({"messageId": "m99"}, "message_not_found"), ({"threadId": "a b"}, "invalid_body")):
        assert code == (await door.call("POST", "t1/fork", body))[1]["code"]


async def test_the_client_has_answers_made_anew_and_forks_threads(
    door: Door, record: Record, services: Services
) -> None:
    await services.start("runner", agent="support.agents:obey").ready()
    seen: list[str] = []
    async with Client(door.gateway.url, make_token(), ORG) as client:
        first = await client.run_and_wait("t1", "say hello")
        again = await client.regenerate_and_wait("t1", on_chunk=lambda chunk: seen.append(chunk["type"]))
        assert ("completed", "completed") == (first.status, again.status)
        assert first.message is not None
        assert again.message is not None
        assert first.message.id != again.message.id
        assert "data-messages-dropped" in seen
        history = await client.messages("t1")
        assert again.message.id == history.messages[1].id
        # Asked for what was made anew already, the client is told of that and of its answer.
        told = await client.regenerate_and_wait("t1", first.message.id)
        assert (again.run_id, again.message) == (told.run_id, told.message)
        forked = await client.fork("t1", into="f1")
        assert forked == await client.fork("t1", into="f1")
        thread = await client.thread(forked.thread)
        assert ("f1", forked.forked_from) == (thread.id, thread.forked_from)
        assert 0 == thread.usage.total_tokens
        assert history.messages == (await client.messages("f1")).messages
        assert 2 == sum(isinstance(one.event, RunRequested) for one in await record.events("t1"))


async def test_a_thread_tells_what_its_runs_have_used(door: Door, record: Record, services: Services) -> None:
    await services.start("runner").ready()
    runs = [await record.send("t1", "/count 3")]
    await record.end_of("t1", runs[0])
    runs.append(await record.regenerate("t1", "m3"))
    used = [(await record.end_of("t1", run)).usage for run in runs]
    _, thread = await door.call("GET", "t1")
    input_, output = sum(one.input_tokens for one in used), sum(one.output_tokens for one in used)
    assert {"inputTokens": input_, "outputTokens": output, "totalTokens": input_ + output} == thread["usage"]
    assert output > 0
    _, history = await door.call("GET", "t1/messages")
    assert used[1].output_tokens == history["messages"][-1]["metadata"]["usage"]["outputTokens"]
