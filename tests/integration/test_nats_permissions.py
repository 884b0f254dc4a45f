import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts import subjects
from decopilot.contracts.events import UnknownEventError
from decopilot.contracts.ids import OrgId, RunId, ThreadId
from decopilot.kit.connection import Lifeline, connected, flushed
from decopilot.kit.settings import Settings
from decopilot.log import topology
from decopilot.log.journal import Journal
from decopilot.log.permissions import SERVICES, STREAMS
from decopilot.log.store import Store
from decopilot.log.views import Views
from support.brokers import PASSWORDS, as_user
from support.permitted import BL, CH, EV, EVERY_STREAM, RIGHTS, WA, allowed, operations
from support.services import until

ORG, T1 = OrgId("acme"), ThreadId("t1")
WAIT_S = 20.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker with users whose refusals are what is asked for."""
    with EmbeddedBroker(tmp_path / "nats", passwords=PASSWORDS) as started:
        yield started


@pytest.fixture
async def operator(broker: EmbeddedBroker) -> AsyncIterator[Client]:
    """The operator's connection to it, where everything is provisioned by the user who is there for that."""
    async with (
        connected(as_user(Settings(nats_url=broker.url), "provision"), "provision") as provisioning,
        connected(Settings(nats_url=broker.url), "test") as nc,
    ):
        await topology.provision(provisioning)
        await topology.provision(provisioning, topology.Sizes(chunks_max_bytes=1 << 30, readers_ttl_s=20))
        yield nc


@asynccontextmanager
async def user_of(broker: EmbeddedBroker, user: str) -> AsyncIterator[tuple[Client, list[str]]]:
    """Hold a raw connection of a user, and what it is refused."""
    refused: list[str] = []

    async def hear(error: Exception) -> None:
        refused.append(str(error))

    nc = await nats.connect(
        broker.url,
        user=user,
        password=PASSWORDS[user],
        inbox_prefix=subjects.inbox(user),
        error_cb=hear,
    )
    try:
        yield nc, refused
    finally:
        await nc.close()


async def is_refused(nc: Client, refused: list[str], kind: str, subject: str) -> bool:
    """Try it: whatever the server has to say against it comes before its answer to a ping behind it."""
    refused.clear()
    if kind == "publish":
        await nc.publish(subject, b"{}" if subject.startswith("$JS.API") else b"")
    else:
        filter_, _, queue = subject.partition(" ")
        await nc.subscribe(filter_, queue)
    await flushed(nc)
    assert all("permissions violation" in said for said in refused)
    return bool(refused)


def test_whoever_adds_a_stream_or_a_service_says_who_may_use_it() -> None:
    sizes = topology.Sizes()
    made = [stream.name for stream in (*topology.streams(sizes), *topology.tallies(sizes))]
    made += [f"KV_{bucket.bucket}" for bucket in topology.buckets(sizes)]
    assert {*made, BL} == EVERY_STREAM == set(STREAMS)
    assert set(RIGHTS) == set(SERVICES)


@pytest.mark.parametrize("user", RIGHTS)
async def test_a_service_may_do_what_it_does_and_nothing_else(
    broker: EmbeddedBroker, operator: Client, user: str
) -> None:
    assert operator.is_connected
    async with user_of(broker, user) as (nc, refused):
        granted = {
            name for name, (kind, subject) in operations().items() if not await is_refused(nc, refused, kind, subject)
        }
    assert [] == sorted(granted - allowed(user))
    assert [] == sorted(allowed(user) - granted)


async def test_the_operator_may_do_everything(broker: EmbeddedBroker, operator: Client) -> None:
    js = operator.jetstream()
    await js.purge_stream(EV)
    await js.delete_stream(WA)
    async with user_of(broker, "operator") as (nc, refused):
        assert not await is_refused(nc, refused, "subscribe", ">")


@pytest.mark.parametrize("password", [None, "wrong", PASSWORDS["operator"]])
async def test_a_service_without_its_own_password_is_not_let_in(broker: EmbeddedBroker, password: str | None) -> None:
    async def hear(_error: Exception) -> None:
        pass

    nc = Client()
    try:
        with pytest.raises(nats.errors.Error):
            await nc.connect(broker.url, user="gateway", password=password, allow_reconnect=False, error_cb=hear)
    finally:
        await nc.close()


async def test_an_answer_that_is_another_users_is_not_heard(broker: EmbeddedBroker, operator: Client) -> None:
    async with user_of(broker, "gateway") as (gateway, _), user_of(broker, "runner") as (runner, refused):

        async def answer(message: Msg) -> None:
            await message.respond(b"secret")

        await operator.subscribe("decopilot.command.*", cb=answer)
        await flushed(operator)
        assert await is_refused(runner, refused, "subscribe", "_INBOX_gateway.>")
        assert b"secret" == (await gateway.request("decopilot.command.send_message", timeout=WAIT_S)).data


