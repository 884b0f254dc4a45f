"""The Python client's streams and what else it reads, from real gateways that are full, restarted, or choosy."""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.client import (
    ApiError,
    Client,
    ClientError,
    Connected,
    Conversation,
    StreamLostError,
    WatchEvent,
)
from decopilot.contracts import subjects
from decopilot.domain.quotas import UNLIMITED
from decopilot.kit.settings import Settings
from decopilot.log.store import Store
from decopilot_command.app import build
from support.brokers import as_user
from support.gateways import ORG, Run, gateway_process, make_token, running_gateway, until, whole_run
from support.services import running
from support.stack import DECOPILOT, free_port
from support.telling import Teller

DEADLINE_S = 60


def client_of(url: str, **more: float) -> Client:
    return Client(url, make_token, ORG, **more)


async def test_a_watcher_hears_each_event_once_across_a_gateway_that_is_killed_and_started_again(
    own_broker: EmbeddedBroker, store: Store, tmp_path: Path
) -> None:
    teller, port = Teller(store), free_port()
    heard: list[WatchEvent] = []
    said: list[Connected] = []
    waits: list[ClientError] = []

    async def listen(client: Client) -> None:
        async with aclosing(client.watch(on_wait=lambda error, _: waits.append(error))) as events:
            async for told in events:
                if isinstance(told, Connected):
                    said.append(told)
                else:
                    heard.append(told)

    async with asyncio.timeout(DEADLINE_S), client_of(f"http://127.0.0.1:{port}") as client:
        listening = asyncio.create_task(listen(client))
        told: list[str] = []
        for turn in range(3):
            # The first is killed, the others leave.
            gateway = running_gateway(own_broker.url, http_port=port)
            async with gateway if turn else gateway_process(own_broker.url, tmp_path, port=port):
                await until(lambda: len(said) > turn, deadline_s=DEADLINE_S)  # noqa: B023  waited for here
                told += [await teller.tell("step", stepCount=number) for number in range(5)]
                await until(lambda: len(heard) == len(told), deadline_s=DEADLINE_S)  # noqa: B023  waited for here
            # Nobody is there to tell it.
            told += [await teller.tell("finish", status="completed") for _ in range(5)]
        async with running_gateway(own_broker.url, http_port=port):
            await until(lambda: len(heard) == len(told), deadline_s=DEADLINE_S)
        listening.cancel()
    assert told == [event.cursor for event in heard]
    assert ["decopilot.step"] * 5 + ["decopilot.finish"] * 5 == [event.type for event in heard[:10]]
    assert {"stepCount": 4} == heard[4].data
    assert [False, True, True, True] == [connected.resumed for connected in said]
    assert all(isinstance(error, StreamLostError) for error in waits)


