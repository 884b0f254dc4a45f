import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nats.aio.client import Client

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.commands import (
    CANCEL_RUN,
    DELETE_THREAD,
    RESOLVE_INTERACTIONS,
    RETITLE_THREAD,
    SEND_MESSAGE,
    TRY,
    WITHDRAW_MESSAGE,
    Accepted,
    Receipt,
    Refused,
    Reply,
    RetitleThread,
    SendMessage,
    decode_reply,
)
from decopilot.contracts.configuration import Configuration
from decopilot.contracts.events import run_of
from decopilot.contracts.ids import RunId
from decopilot.domain.quotas import UNLIMITED
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.blobs import Blobs
from decopilot.log.capacity import Capacity
from decopilot.log.counts import Counts
from decopilot.log.history import Histories
from decopilot.log.journal import Journal
from decopilot.log.places import Places
from decopilot.log.store import Store
from decopilot.log.topology import Sizes, provision
from decopilot.log.views import Views
from decopilot_command.answering import answering
from decopilot_command.app import build
from decopilot_command.branching import Brancher
from decopilot_command.carrying import Carrier
from decopilot_command.choosing import Chooser
from decopilot_command.executing import DEADLINE_S, Executor
from decopilot_command.giving_up import Tries
from decopilot_command.limiting import Limiter
from decopilot_command.tracking import Tracker
from decopilot_command.waking import Bell
from decopilot_command.wishes import wishes
from decopilot_gateway import commanding
from decopilot_gateway.commanding import Commander
from decopilot_gateway.problems import ProblemError
from support.brokers import PASSWORDS, as_user
from support.services import ORG, Record, Service, Services, again_told, running, until
from support.stack import free_port
from support.threads import Threads, approval, question


@pytest.fixture
def threads(record: Record) -> Threads:
    return Threads(record.journal, ORG)


@asynccontextmanager
async def command(settings: Settings) -> AsyncIterator[None]:
    port = free_port()
    told = as_user(settings.model_copy(update={"health_port": port}), "command")
    async with running(build(told), port):
        yield


def request(**changes: object) -> dict[str, Any]:
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}
    body = {"org": ORG, "thread": "t1", "user": "ada", "role": "member", "message": message, "config": {}}
    return body | changes


def numbered(number: int, **changes: object) -> dict[str, Any]:
    """Make a request to send message m<number>."""
    return request(message=request()["message"] | {"id": f"m{number}"}, **changes)


def wish(**changes: object) -> dict[str, Any]:
    """Make a request that sends no message."""
    return {"org": ORG, "thread": "t1", "user": "ada", "role": "member"} | changes


def verdict(number: int = 1, *, approved: bool = True) -> dict[str, Any]:
    return {"kind": "approval", "approval_id": f"approval_{number}", "approved": approved}


async def ask(nc: Client, body: object, headers: dict[str, str] | None = None, *, name: str = SEND_MESSAGE) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = await nc.request(subjects.command(name), raw, timeout=6, headers=headers)
    return decode_reply(reply.data)


async def accepted(nc: Client, body: object, *, name: str = SEND_MESSAGE) -> Accepted:
    reply = await ask(nc, body, name=name)
    assert isinstance(reply, Accepted), reply
    return reply


async def receipt(nc: Client, body: object, *, name: str) -> Receipt:
    reply = await ask(nc, body, name=name)
    assert isinstance(reply, Receipt), reply
    return reply


async def code(nc: Client, body: object, *, name: str = SEND_MESSAGE) -> str:
    reply = await ask(nc, body, name=name)
    assert isinstance(reply, Refused), reply
    return reply.code


@asynccontextmanager
async def tracking(nc: Client) -> AsyncIterator[list[dict[str, Any]]]:
    """What is tracked while the context is open."""
    tracked: list[dict[str, Any]] = []
    subscription = await nc.subscribe(subjects.track(ORG, "chat_message_started"))
    yield tracked
    await nc.flush()
    while subscription.pending_msgs:
        tracked.append(json.loads((await subscription.next_msg()).data))
    await subscription.unsubscribe()