async def test_whoever_answers_may_answer_whom_it_heard_and_once(broker: EmbeddedBroker, operator: Client) -> None:
    async with user_of(broker, "command") as (command, refused), user_of(broker, "gateway") as (gateway, _):
        heard: asyncio.Queue[str] = asyncio.Queue()

        async def note(message: Msg) -> None:
            heard.put_nowait(message.reply)

        await command.subscribe("decopilot.command.*", "command", cb=note)
        await flushed(command)
        await gateway.publish("decopilot.command.send_message", reply=f"{subjects.inbox('gateway')}.mine")
        async with asyncio.timeout(WAIT_S):
            reply = await heard.get()
        assert not await is_refused(command, refused, "publish", reply)
        assert await is_refused(command, refused, "publish", reply)
        assert await is_refused(command, refused, "publish", f"{subjects.inbox('gateway')}.another")
    assert operator.is_connected


async def test_a_refusal_is_an_error_in_the_log_with_its_subject(
    broker: EmbeddedBroker, operator: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    assert operator.is_connected
    async with connected(as_user(Settings(nats_url=broker.url), "gateway"), "gateway") as nc, Store(nc) as store:
        with pytest.raises(nats.errors.TimeoutError):
            await store.publish(EV, subjects.event(ORG, T1, "thread_deleted"), b"{}", timeout_s=0.3)
        await flushed(nc)
    said = capsys.readouterr().out
    assert "nats_forbidden" in said
    assert "decopilot.event.acme.t1.thread_deleted" in said


async def test_what_an_event_says_of_itself_counts_only_on_the_subject_of_its_type(
    broker: EmbeddedBroker, operator: Client
) -> None:
    body = json.dumps({"type": "thread_deleted", "at": "2026-01-01T00:00:00Z", "user_id": "ada"}).encode()
    async with (
        AsyncExitStack() as stack,
        connected(as_user(Settings(nats_url=broker.url), "runner"), "runner") as nc,
        connected(Settings(nats_url=broker.url), "reader") as reader,
    ):
        store = await stack.enter_async_context(Store(nc))
        await store.publish(EV, subjects.event(ORG, T1, "run_started"), body)
        journal = Journal(await stack.enter_async_context(Store(reader)), Views(store))
        with pytest.raises(UnknownEventError):
            await journal.events(ORG, T1, after=0, until=1)
    assert operator.is_connected


async def test_known_limit_the_server_sends_an_answer_wherever_it_is_told(
    broker: EmbeddedBroker, operator: Client
) -> None:
    # Whoever holds a service's password and speaks the protocol by hand is not stopped by permissions: ADR 0039. If
    # a server does not do this any more, the warning in docs/nats.md can go.
    async with user_of(broker, "gateway") as (gateway, refused):
        nothing = json.dumps({"seq": 99}).encode()
        await gateway.publish(f"$JS.API.DIRECT.GET.{EV}", nothing, reply=f"$JS.API.STREAM.DELETE.{WA}")
        await flushed(gateway)
        assert [] == refused

    async def is_gone() -> bool:
        try:
            await operator.jetstream().stream_info(WA)
        except NotFoundError:
            return True
        return False

    await until(is_gone)


async def test_known_limit_who_may_write_something_may_have_it_sent_anywhere(
    broker: EmbeddedBroker, operator: Client
) -> None:
    # As above. What our services store can't be used so, because its guards go with it; what is made for this has none.
    events = [subjects.event(ORG, ThreadId(thread), "thread_deleted") for thread in ("t1", "t2")]
    store = Store(operator)
    async with user_of(broker, "runner") as (runner, refused):
        stored = subjects.chunks(ORG, T1, RunId("r1"))
        await runner.publish(stored, b"made up")
        await until(lambda: store.last(CH, stored))
        await runner.publish(f"$JS.API.DIRECT.GET.{CH}", json.dumps({"last_by_subj": stored}).encode(), reply=events[0])
        # It hears the signals that it gives, and may answer whatever it hears.
        heard = await runner.subscribe(subjects.every_signal())
        await runner.publish(subjects.signal(ORG, RunId("r1")), reply=events[1])
        await (await heard.next_msg(5)).respond(b"made up")
        await flushed(runner)
        assert [] == refused

    async def are_there() -> bool:
        return None not in [await store.last(EV, event) for event in events]

    await until(are_there)
    assert [b"made up"] * 2 == [found.data for event in events if (found := await store.last(EV, event))]


async def test_a_lifeline_without_a_user_has_the_inbox_of_everybody() -> None:
    settings = Settings().model_copy(update={"nats_user": None, "nats_password": None})
    assert "_INBOX" == Lifeline(settings, "x").options["inbox_prefix"]
    assert "_INBOX_runner" == Lifeline(as_user(settings, "runner"), "x").options["inbox_prefix"]
