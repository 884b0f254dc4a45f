"""What a newer version writes: kept for it, and nothing is decided, written or acknowledged without knowing it."""

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.commands import RETITLE_THREAD, Receipt, Refused, RetitleThread, decode_reply
from decopilot.contracts.events import RunQueued, RunRequested, UnknownEventError, decode_event
from decopilot.contracts.frames import decode_frame
from decopilot.contracts.ids import ThreadId
from decopilot.domain.commands import Promote
from decopilot.domain.decider import decide
from decopilot.domain.thread import FOLD_VERSION, INITIAL, evolve
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.store import Store
from decopilot_command.app import build
from decopilot_gateway import commanding
from decopilot_gateway.commanding import Commander
from decopilot_gateway.problems import ProblemError
from support.brokers import as_user
from support.gateways import ORG, Run, read_run, running_gateway
from support.reactors import ByHand, reactors
from support.services import Record, Services, running, until
from support.stack import free_port
from support.telling import Teller
from support.watcher import watching

THREAD = ThreadId("t1")
RETITLE = RetitleThread(org=ORG, thread=THREAD, user="ada", role="owner", title="Mine")
TOO_OLD = Refused(code="version_too_old", detail="")


async def waiting(store: Store, consumer: str) -> int:
    """Count what was handed out, and not acknowledged."""
    info = await store.js.consumer_info(subjects.EVENTS_STREAM, consumer)
    return int(info.num_ack_pending or 0)


async def test_command_decides_nothing_on_a_thread_that_it_cant_know(
    store: Store, record: Record, settings: Settings
) -> None:
    await record.send(THREAD, "hello")
    sequence = await record.sing(THREAD)
    port = free_port()
    told = as_user(settings.model_copy(update={"health_port": port}), "command")
    async with running(build(told), port):
        reply = await store.nc.request(subjects.command(RETITLE_THREAD), RETITLE.model_dump_json().encode(), timeout=6)
    refused = decode_reply(reply.data)
    assert isinstance(refused, Refused)
    assert ("version_too_old", sequence) == (refused.code, await record.journal.newest(ORG, THREAD))


@asynccontextmanager
async def answered_by(nc: Client, *answers: bytes) -> AsyncIterator[list[Msg]]:
    """Answer requests for another title by these in turn, the last one for ever."""
    asked: list[Msg] = []

    async def answer(message: Msg) -> None:
        asked.append(message)
        await message.respond(answers[min(len(asked), len(answers)) - 1])

    subscription = await nc.subscribe(subjects.command(RETITLE_THREAD), cb=answer)
    await nc.flush()
    yield asked
    await subscription.unsubscribe()


async def test_the_gateway_asks_on_until_a_newer_command_answers(store: Store) -> None:
    done = Receipt(thread=THREAD, status="titled")
    old = TOO_OLD.model_dump_json().encode()
    async with answered_by(store.nc, old, old, done.model_dump_json().encode()) as asked:
        assert done == await Commander(store.nc).ask(RETITLE_THREAD, RETITLE, Receipt, may_repeat=False)
    assert 3 == len(asked)


async def test_where_no_command_is_new_enough_the_gateway_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commanding, "DEADLINE_S", 0.5)
    async with answered_by(store.nc, TOO_OLD.model_dump_json().encode()):
        with pytest.raises(ProblemError, match="version_too_old"):
            await Commander(store.nc).ask(RETITLE_THREAD, RETITLE, Receipt)


async def test_a_thread_that_the_gateway_cant_know_is_unavailable_and_others_are_not(
    record: Record, settings: Settings
) -> None:
    await record.send(THREAD, "hello")
    await record.send("t2", "hello")
    await record.sing(THREAD)
    async with running_gateway(settings.nats_url) as gateway:
        found = {name: await gateway.api.get(f"decopilot/threads/{name}") for name in ("t1", "t2")}
    assert {"t1": 503, "t2": 200} == {name: status for name, (status, _) in found.items()}
    assert "version_too_old" == found["t1"][1]["code"]


async def test_reactors_leave_an_unknown_event_and_do_the_rest(
    store: Store, record: Record, settings: Settings
) -> None:
    by_hand = ByHand(record)
    run = await by_hand.post()
    async with reactors(settings):
        await record.drained("reactor")
        await record.sing(THREAD)
        await start_as_newer(record, run)
        await record.send("t2", "hello")
        await until(lambda: record.views.snapshot(ORG, ThreadId("t2")))

        async def left() -> bool:
            # The unknown event itself, and the known one behind it.
            return await waiting(store, subjects.REACTOR_CONSUMER) == 2

        await until(left)
    view = await record.views.snapshot(ORG, THREAD)
    assert view is not None
    assert 1 == view.sequence


