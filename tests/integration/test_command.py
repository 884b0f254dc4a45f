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
from decopilot.contracts.commands import SEND_MESSAGE, Accepted, Refused, decode_reply
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.capacity import Capacity
from decopilot.log.journal import Journal
from decopilot.log.store import Store
from decopilot.log.topology import Sizes, provision
from decopilot.log.views import Views
from decopilot_command.answering import answering
from decopilot_command.app import build
from decopilot_command.sending import DEADLINE_S, Sender
from decopilot_command.tracking import Tracker
from support.services import ORG, Record, Services, running
from support.stack import free_port


@pytest.fixture
def record(store: Store) -> Record:
    return Record.of(store)


@asynccontextmanager
async def command(settings: Settings) -> AsyncIterator[None]:
    port = free_port()
    told = settings.model_copy(update={"health_port": port})
    async with running(build(told), port):
        yield


def request(**changes: object) -> dict[str, Any]:
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}
    body = {"org": ORG, "thread": "t1", "user": "ada", "role": "member", "message": message, "config": {}}
    return body | changes


async def ask(nc: Client, body: object, headers: dict[str, str] | None = None) -> Accepted | Refused:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = await nc.request(subjects.command(SEND_MESSAGE), raw, timeout=6, headers=headers)
    return decode_reply(reply.data)


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
    async with command(settings):
        async with tracking(record.store.nc) as tracked:
            accepted = await ask(record.store.nc, request())
        assert isinstance(accepted, Accepted)
    assert ("t1", "m1", "in_progress", "0-0") == (
        accepted.thread,
        accepted.message_id,
        accepted.status,
        accepted.cursor,
    )
    (requested,) = await record.events("t1")
    assert accepted.run_id == requested.event.run_id
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
        first = await ask(record.store.nc, request())
        assert first == await ask(record.store.nc, request())
    assert 1 == len(await record.events("t1"))
    assert 1 == len(tracked)


async def test_the_same_message_racing_over_two_copies_is_one_run_and_is_tracked_once(
    settings: Settings, record: Record
) -> None:
    async with command(settings), command(settings), tracking(record.store.nc) as tracked:
        answers = await asyncio.gather(*(ask(record.store.nc, request()) for _ in range(40)))
    assert [answers[0]] * 40 == answers
    assert isinstance(answers[0], Accepted)
    assert 1 == len(await record.events("t1"))
    assert 1 == len(tracked)


async def test_of_many_messages_racing_for_a_thread_one_starts_a_run(settings: Settings, record: Record) -> None:
    async with command(settings), command(settings), tracking(record.store.nc) as tracked:
        answers = await asyncio.gather(
            *(ask(record.store.nc, request(message=request()["message"] | {"id": f"m{n}"})) for n in range(20))
        )
    assert ["accepted"] + ["refused"] * 19 == sorted(answer.type for answer in answers)
    assert {"run_active"} == {answer.code for answer in answers if isinstance(answer, Refused)}
    assert (1, 1) == (len(await record.events("t1")), len(tracked))


REFUSED = {
    "forbidden": request(role="viewer"),
    "message_conflict": request(message=request()["message"] | {"parts": [{"type": "text", "text": "Other"}]}),
    "run_active": request(message=request()["message"] | {"id": "m2"}),
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
    settings: Settings, record: Record
) -> None:
    await provision(record.store.nc, Sizes(chunks_max_bytes=1 << 20))
    async with command(settings):
        first = await ask(record.store.nc, request())
    for n in range(9):
        await record.store.publish(subjects.CHUNKS_STREAM, f"decopilot.chunk.acme.other.run{n}", b"x" * 100_000)
    async with command(settings), tracking(record.store.nc) as tracked:
        refused = await ask(record.store.nc, request(thread="t2"))
        assert first == await ask(record.store.nc, request())
    assert isinstance(refused, Refused)
    assert "storage_full" == refused.code
    assert [] == await record.events("t2")
    assert [] == tracked


async def test_a_broker_that_does_not_answer_is_told_within_the_deadline(settings: Settings, record: Record) -> None:
    async with connected(settings, "slow") as nc, Store(nc) as silent:
        # Requests to the store are heard by somebody who never answers.
        await nc.subscribe("silent.>")
        silent.js = nc.jetstream(timeout=2, prefix="silent")
        sender = Sender(Journal(silent, Views(silent)), Tracker(nc), Capacity(record.store))
        answer = answering(sender, max_payload_bytes=nc.max_payload)
        clock = asyncio.get_running_loop().time

        asked = SimpleNamespace(body=json.dumps(request()).encode(), headers={})
        began = clock()
        refused = decode_reply(await answer(asked))  # type: ignore[arg-type]  # what it reads of a message
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
    asked = [asyncio.create_task(ask(record.store.nc, request(thread=f"t{n}"))) for n in range(400)]
    await asked[100]
    leaving.send(signal.SIGTERM)
    answers = await asyncio.gather(*asked)
    assert 0 == await leaving.ended()
    assert {"accepted"} == {answer.type for answer in answers}
    taken = [sum(line.get("event") == "message_accepted" for line in one.lines()) for one in (leaving, staying)]
    assert 400 == sum(taken)
    assert min(taken) > 0
    assert [[], []] == [leaving.complaints(), staying.complaints()]


async def test_no_message_and_no_token_is_logged(record: Record, services: Services) -> None:
    service = services.start("command", nats_token="the-token-of-the-broker", log_level="debug")
    await service.ready()
    secret = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hunter2"}]}
    await ask(record.store.nc, request(message=secret))
    await ask(record.store.nc, request(message=secret | {"role": "robot"}))
    await ask(record.store.nc, request(message=secret, thread="hunter2."))
    service.send(signal.SIGTERM)
    assert 0 == await service.ended()
    assert "hunter2" not in service.log.read_text()
    assert "the-token-of-the-broker" not in service.log.read_text()
