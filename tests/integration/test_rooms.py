"""Rooms: who enters a private thread by any door, and that to all others there is none."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts.files import file_ref
from decopilot.contracts.ids import ThreadId
from decopilot.kit.settings import Settings
from decopilot.log.blobs import Blobs
from decopilot.log.journal import Journal
from decopilot.log.store import Store
from decopilot.log.views import Views
from decopilot_command.app import build
from decopilot_gateway.compacting import Compactor
from decopilot_gateway.entering import Gate
from support.gateways import ORG, Gateway, Run, make_token, running_gateway
from support.reactors import reactors
from support.services import running
from support.stack import free_port
from support.threads import Threads
from support.viewer import Api, Viewer
from support.watcher import watching

PEOPLE = {
    "ann": ("ann", ORG, "member"),
    "bob": ("bob", ORG, "member"),
    "vic": ("vic", ORG, "viewer"),
    "sam": ("sam", ORG, "service"),
    "olga": ("olga", ORG, "owner"),
    "mallory": ("mallory", "elsewhere", "owner"),
}
"""ann owns the threads."""
STRANGERS = ("bob", "vic", "sam")
T = "decopilot/threads/{thread}"
READS = [
    ("GET", T, None),
    ("GET", f"{T}/messages", None),
    ("GET", f"{T}/queue", None),
    ("GET", f"{T}/runs", None),
    ("GET", f"{T}/runs/{{run}}", None),
    ("GET", f"{T}/runs/{{run}}/chunks", None),
    ("GET", f"{T}/files/{{file}}", None),
    ("POST", f"{T}/files/{{file}}/link", None),
]
WRITES = [
    ("POST", f"{T}/messages", {"messages": [{"role": "user", "parts": [{"type": "text", "text": "Hi"}]}]}),
    ("POST", f"{T}/files?filename=a.txt", {"not": "a form"}),
    ("POST", f"{T}/interactions", {"resolutions": [{"approvalId": "a1", "approved": True}]}),
    ("POST", f"{T}/regenerate", {}),
    ("DELETE", f"{T}/queue/m9", None),
    ("POST", "decopilot/cancel/{thread}", None),
    ("PATCH", T, {"title": "Mine"}),
    ("PATCH", T, {"archived": True}),
    ("PATCH", T, {"visibility": "private"}),
    ("PATCH", T, {"visibility": "org"}),
    ("DELETE", T, None),
]
ANYBODYS = {("POST", f"{T}/messages"), ("POST", f"{T}/files?filename=a.txt")}
"""What begins a thread where there is none."""


@dataclass(frozen=True)
class House:
    """A gateway, a command and a reactor, over threads that ann owns."""

    gateway: Gateway
    threads: Threads
    store: Store

    def api(self, who: str) -> Api:
        user, org, role = PEOPLE[who]
        return replace(self.gateway.api, token=make_token(sub=user, orgs={org: role}))

    def viewer(self, who: str, thread: str, cursor: str | None = None) -> Viewer:
        return Viewer(self.gateway.url, self.api(who).token, thread, ORG, cursor=cursor)

    async def ask(self, who: str, method: str, path: str, body: object = None, **names: str) -> tuple[int, bytes]:
        """Ask, and return what came, with the thread's own names taken out of it."""
        api = self.api(who)
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method,
                api.path(path.format(**names)),
                json=body,
                headers={"Authorization": f"Bearer {api.token}"},
            ) as response,
        ):
            said = await response.read()
        for name, value in names.items():
            said = said.replace(value.encode(), name.encode())
        return response.status, said

    async def begin(self, thread: str, **more: object) -> dict[str, str]:
        """Have ann begin a thread with a file, whose first run has ended; returns its names."""
        _, posted = await self.api("ann").post(thread, "Hello", message_id="m1", **more)
        await self.threads.complete(thread, {"type": "text", "text": "Hi."})
        status, file = await self.ask("ann", "POST", f"decopilot/threads/{thread}/files?filename=a.txt", {"a": 1})
        assert 201 == status
        return {"thread": thread, "run": posted["runId"], "file": json.loads(file)["id"]}

    async def listed(self, who: str) -> set[str]:
        _, body = await self.api(who).get("decopilot/threads?archived=all")
        return {thread["id"] for thread in body["threads"]}

    async def shows(self, thread: str, visibility: str) -> None:
        answer = await self.ask("ann", "PATCH", T, {"visibility": visibility}, thread=thread)
        assert (202, visibility) == (answer[0], json.loads(answer[1])["status"])