async def test_a_watcher_that_comes_back_too_late_is_told_that_it_may_have_missed_something(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    teller, port = Teller(store), free_port()
    async with (
        asyncio.timeout(DEADLINE_S),
        client_of(f"http://127.0.0.1:{port}") as client,
        aclosing(client.watch(["decopilot.step"])) as events,
    ):
        async with running_gateway(own_broker.url, http_port=port):
            first = await anext(events)
            cursor = await teller.tell("step")
            event = await anext(events)
        await store.js.delete_msg(subjects.WATCH_STREAM, int(cursor))
        kept = await teller.tell("step")
        async with running_gateway(own_broker.url, http_port=port):
            again, next_ = await anext(events), await anext(events)
    assert (Connected("0", resumed=False), cursor) == (first, event.cursor)
    assert (Connected(cursor, resumed=False), kept) == (again, next_.cursor)


async def test_who_is_one_too_many_is_told_for_how_long_it_waits_and_then_let_in(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    waits: list[tuple[ClientError, float]] = []
    opened: list[bool] = []
    async with (
        asyncio.timeout(DEADLINE_S),
        running_gateway(own_broker.url, streams_per_user=1) as gateway,
        client_of(gateway.url) as client,
    ):
        async with aclosing(client.watch()) as events:
            await anext(events)
            attaching = client.attach(
                "t1", "0-0", on_wait=lambda *wait: waits.append(wait), on_open=lambda: opened.append(True)
            )
            first = asyncio.ensure_future(anext(attaching))
            await until(lambda: waits)
        await whole_run(store, "t1", "hello")
        assert "start" == (await first).chunk["type"]
        await attaching.aclose()
    error, seconds = waits[0]
    assert isinstance(error, ApiError)
    assert "too_many_streams" == error.code
    assert 1 <= seconds
    assert [True] == opened


async def test_the_command_says_why_its_answer_does_not_come(
    own_broker: EmbeddedBroker, store: Store, settings: Settings
) -> None:
    del store
    port = free_port()
    async with (
        asyncio.timeout(60),
        running(build(as_user(settings.model_copy(update={"health_port": port}), "command")), port),
        running_gateway(own_broker.url, streams_per_user=1) as gateway,
        client_of(gateway.url) as client,
        aclosing(client.watch()) as events,
    ):
        await anext(events)
        asking = ["run", "--url", gateway.url, "--token", make_token(), "--org", ORG, "--timeout", "3", "hello"]
        process = await asyncio.create_subprocess_exec(*DECOPILOT, *asking, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
        _, err = await process.communicate()
    assert (1, 1) == (process.returncode, err.count(b"trying again until it works")), err


async def test_the_command_says_that_a_limit_makes_it_wait_and_for_how_long(
    own_broker: EmbeddedBroker, store: Store, settings: Settings
) -> None:
    del store
    port = free_port()
    command = as_user(settings.model_copy(update={"health_port": port}), "command")
    async with (
        asyncio.timeout(60),
        running(build(command, quotas=replace(UNLIMITED, runs_per_user=1)), port),
        running_gateway(own_broker.url) as gateway,
        client_of(gateway.url) as client,
    ):
        await client.send("t1", "A run that nobody drives.")
        asking = ["run", "--url", gateway.url, "--token", make_token(), "--org", ORG, "--timeout", "3", "hello"]
        process = await asyncio.create_subprocess_exec(*DECOPILOT, *asking, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
        _, err = await process.communicate()
    assert (1, 1) == (process.returncode, err.count(b"limit; trying again for up to 15 s, next in 10 s.")), err


async def test_a_token_that_is_refused_is_asked_for_once_more(own_broker: EmbeddedBroker, store: Store) -> None:
    await whole_run(store, "t1", "hello")
    expired = make_token(exp=1)

    def tokens(*given: str) -> Client:
        left = iter(given)
        return Client(gateway.url, lambda: next(left), ORG)

    async with asyncio.timeout(DEADLINE_S), running_gateway(own_broker.url) as gateway:
        async with tokens(expired, make_token(), expired, make_token(), expired, make_token()) as client:
            assert "t1" == (await client.thread("t1")).id
            assert "start" == (await anext(client.attach("t1", "0-0"))).chunk["type"]
            assert isinstance(await anext(client.watch()), Connected)
        async with tokens(expired, expired) as client:
            with pytest.raises(ApiError) as refused:
                await anext(client.attach("t1"))
        async with Client(gateway.url, expired, ORG) as client:
            with pytest.raises(ApiError):
                await client.thread("t1")
    assert 401 == refused.value.status


@pytest.mark.parametrize(
    ("replay", "wanted"),
    [
        ("full", ["start", "text-start", "text-delta", "text-delta", "text-delta"]),
        ("compact", ["start", "text-start", "text-delta"]),
        ("none", []),
    ],
)
async def test_how_a_stream_begins_is_chosen(
    own_broker: EmbeddedBroker, store: Store, replay: str, wanted: list[str]
) -> None:
    async with asyncio.timeout(DEADLINE_S), running_gateway(own_broker.url) as gateway, Run(store, "t1") as run:
        await run.record_request()
        await run.start("abc")
        async with client_of(gateway.url) as client, AsyncExitStack() as stack:
            opened = asyncio.Event()
            attached = client.attach("t1", replay=replay, on_open=opened.set)  # type: ignore[arg-type]
            events = await stack.enter_async_context(aclosing(attached))
            first = asyncio.ensure_future(anext(events))
            await opened.wait()
            last = await run.finish()
            await run.record_end("abc")
            await whole_run(store, "t1", "next", 2, previous=last)
            seen = [(await first).chunk["type"]]
            while seen.count("start") < 2 and (wanted or not seen):
                seen.append((await anext(events)).chunk["type"])
    assert [*wanted, "finish", "start"] == [kind for kind in seen if not kind.startswith("data-")] or not wanted
    assert "start" == seen[0]


async def test_a_conversation_is_followed_from_nothing_through_runs_and_restarts(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    port = free_port()
    ends: list[str] = []
    conversation = Conversation()

    async def follow(client: Client) -> None:
        nonlocal conversation
        async for conversation in client.follow("t1"):
            ends.append("" if conversation.answer is None else conversation.answer.text)

    async with (
        asyncio.timeout(60),
        client_of(f"http://127.0.0.1:{port}") as client,
    ):
        following = asyncio.create_task(follow(client))
        async with running_gateway(own_broker.url, http_port=port):
            await until(lambda: ends)
            last = await whole_run(store, "t1", "o n e")
            await until(lambda: len(conversation.messages) == 2 and not conversation.is_answering)
        async with Run(store, "t1", 2, previous=last) as run:
            await run.record_request()
            await run.start("tw")
            async with running_gateway(own_broker.url, http_port=port):
                await until(lambda: ends[-1] == "tw", deadline_s=DEADLINE_S)
                history = await client.messages("t1")
                assert ["u1", "a1", "u2"] == [message.id for message in history.messages]
                await run.say("o")
                await until(lambda: ends[-1] == "two")
            await run.finish()
            await run.record_end("two")
        async with running_gateway(own_broker.url, http_port=port):
            await until(lambda: conversation.status == "completed", deadline_s=DEADLINE_S)
            wanted = (await client.messages("t1")).messages
            assert list(wanted) == list(conversation.messages)
        following.cancel()


async def test_a_file_is_read_as_it_was_also_by_its_link_and_behind_a_cut(
    own_broker: EmbeddedBroker, store: Store, tmp_path: Path
) -> None:
    del store
    content, port = bytes(range(256)) * 20_000, free_port()
    async with asyncio.timeout(60), client_of(f"http://127.0.0.1:{port}") as client:
        async with running_gateway(own_broker.url, http_port=port):
            file = await client.upload("t1", content, name="a.bin")
            assert content == await client.read_file("t1", file.id)
            link = await client.link("t1", file.id)
            async with aiohttp.ClientSession() as http, http.get(link.url) as got:
                assert content == await got.read()
            with pytest.raises(ApiError) as refused:
                await client.read_file("t1", "nothing")
        assert (404, "file_not_found") == (refused.value.status, refused.value.code)
        read = bytearray()
        async with aclosing(client.file("t1", file.id)) as pieces:
            async with gateway_process(own_broker.url, tmp_path, port=port) as gateway:
                await until(partial(gateway.answers, 200), deadline_s=DEADLINE_S)
                read += await anext(pieces)
                gateway.process.kill()
            async with gateway_process(own_broker.url, tmp_path, port=port):
                async for piece in pieces:
                    read += piece
    assert content == bytes(read)


async def test_what_may_be_chosen_and_which_threads_there_are_is_listed(
    own_broker: EmbeddedBroker, store: Store
) -> None:
    for thread in ("t1", "t2"):
        await whole_run(store, thread, "hello")
    async with running_gateway(own_broker.url) as gateway, client_of(gateway.url) as client:
        models, agents, threads = await client.allowed_models(), await client.agents(), await client.threads(limit=1)
    assert models.allow_all
    assert models.tiers["smart"].allowed
    assert "default" == agents[0].id
    assert [] == list(threads), "nothing projects views here"