async def test_a_run_whose_runner_meets_an_unknown_event_is_left_open_for_a_newer_one(
    record: Record, own_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    services = Services(tmp_path, own_broker.url)
    try:
        runner = services.start("runner", demo_delay_ms=5)
        await runner.ready()
        run = await record.send(THREAD, "/steps 30")

        async def has_begun() -> bool:
            return len(await record.events(THREAD)) > 1

        await until(has_begun)
        await record.sing(THREAD)

        async def is_delayed() -> bool:
            return any(line.get("event") == "run_delayed" for line in runner.lines())

        await until(is_delayed, 60)
        assert [] == runner.complaints()
    finally:
        services.end()
    last = await record.frames.last_of_run(ORG, THREAD, run)
    assert last is not None
    assert last.outcome is None


async def test_a_runner_that_leaves_hands_back_a_run_of_which_it_may_not_say_so(
    record: Record, own_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    services = Services(tmp_path, own_broker.url)
    try:
        runner = services.start("runner", demo_delay_ms=2_000)
        await runner.ready()
        run = await record.send(THREAD, "one two three four five six seven eight")

        async def speaks() -> bool:
            return await record.frames.last_of_run(ORG, THREAD, run) is not None

        await until(speaks)
        await record.sing(THREAD)
        runner.send(signal.SIGTERM)
        assert 0 == await runner.ended()
        assert [] == runner.complaints()
    finally:
        services.end()


async def start_as_newer(record: Record, run: str) -> None:
    """Append `run_started` as a newer runner does, which knows what stands before it."""
    body = {"type": "run_started", "at": datetime.now(UTC).isoformat(), "run_id": run, "attempt": 1, "runner_id": "x"}
    subject = subjects.event(ORG, THREAD, "run_started")
    await record.store.publish(subjects.EVENTS_STREAM, subject, json.dumps(body).encode())


async def test_a_view_of_a_newer_version_is_not_written_over_by_what_is_older(
    store: Store, record: Record, settings: Settings
) -> None:
    await ByHand(record).post()
    newest = await record.sing(THREAD)
    newer = {"fold_version": FOLD_VERSION + 1, "sequence": newest, "state": {"song": "la"}}
    body = json.dumps(newer).encode()
    assert await store.replace(subjects.THREADS_BUCKET, subjects.thread_key(ORG, THREAD), body, 0)
    async with reactors(settings):

        async def is_left() -> bool:
            # The unknown event, and the one before it, whose place is the newer version's to keep.
            return await waiting(store, subjects.REACTOR_CONSUMER) == 2

        await until(is_left)
    key = subjects.bucket_key(subjects.THREADS_BUCKET, subjects.thread_key(ORG, THREAD))
    kept = await store.last(f"KV_{subjects.THREADS_BUCKET}", key)
    assert kept is not None
    assert newer == json.loads(kept.data)


def test_what_a_newer_version_says_of_a_queued_run_is_handed_on_when_its_turn_comes() -> None:
    now = datetime.now(UTC).isoformat()
    message = {"id": "m2", "role": "user", "parts": []}
    asked = {"at": now, "user_id": "ada", "assistant_id": "a", "message_hash": "", "message": message}
    config = {"flavour": "lemon"}
    thread = {"owner": "ada", "agent_id": "default", "title": ""}
    first = decode_event(
        json.dumps(asked | {"type": "run_requested", "run_id": "r1", "config": {}, "thread": thread}).encode()
    )
    queued = decode_event(
        json.dumps(asked | {"type": "run_queued", "run_id": "r2", "config": config, "priority": 7}).encode()
    )
    assert isinstance(queued, RunQueued)
    # The first has ended meanwhile, and a snapshot was written and read.
    state = evolve(evolve(INITIAL, first), queued).model_copy(update={"active": None, "status": "completed"})
    state = type(state).model_validate_json(state.model_dump_json(exclude_defaults=True))
    promoted = decide(Promote(now=datetime.now(UTC)), state)
    assert isinstance(promoted, RunRequested)
    told = json.loads(promoted.model_dump_json())
    assert (7, "lemon") == (told["priority"], told["config"]["flavour"])


async def test_chunks_of_a_newer_version_pass_an_older_gateway(store: Store, settings: Settings) -> None:
    sung = {"type": "sing", "tune": [1, 2]}
    async with running_gateway(settings.nats_url) as gateway, Run(store, THREAD) as run:
        await run.record_request()
        viewer = gateway.viewer(THREAD)
        async with viewer.attached() as chunks:
            await run.start("a")
            await run.write(sung)
            await run.close()
            await read_run(chunks)
    assert [sung] == [chunk for chunk in viewer.chunks if chunk["type"] == "sing"]


async def test_headers_of_a_newer_version_are_passed_over(store: Store) -> None:
    async with Run(store, THREAD) as run:
        await run.start("a")
    stored = await store.last(subjects.CHUNKS_STREAM, subjects.chunks(ORG, THREAD, run.run_id))
    assert stored is not None
    known, newer = (
        decode_frame(stored.subject, stored.sequence, {**stored.headers, **more}, stored.data)
        for more in ({}, {"Decopilot-Tune": "la"})
    )
    assert known == newer


async def test_watch_events_of_a_newer_version_pass_an_older_gateway(store: Store, settings: Settings) -> None:
    teller = Teller(store)
    async with running_gateway(settings.nats_url) as gateway, watching(gateway.api) as watcher:
        await watcher.next()
        await teller.tell("thread.sang", tune="la")
        told = await watcher.next()
    assert ("decopilot.thread.sang", "la") == (told.name, told.data["data"]["tune"])


async def test_nothing_is_read_past_what_is_unknown(record: Record, settings: Settings) -> None:
    await record.send(THREAD, "hello")
    await record.sing(THREAD)
    async with connected(settings, "other") as nc, Store(nc) as other:
        with pytest.raises(UnknownEventError):
            await Record.of(other).journal.load(ORG, THREAD)