@pytest.fixture
async def house(own_broker: EmbeddedBroker, settings: Settings, store: Store) -> AsyncIterator[House]:
    port = free_port()
    async with (
        running(build(settings.model_copy(update={"health_port": port})), port),
        reactors(settings, 1),
        running_gateway(own_broker.url) as gateway,
    ):
        yield House(gateway, Threads(Journal(store, Views(store)), ORG), store)


async def test_who_may_not_read_a_thread_is_answered_as_where_there_is_none(house: House) -> None:
    private, shown = await house.begin("t1", visibility="private"), await house.begin("t2")
    unknown = {"thread": "t3", "run": "run_3", "file": "file_3"}
    for method, path, body in READS:
        for who in (*STRANGERS, "ann", "olga"):
            told = await house.ask(who, method, path, body, **shown)
            assert 200 == told[0], (who, path, told)
            told = await house.ask(who, method, path, body, **private)
            if who in STRANGERS:
                assert await house.ask(who, method, path, body, **unknown) == told, (who, path)
                assert 404 == told[0]
            else:
                assert 200 == told[0], (who, path, told)
        for thread in (private, shown, unknown):
            status, told_ = await house.ask("mallory", method, path, body, **thread)
            assert (403, "forbidden") == (status, json.loads(told_)["code"])


async def test_who_may_not_read_a_thread_writes_to_none_and_who_reads_only_is_told_so(house: House) -> None:
    private, shown = await house.begin("t1", visibility="private"), await house.begin("t2")
    unknown = {"thread": "t3", "run": "run_3", "file": "file_3"}
    deleted = await house.begin("t4")
    assert 202 == (await house.ask("ann", "DELETE", T, **deleted))[0]
    for method, path, body in WRITES:
        for who in ("bob", "sam"):
            told = await house.ask(who, method, path, body, **private)
            assert (404, "thread_not_found") == (told[0], json.loads(told[1])["code"]), (who, method, path)
            none = deleted if (method, path) in ANYBODYS else unknown
            assert await house.ask(who, method, path, body, **none) == told, (who, method, path)
        for thread in (private, shown, unknown, deleted):
            for who in ("vic", "mallory"):
                status, said = await house.ask(who, method, path, body, **thread)
                assert (403, "forbidden") == (status, json.loads(said)["code"]), (who, method, path)
        status, said = await house.ask("bob", method, path, body, **shown)
        assert (403, "forbidden") == (status, json.loads(said)["code"]), (method, path)
    assert {"m1"} == {ref.id for ref in (await house.threads.state("t1")).messages if ref.role == "user"}


async def test_a_service_writes_to_what_it_reads_and_the_orgs_owner_to_everything(house: House) -> None:
    for number, who in enumerate(("sam", "olga")):
        thread = await house.begin(f"t{number}", visibility="org" if who == "sam" else "private")
        for method, path, body in WRITES:
            _, said = await house.ask(who, method, path, body, **thread)
            refused = json.loads(said).get("code") in {"forbidden", "thread_not_found"}
            assert refused == (who == "sam" and body in ({"visibility": "private"}, {"visibility": "org"})), (who, path)


async def test_a_fork_is_as_private_as_its_source_unless_asked_otherwise(house: House) -> None:
    private = await house.begin("t1", visibility="private")
    unknown = {"thread": "t9"}
    for who in ("bob", "sam"):
        told = await house.ask(who, "POST", f"{T}/fork", {}, **private)
        assert await house.ask(who, "POST", f"{T}/fork", {}, **unknown) == told
        assert 404 == told[0]
        # Nor is one begun in its place.
        there = await house.ask(who, "POST", f"{T}/fork", {"threadId": "t1"}, **(await house.begin(f"own-{who}")))
        assert 404 == there[0]
    for name, asked in (("f1", {}), ("f2", {"visibility": "org"})):
        assert 201 == (await house.ask("ann", "POST", f"{T}/fork", {"threadId": name} | asked, **private))[0]
    assert 404 == (await house.ask("bob", "GET", T, thread="f1"))[0]
    assert 200 == (await house.ask("bob", "GET", T, thread="f2"))[0]
    assert 404 == (await house.ask("bob", "GET", T, thread="t1"))[0]