async def test_a_message_is_accepted_with_its_run_and_the_cursor_before_it(settings: Settings, record: Record) -> None:
    async with command(settings), tracking(record.store.nc) as tracked:
        reply = await accepted(record.store.nc, request())
    assert ("t1", "m1", "in_progress", "0-0") == (reply.thread, reply.message_id, reply.status, reply.cursor)
    (requested,) = await record.events("t1")
    assert reply.run_id == run_of(requested.event)
    told = {
        "organization_id": ORG,
        "user_id": "ada",
        "thread_id": "t1",
        "agent_id": "default",
        "mode": "default",
        "tier": "smart",
    }
    assert [told] == tracked


MALFORMED: dict[str, object] = {
    "nothing": b"",
    "no JSON": b"{",
    "no UTF-8": b"\xff\xfe",
    "another shape": [1, 2],
    "null": None,
    "a missing field": {"org": ORG},
    "an org that is no token": request(org="a.b"),
    "a thread that is a wildcard": request(thread=">"),
    "an unknown role": request(role="admin"),
    "a message that is text": request(message="Hello"),
    "an answer": request(message={"id": "m1", "role": "assistant", "parts": []}),
    "a huge number": b'{"org":' + b"9" * 5000 + b"}",
    "deep nesting": b"[" * 100_000,
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_malformed_request_is_refused_and_changes_nothing(
    settings: Settings, record: Record, name: str
) -> None:
    async with command(settings), tracking(record.store.nc) as tracked:
        for headers in (None, {"content-type": "application/json"}, {"content-type": "text/plain"}):
            refused = await ask(record.store.nc, MALFORMED[name], headers)
            assert isinstance(refused, Refused)
            assert "invalid_body" == refused.code
    assert 0 == (await record.store.js.stream_info(subjects.EVENTS_STREAM)).state.messages
    assert [] == tracked


async def test_the_same_message_twice_is_one_run_and_is_tracked_once(settings: Settings, record: Record) -> None:
    async with command(settings), tracking(record.store.nc) as tracked:
        first = await accepted(record.store.nc, request())
        assert again_told(first) == await ask(record.store.nc, request())
    assert 1 == len(await record.events("t1"))
    assert 1 == len(tracked)


async def test_the_same_message_racing_over_two_copies_is_one_run_and_is_tracked_once(
    settings: Settings, record: Record
) -> None:
    async with command(settings), command(settings), tracking(record.store.nc) as tracked:
        answers = await asyncio.gather(*(accepted(record.store.nc, request()) for _ in range(40)))
    assert [again_told(answers[0])] * 40 == [again_told(answer) for answer in answers]
    assert 1 == sum(not answer.repeated for answer in answers)
    assert 1 == len(await record.events("t1"))
    assert 1 == len(tracked)


@pytest.mark.parametrize(("on_conflict", "other"), [("queue", "queued"), ("reject", "refused")])
async def test_of_many_messages_racing_for_a_thread_one_starts_a_run(
    settings: Settings, record: Record, on_conflict: str, other: str
) -> None:
    async with command(settings), command(settings), tracking(record.store.nc) as tracked:
        answers = await asyncio.gather(*(ask(record.store.nc, numbered(n, on_conflict=on_conflict)) for n in range(20)))
    told = [answer.status if isinstance(answer, Accepted) else answer.type for answer in answers]
    assert ["in_progress"] + [other] * 19 == sorted(told)
    assert {"run_active"} >= {answer.code for answer in answers if isinstance(answer, Refused)}
    appended = 20 if on_conflict == "queue" else 1
    assert (appended, appended) == (len(await record.events("t1")), len(tracked))


REFUSED = {
    "forbidden": request(role="viewer"),
    "message_conflict": request(message=request()["message"] | {"parts": [{"type": "text", "text": "Other"}]}),
    "run_active": numbered(2, on_conflict="reject"),
    "body_too_large": request(message=request()["message"] | {"metadata": {"x": "x" * (8 * 1024 * 1024 - 60_000)}}),
}


@pytest.mark.parametrize("code", REFUSED)
async def test_what_is_refused_has_a_code_appends_nothing_and_is_not_tracked(
    settings: Settings, record: Record, code: str
) -> None:
    async with command(settings):
        await ask(record.store.nc, request())
        async with tracking(record.store.nc) as tracked:
            refused = await ask(record.store.nc, REFUSED[code])
    assert isinstance(refused, Refused)
    assert (code, []) == (refused.code, tracked)
    assert 1 == len(await record.events("t1"))


async def test_another_members_thread_is_forbidden_but_not_to_an_owner(settings: Settings, record: Record) -> None:
    async with command(settings):
        await ask(record.store.nc, request())
        foreign = await ask(record.store.nc, request(user="bob"))
        owned = await ask(record.store.nc, request(user="bob", role="owner"))
    assert isinstance(foreign, Refused)
    assert "forbidden" == foreign.code
    assert isinstance(owned, Accepted)


async def test_a_nearly_full_chunk_log_refuses_new_runs_and_still_knows_the_old_ones(
    settings: Settings, record: Record, threads: Threads
) -> None:
    await provision(record.store.nc, Sizes(chunks_max_bytes=1 << 20))
    nc = record.store.nc
    both = wish(resolutions=[verdict(1), verdict(2)])
    for thread in ("t1", "t3", "t4"):
        await record.send(thread, "Hello")
    await threads.wait("t3", approval(1), approval(2))
    await threads.wait("t4", approval(1))
    async with command(settings):
        first = await accepted(nc, request(thread="t5"))
        resolved = await accepted(nc, wish(thread="t4", resolutions=[verdict(1)]), name=RESOLVE_INTERACTIONS)
    for n in range(9):
        await record.store.publish(subjects.CHUNKS_STREAM, f"decopilot.chunk.acme.other.run{n}", b"x" * 100_000)
    async with command(settings), tracking(nc) as tracked:
        assert "storage_full" == await code(nc, request(thread="t2"))
        assert "storage_full" == await code(nc, numbered(2))
        assert "storage_full" == await code(nc, both | {"thread": "t3"}, name=RESOLVE_INTERACTIONS)
        # What starts no run is done, and what was done is told.
        assert "message_conflict" == await code(nc, request())
        part = await accepted(nc, wish(thread="t3", resolutions=[verdict(1)]), name=RESOLVE_INTERACTIONS)
        again = await accepted(nc, wish(thread="t4", resolutions=[verdict(1)]), name=RESOLVE_INTERACTIONS)
        assert again_told(first) == await accepted(nc, request(thread="t5"))
        assert "cancelling" == (await receipt(nc, wish(), name=CANCEL_RUN)).status
    assert ("requires_action", again_told(resolved)) == (part.status, again)
    assert [] == await record.events("t2")
    assert [] == tracked


WISHES: dict[str, dict[str, Any]] = {
    SEND_MESSAGE: request(),
    RESOLVE_INTERACTIONS: wish(resolutions=[verdict()]),
    CANCEL_RUN: wish(),
    WITHDRAW_MESSAGE: wish(message_id="m2"),
    RETITLE_THREAD: wish(title="Another"),
    DELETE_THREAD: wish(),
}


@pytest.mark.parametrize("name", WISHES)
async def test_whoever_may_not_write_is_refused_every_wish_and_the_orgs_owner_none(
    settings: Settings, record: Record, threads: Threads, name: str
) -> None:
    nc = record.store.nc
    await record.send("t1", "Hello", "m0")
    if name == RESOLVE_INTERACTIONS:
        await threads.wait("t1", approval())
    async with command(settings):
        if name == WITHDRAW_MESSAGE:
            await accepted(nc, numbered(2))
        before = len(await record.events("t1"))
        for stranger in ({"role": "viewer"}, {"role": "viewer", "user": "bob"}, {"user": "bob"}):
            assert "forbidden" == await code(nc, WISHES[name] | stranger, name=name)
        assert before == len(await record.events("t1"))
        if name != SEND_MESSAGE:
            assert "thread_not_found" == await code(nc, WISHES[name] | {"thread": "unknown"}, name=name)
        granted = await ask(nc, WISHES[name] | {"user": "bob", "role": "owner"}, name=name)
    assert not isinstance(granted, Refused)
    assert before + 1 == len(await record.events("t1"))


MALFORMED_WISHES: list[tuple[str, object]] = [
    *((name, body) for name in WISHES for body in (b"", b"{", [1], wish(thread="*"), wish(role="root"))),
    (CANCEL_RUN, wish(run_id="a.b")),
    (WITHDRAW_MESSAGE, wish(message_id=">")),
    (WITHDRAW_MESSAGE, wish()),
    (RETITLE_THREAD, wish(title="   ")),
    (RETITLE_THREAD, wish(title="x" * 201)),
    (RESOLVE_INTERACTIONS, wish(resolutions=[])),
    (RESOLVE_INTERACTIONS, wish(resolutions=[{"approval_id": "", "approved": True}])),
    (RESOLVE_INTERACTIONS, wish(resolutions=[{"output": 1}])),
    (RESOLVE_INTERACTIONS, wish(resolutions=[verdict()] * 201)),
]


async def test_a_malformed_wish_is_refused_and_changes_nothing(settings: Settings, record: Record) -> None:
    await record.send("t1", "Hello")
    async with command(settings):
        for name, body in MALFORMED_WISHES:
            assert "invalid_body" == await code(record.store.nc, body, name=name), (name, body)
    assert ["run_requested"] == await record.event_types("t1")


@asynccontextmanager
async def signals(nc: Client) -> AsyncIterator[list[tuple[str, bytes]]]:
    """Which runs are woken while the context is open."""
    woken: list[tuple[str, bytes]] = []
    subscription = await nc.subscribe(subjects.signal(ORG, RunId("*")))
    yield woken
    await nc.flush()
    while subscription.pending_msgs:
        message = await subscription.next_msg()
        woken.append((message.subject.rpartition(".")[2], message.data))
    await subscription.unsubscribe()


async def test_who_drives_a_run_is_woken_whenever_its_end_is_asked_for(settings: Settings, record: Record) -> None:
    nc = record.store.nc
    async with command(settings):
        run = (await accepted(nc, request())).run_id
        async with signals(nc) as woken:
            await accepted(nc, numbered(2))
            await accepted(nc, request())
        assert [] == woken
        asked: list[tuple[str, dict[str, Any]]] = [
            (SEND_MESSAGE, numbered(3, on_conflict="interrupt")),
            (SEND_MESSAGE, numbered(3, on_conflict="interrupt")),
            (CANCEL_RUN, wish()),
            (CANCEL_RUN, wish(run_id=run)),
            (DELETE_THREAD, wish()),
            (DELETE_THREAD, wish()),
        ]
        for name, body in asked:
            async with signals(nc) as woken:
                assert not isinstance(await ask(nc, body, name=name), Refused)
            assert [(run, b"")] == woken, (name, body)


async def test_what_is_queued_is_tracked_and_what_goes_on_is_not(
    settings: Settings, record: Record, threads: Threads
) -> None:
    nc = record.store.nc
    async with command(settings):
        await accepted(nc, request())
        await threads.wait("t1", approval())
        async with tracking(nc) as tracked:
            await accepted(nc, WISHES[RESOLVE_INTERACTIONS], name=RESOLVE_INTERACTIONS)
        assert [] == tracked
        async with tracking(nc) as tracked:
            for _ in range(2):
                await accepted(nc, request())
                await accepted(nc, numbered(2))
                await accepted(nc, numbered(3, on_conflict="interrupt"))
    assert 2 == len(tracked)


async def test_answers_given_one_by_one_are_no_larger_than_the_threads_view_takes(
    settings: Settings, record: Record, threads: Threads
) -> None:
    nc = record.store.nc
    await record.send("t1", "Hello")
    await threads.wait("t1", question(1), question(2), question(3))
    large = [{"tool_call_id": f"q_{n}", "output": "x" * (3 << 19)} for n in (1, 2)]
    async with command(settings):
        await accepted(nc, wish(resolutions=large[:1]), name=RESOLVE_INTERACTIONS)
        assert "body_too_large" == await code(nc, wish(resolutions=large[1:]), name=RESOLVE_INTERACTIONS)
        small = [{"tool_call_id": f"q_{n}", "output": "x"} for n in (2, 3)]
        assert "in_progress" == (await accepted(nc, wish(resolutions=small), name=RESOLVE_INTERACTIONS)).status


async def test_a_call_id_that_comes_again_in_another_answer_is_another_interaction(
    settings: Settings, record: Record, threads: Threads
) -> None:
    nc = record.store.nc
    first_answer = "answer-t1-m1"
    answer = {"tool_call_id": "q_1", "output": "red"}
    await record.send("t1", "Hello", "m1")
    await threads.wait("t1", question(1))
    async with command(settings):
        first = await accepted(nc, wish(resolutions=[answer]), name=RESOLVE_INTERACTIONS)
        assert first_answer == first.message_id
        await threads.complete("t1")
        await accepted(nc, numbered(2))
        waits = await threads.wait("t1", question(1))
        whole = wish(resolutions=[answer], message_id=first_answer, is_whole_message=True)
        told = await accepted(nc, whole, name=RESOLVE_INTERACTIONS)
        assert (first.run_id, first_answer, "completed") == (told.run_id, told.message_id, told.status)
        assert waits == getattr((await threads.state("t1")).waiting, "run_id", None)
        second = await accepted(nc, wish(resolutions=[answer]), name=RESOLVE_INTERACTIONS)
    assert "in_progress" == second.status
    assert {first.run_id, first_answer}.isdisjoint({second.run_id, second.message_id})


async def test_a_broker_that_does_not_answer_is_told_within_the_deadline(settings: Settings, record: Record) -> None:
    async with connected(settings, "slow") as nc, Store(nc) as silent:
        # Requests to the store are heard by somebody who never answers.
        await nc.subscribe("silent.>")
        silent.js = nc.jetstream(timeout=2, prefix="silent")
        journal, views = Journal(silent, Views(silent)), Views(silent)
        limiter = Limiter(Counts(silent), Places(silent), UNLIMITED)
        executor, histories = (
            Executor(journal, Capacity(record.store), limiter, Tries(record.store.nc)),
            Histories(journal, views),
        )
        chooser = Chooser(Configuration())
        brancher = Brancher(executor, chooser, histories, Carrier(Blobs(silent)))
        answer = answering(
            wishes(executor, Tracker(nc), Bell(nc), chooser, brancher)[0],
            Tries(record.store.nc),
            max_payload_bytes=nc.max_payload,
        )
        clock = asyncio.get_running_loop().time

        asked = SimpleNamespace(body=json.dumps(request()).encode(), headers={})
        began = clock()
        refused = decode_reply(await answer(asked)() or b"")  # type: ignore[arg-type]  # what it reads of a message
        took_s = clock() - began
    assert isinstance(refused, Refused)
    assert "broker_unavailable" == refused.code
    assert took_s < DEADLINE_S + 0.2
    assert [] == await record.events("t1")


@pytest.fixture
def services(own_broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Services]:
    started = Services(tmp_path, own_broker.url)
    yield started
    started.end()


async def test_a_copy_that_leaves_under_load_answers_what_it_took(record: Record, services: Services) -> None:
    leaving, staying = services.start("command"), services.start("command")
    await asyncio.gather(leaving.ready(), staying.ready())
    asked = [asyncio.create_task(ask(record.store.nc, request(thread=f"t{n}"))) for n in range(200)]
    await asked[50]
    leaving.send(signal.SIGTERM)
    answers = await asyncio.gather(*asked)
    assert 0 == await leaving.ended()
    assert {"accepted"} == {answer.type for answer in answers}
    taken = [sum(line.get("event") == "message_accepted" for line in one.lines()) for one in (leaving, staying)]
    assert 200 == sum(taken)
    assert min(taken) > 0
    assert [[], []] == [leaving.complaints(), staying.complaints()]


async def test_a_message_that_was_refused_does_not_begin_when_a_copy_that_stood_still_goes_on(
    record: Record, services: Services, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commanding, "ATTEMPT_S", 0.5)
    monkeypatch.setattr(commanding, "DEADLINE_S", 60.0)
    commander, clock = Commander(record.store.nc), asyncio.get_running_loop().time
    await record.send("t1", "Hello", "m1")
    stopped, awake = services.start("command"), services.start("command")
    await asyncio.gather(stopped.ready(), awake.ready())
    stopped.send(signal.SIGSTOP)
    # The broker gives a request to either copy, as it likes.
    took_s, number = 0.0, 1
    while took_s < commanding.ATTEMPT_S:
        number += 1
        message = SendMessage.model_validate_json(json.dumps(numbered(number, on_conflict="reject")))
        began = clock()
        with pytest.raises(ProblemError, match="run_active"):
            await commander.ask(SEND_MESSAGE, message, Accepted)
        took_s = clock() - began
    await threads.complete("t1")
    stopped.send(signal.SIGCONT)
    await until(lambda: _found(stopped, "request_given_up"))
    stopped.send(signal.SIGTERM)
    assert 0 == await stopped.ended()
    assert ["run_requested", "run_completed"] == await record.event_types("t1")


async def test_what_may_have_been_given_up_unheard_appends_nothing(
    record: Record, services: Services, threads: Threads, own_broker: EmbeddedBroker
) -> None:
    nc = record.store.nc
    await record.send("t1", "Hello", "m1")
    service = services.start("command")
    await service.ready()
    service.send(signal.SIGSTOP)
    inbox = nc.new_inbox()
    body = json.dumps(numbered(2, on_conflict="reject")).encode()
    await nc.publish(subjects.command(SEND_MESSAGE), body, reply=inbox, headers={TRY: "first"})
    for _ in range(2):
        await nc.flush()
    own_broker.kill()
    own_broker.restart()

    async def is_back() -> bool:
        return bool(nc.stats["reconnects"])

    await until(is_back)
    await threads.complete("t1")
    service.send(signal.SIGCONT)
    await until(lambda: _found(service, "request_given_up"))
    # What came before both of its connections were there again is asked again.
    await Commander(nc).ask(RETITLE_THREAD, RetitleThread.model_validate(wish(title="Later")), Receipt)
    service.send(signal.SIGTERM)
    assert 0 == await service.ended()
    assert ["run_requested", "run_completed", "thread_titled"] == await record.event_types("t1")


async def _found(service: Service, event: str) -> bool:
    return event in [line.get("event") for line in service.lines()]


async def test_no_message_and_no_password_is_logged(record: Record, services: Services) -> None:
    service = services.start("command", log_level="debug")
    await service.ready()
    secret = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hunter2"}]}
    await ask(record.store.nc, request(message=secret))
    await ask(record.store.nc, request(message=secret | {"role": "robot"}))
    await ask(record.store.nc, request(message=secret, thread="hunter2."))
    service.send(signal.SIGTERM)
    assert 0 == await service.ended()
    assert "hunter2" not in service.log.read_text()
    assert PASSWORDS["command"] not in service.log.read_text()