async def test_a_file_of_a_private_thread_comes_into_no_other_by_its_address(house: House) -> None:
    private = await house.begin("t1", visibility="private")
    url = f"/{ORG}/decopilot/threads/t1/files/{private['file']}"
    parts = [{"type": "file", "url": url, "mediaType": "text/plain"}]
    body = {"messages": [{"role": "user", "parts": parts}]}
    status, told = await house.ask("bob", "POST", f"{T}/messages", body, thread="t5")
    assert (404, "file_not_found") == (status, json.loads(told)["code"])
    assert 202 == (await house.ask("ann", "POST", f"{T}/messages", body, thread="t6"))[0]


async def test_lists_and_searches_show_a_private_thread_to_those_who_may_read_it(house: House) -> None:
    await house.begin("t1", visibility="private")
    await house.begin("t2")
    async with asyncio.timeout(10):
        while {"t1", "t2"} != await house.listed("ann"):
            await asyncio.sleep(0.02)
    assert {"t1", "t2"} == await house.listed("olga")
    for who in STRANGERS:
        assert {"t2"} == await house.listed(who)
        _, found = await house.api(who).get("decopilot/threads?q=hello")
        assert ["t2"] == [thread["id"] for thread in found["threads"]]
    _, found = await house.api("ann").get("decopilot/threads?q=hello")
    assert {"t1": "private", "t2": "org"} == {one["id"]: one["visibility"] for one in found["threads"]}


async def test_watchers_hear_of_a_private_thread_only_where_they_may_read_it(house: House) -> None:
    async with (
        watching(house.api("ann")) as ann,
        watching(house.api("olga")) as olga,
        watching(house.api("bob")) as bob,
        watching(house.api("sam")) as sam,
    ):
        for watcher in (ann, olga, bob, sam):
            await watcher.next()
        await house.begin("t1", visibility="private")
        # Told as the thread stands when it is told of: so before it is shown to others.
        begun = [await ann.next() for _ in range(3)]
        await house.shows("t1", "org")
        await house.shows("t1", "private")
        await house.ask("ann", "PATCH", T, {"title": "Secret"}, thread="t1")
        await house.ask("ann", "DELETE", T, thread="t1")
        await house.begin("t2")
        all_of_it = [
            ("thread.status", {"status": "in_progress"}),
            ("thread.status", {"status": "completed"}),
            ("finish", {"status": "completed"}),
            ("thread.visibility", {"visibility": "org"}),
            ("thread.visibility", {"visibility": "private"}),
            ("thread.titled", {}),
            ("thread.deleted", {}),
        ]
        seen: dict[str, list[tuple[str, object]]] = {name: [] for name in ("ann", "olga", "bob", "sam")}
        seen["ann"] = [(told.name.removeprefix("decopilot."), told.data["data"]) for told in begun]
        for name, watcher in zip(seen, (ann, olga, bob, sam), strict=True):
            while (told := await watcher.next()).data["subject"] != "t2":
                seen[name].append((told.name.removeprefix("decopilot."), told.data["data"]))
    assert all_of_it == seen["ann"] == seen["olga"]
    assert [told for told in all_of_it if told[0] == "thread.visibility"] == seen["bob"] == seen["sam"]


async def test_instructions_are_shown_to_those_who_may_write(house: House) -> None:
    system = {"role": "system", "parts": [{"type": "text", "text": "Be brief."}]}
    asked = {"role": "user", "parts": [{"type": "text", "text": "Hi"}]}
    _, said = await house.ask("ann", "POST", f"{T}/messages", {"messages": [system, asked]}, thread="t1")
    run = json.loads(said)["runId"]
    for who, wanted in (("ann", True), ("olga", True), ("sam", True), ("bob", False), ("vic", False)):
        _, said = await house.ask(who, "GET", f"{T}/runs/{run}", thread="t1")
        assert wanted == (b"Be brief." in said), who


async def test_nobody_else_begins_the_thread_that_an_automation_will(house: House) -> None:
    automations = "auto_report_20270101000000"
    for who in ("bob", "sam", "olga"):
        status, told = await house.api(who).post(automations, "Mine")
        assert (404, "thread_not_found") == (status, told["code"])
        status, said = await house.ask(who, "POST", f"{T}/files?filename=a.txt", {"a": 1}, thread=automations)
        assert (404, "thread_not_found") == (status, json.loads(said)["code"])


async def test_a_fork_that_is_refused_has_copied_nothing(house: House) -> None:
    part = {"type": "file", "url": "data:text/plain,Hi", "mediaType": "text/plain"}
    body = {"messages": [{"id": "m1", "role": "user", "parts": [part]}]}
    assert 202 == (await house.ask("ann", "POST", f"{T}/messages", body, thread="t1"))[0]
    await house.threads.complete("t1", {"type": "text", "text": "Hi."})
    await house.begin("t2")
    assert 202 == (await house.ask("ann", "DELETE", T, thread="t2"))[0]
    _, messages = await house.api("ann").get(T.format(thread="t1") + "/messages")
    file = file_ref(messages["messages"][0]["parts"][0]["url"])
    assert file is not None
    blobs = Blobs(house.store)
    for target in ("t2", "auto_report_20270101000000"):
        status, _ = await house.ask("bob", "POST", f"{T}/fork", {"threadId": target}, thread="t1")
        assert 404 == status
        assert await blobs.info(ORG, ThreadId(target), file.file) is None, target


@asynccontextmanager
async def attached(viewer: Viewer) -> AsyncIterator[asyncio.Task[None]]:
    """Have a viewer read for as long as the context is open; its task ends where its stream does."""

    async def read() -> None:
        async with viewer.attached() as chunks:
            answered.set()
            async for _ in chunks:
                pass

    answered = asyncio.Event()
    task = asyncio.create_task(read())
    try:
        async with asyncio.timeout(10):
            await answered.wait()
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def has_answered(viewer: Viewer) -> None:
    async with asyncio.timeout(10):
        while not viewer.raw:
            await asyncio.sleep(0.01)


async def seen(viewer: Viewer, text: str) -> None:
    async with asyncio.timeout(10):
        while not viewer.text.endswith(text):
            await asyncio.sleep(0.01)


def heard(viewer: Viewer) -> bytes:
    """Tell all that came but how often the stream was kept alive."""
    return bytes(viewer.raw).replace(b": keepalive\n\n", b"")


async def run_by_hand(house: House, thread: str, visibility: str = "org") -> Run:
    """Have ann post, and write the run that was requested."""
    status, posted = await house.api("ann").post(thread, "Hello", visibility=visibility)
    assert 202 == status, posted
    state = await house.threads.state(thread)
    assert state.active is not None
    return Run(house.store, thread, previous=state.last_frame, requested=state.active.requested)


async def test_who_came_before_a_private_thread_was_begun_gets_nothing_of_it(house: House) -> None:
    bob, sam, ann, olga = (house.viewer(who, "t1") for who in ("bob", "sam", "ann", "olga"))
    nobody = house.viewer("bob", "t2")
    async with attached(bob) as bobs, attached(sam), attached(ann), attached(olga), attached(nobody):
        run = await run_by_hand(house, "t1", "private")
        async with run:
            await run.start("Secret.")
            await run.finish()
            await run.record_end("Secret.")
        for viewer in (ann, olga):
            await seen(viewer, "Secret.")
        late, back = house.viewer("bob", "t1"), house.viewer("bob", "t1", ann.cursor)
        none = house.viewer("bob", "t2", ann.cursor)
        async with attached(late), attached(back), attached(none):
            run = await run_by_hand(house, "t1")
            async with run:
                await run.start("More.")
                await seen(ann, "More.")
                await run.finish()
                await run.record_end("More.")
            await house.shows("t1", "org")
            run = await run_by_hand(house, "t1")
            async with run:
                await run.start("For all.")
                for viewer in (bob, sam, late, back):
                    await seen(viewer, "For all.")
                    assert "For all." == viewer.text
            assert not bobs.done()
            for viewer, same in ((bob, nobody), (sam, nobody), (late, nobody), (back, none)):
                assert heard(viewer).startswith(heard(same))
                assert 1 == heard(viewer).removeprefix(heard(same)).count(b'"type":"start"')


async def test_a_thread_that_becomes_private_ends_the_streams_of_others_and_comes_back_to_them_with_a_run(
    house: House,
) -> None:
    run = await run_by_hand(house, "t1")
    bob, ann = house.viewer("bob", "t1"), house.viewer("ann", "t1")
    async with run, attached(ann):
        async with attached(bob) as bobs:
            await run.start("For all.")
            for viewer in (ann, bob):
                await seen(viewer, "For all.")
            await house.shows("t1", "private")

            async def go_on() -> None:
                # The gateway hears of it a moment later; in an org thread it would never end.
                while not bobs.done():
                    await run.say("Still.")
                    await asyncio.sleep(0.05)

            async with asyncio.timeout(10):
                await go_on()
            await bobs
        again = house.viewer("bob", "t1", bob.cursor)
        async with attached(again):
            await run.say("Secret.")
            await seen(ann, "Secret.")
            await run.finish()
            await run.record_end()
            assert ["data-thread-reset"] == [chunk["type"] for chunk in again.chunks]
            assert "0-0" == again.cursor
            await house.shows("t1", "org")
            run2 = await run_by_hand(house, "t1")
            async with run2:
                await run2.start("For all again.")
                await seen(again, "For all again.")
    assert "Secret" not in again.text
    assert "Secret" not in bob.text


async def test_who_comes_while_a_thread_becomes_private_is_told_nothing_that_was_written_since(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await run_by_hand(house, "t1")
    has_come, go_on, has_heard = asyncio.Event(), asyncio.Event(), asyncio.Event()
    compact, doubt = Compactor.compact, Gate.doubt

    async def held_up(self: Compactor, *args: Any) -> Any:  # noqa: ANN401  as the method is called
        has_come.set()
        await go_on.wait()
        return await compact(self, *args)

    def hear(self: Gate) -> None:
        doubt(self)
        has_heard.set()

    monkeypatch.setattr(Compactor, "compact", held_up)
    monkeypatch.setattr(Gate, "doubt", hear)
    bob = replace(house.viewer("bob", "t1"), query={"replay": "compact"})
    ann = house.viewer("ann", "t1")
    async with run, attached(ann):
        await run.start("For all.")
        await seen(ann, "For all.")
        coming = asyncio.create_task(_read_text(bob, "For all again."))
        async with asyncio.timeout(10):
            await has_come.wait()
            await house.shows("t1", "private")
            await has_heard.wait()
        await run.say("Secret.")
        await seen(ann, "Secret.")
        go_on.set()
        await has_answered(bob)
        await run.finish()
        await run.record_end()
        await house.shows("t1", "org")
        async with await run_by_hand(house, "t1") as next_run:
            await next_run.start("For all again.")
            await coming
    assert "For all again." == bob.text


async def test_a_thread_of_many_viewers_is_looked_up_a_few_times_for_all(house: House) -> None:
    loads = 0
    load = Journal.load

    async def counted(self: Journal, *args: Any, **more: Any) -> Any:  # noqa: ANN401  as the method is called
        nonlocal loads
        loads += args[1] == ThreadId("t1")
        return await load(self, *args, **more)

    run = await run_by_hand(house, "t1")
    viewers = [house.viewer("bob", "t1", "0-0") for _ in range(20)]
    async with run, attached(viewers[0]):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Journal, "load", counted)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(_read_text(viewer, "Hi all.")) for viewer in viewers[1:]]
                for viewer in viewers[1:]:
                    await has_answered(viewer)
                began = loads
                await run.start("Hi all.")
        assert all(task.done() for task in tasks)
    assert loads - began <= 3


async def _read_text(viewer: Viewer, text: str) -> None:
    async with attached(viewer):
        await seen(viewer, text)
