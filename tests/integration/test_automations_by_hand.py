"""Automations fired by hand: over HTTP, from Python, from a shell; by those who may, and as often as they may."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

from decopilot.client import ApiError, Client
from decopilot.contracts import subjects
from decopilot.contracts.commands import SEND_MESSAGE, Refused
from decopilot.kit.settings import Settings
from decopilot.log.store import Store
from decopilot_command.app import build as build_command
from decopilot_reactor.app import build as build_reactor
from decopilot_reactor.settings import ReactorSettings
from decopilot_runner.app import build as build_runner
from decopilot_runner.settings import RunnerSettings
from support.automations import NAME, ledger, requested, runs, write_configuration
from support.brokers import login
from support.gateways import ORG, Gateway, make_token, running_gateway
from support.services import Record, running
from support.stack import DECOPILOT, free_port
from support.threads import Threads
from support.viewer import Api

Call = tuple[int, Any]


@pytest.fixture
def threads(store: Store) -> Threads:
    return Threads(Record.of(store).journal, ORG)


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the services in this process, with one automation that may have two runs."""
    path = write_configuration(tmp_path / "decopilot.toml", schedule="0 8 * * *", timezone="Europe/Berlin", at_once=2)
    monkeypatch.setenv("DECOPILOT_CONFIG", str(path))
    return path


@asynccontextmanager
async def serving(settings: Settings, *, whole: bool = False) -> AsyncIterator[Gateway]:
    """Run command and gateway, and what drives runs, too, if it is to be the whole of it."""
    async with AsyncExitStack() as stack:

        def told(user: str) -> dict[str, object]:
            return {"nats_url": settings.nats_url, "health_port": free_port()} | login(user)

        programs = [(build_command(own := Settings.model_validate(told("command"))), own.health_port)]
        if whole:
            runner = RunnerSettings.model_validate(told("runner"))
            reactor = ReactorSettings.model_validate(told("reactor"))
            programs += [(build_runner(runner), runner.health_port), (build_reactor(reactor), reactor.health_port)]
        for program, port in programs:
            await stack.enter_async_context(running(program, port or 0))
        yield await stack.enter_async_context(running_gateway(settings.nats_url))


async def fire(api: Api, body: object = None, *, name: str = NAME) -> Call:
    return await api.call("POST", api.path(f"decopilot/automations/{name}/fire"), body=body)


async def listed(api: Api) -> list[dict[str, Any]]:
    status, answer = await api.get("decopilot/automations")
    assert 200 == status
    found: list[dict[str, Any]] = answer["automations"]
    return found


async def test_the_same_id_is_one_run_on_one_thread_however_often_it_is_fired(settings: Settings, store: Store) -> None:
    async with serving(settings) as gateway:
        body = {"id": "nightly", "context": "The logs."}
        answers = await asyncio.gather(*(fire(gateway.api, body) for _ in range(5)))
        assert [202] * 5 == [status for status, _ in answers]
        assert 1 == len({answer["runId"] for _, answer in answers})
        assert ("auto_report_nightly", "in_progress") == (answers[0][1]["taskId"], answers[0][1]["status"])
        other = await fire(gateway.api, body | {"context": "Other logs."})
        assert (409, "message_conflict") == (other[0], other[1]["code"])
        assert ["auto_report_nightly"] == (await listed(gateway.api))[0]["threads"]
    (begun,) = await runs(store)
    event = requested(begun)
    assert event.message is not None
    assert "Sum up.\nThe logs." == event.message.text
    assert ("automation:report", None) == (event.user_id, event.traceparent)


async def test_one_more_than_it_may_have_at_once_is_refused_until_one_has_ended(
    settings: Settings, threads: Threads
) -> None:
    async with serving(settings) as gateway:
        for id_ in ("a", "b"):
            assert 202 == (await fire(gateway.api, {"id": id_}))[0]
        status, refused = await fire(gateway.api, {"id": "c"})
        assert (409, "automation_busy") == (status, refused["code"])
        # Asked again, what goes on is told, and holds no other place.
        assert 202 == (await fire(gateway.api, {"id": "a"}))[0]
        await threads.complete("auto_report_a")
        assert ["auto_report_b"] == (await listed(gateway.api))[0]["threads"]
        assert 202 == (await fire(gateway.api))[0]
        assert "completed" == (await fire(gateway.api, {"id": "a"}))[1]["status"]


@pytest.mark.parametrize(
    ("name", "body", "refused"),
    [
        ("nobody", None, (404, "automation_not_found")),
        ("no.name", None, (400, "invalid_id")),
        (NAME, {"id": "20260504080000"}, (400, "invalid_body")),
        (NAME, {"id": "n" * 27}, (400, "invalid_body")),
        (NAME, {"id": "with_line"}, (400, "invalid_body")),
        (NAME, {"context": "x" * (64 * 1024 + 1)}, (400, "invalid_body")),
        (NAME, [], (400, "invalid_body")),
    ],
)
async def test_what_can_not_be_fired_is_refused_and_holds_no_place(
    settings: Settings, store: Store, name: str, body: object, refused: tuple[int, str]
) -> None:
    async with serving(settings) as gateway:
        status, answer = await fire(gateway.api, body, name=name)
    assert refused == (status, answer["code"])
    assert () == (await ledger(store)).claims
    assert [] == await runs(store)


async def test_members_fire_viewers_do_not_and_nobody_learns_of_another_orgs(settings: Settings, store: Store) -> None:
    async with serving(settings) as gateway:
        member, viewer = (Api(gateway.url, make_token(orgs={ORG: role}), ORG) for role in ("member", "viewer"))
        stranger = Api(gateway.url, make_token(orgs={"other": "owner"}), "other")
        assert (403, "forbidden") == _refusal(await fire(viewer))
        assert (404, "automation_not_found") == _refusal(await fire(stranger))
        assert (403, "forbidden") == _refusal(await fire(Api(gateway.url, stranger.token, ORG)))
        assert [] == await runs(store)
        assert 202 == (await fire(member))[0]
        assert [NAME] == [one["name"] for one in await listed(viewer)]
        assert [] == await listed(stranger)


def _refusal(answer: Call) -> tuple[int, str]:
    return answer[0], answer[1]["code"]


async def test_an_inactive_one_is_listed_and_not_fired(settings: Settings, store: Store, configured: Path) -> None:
    write_configuration(configured, schedule="0 8 * * *", active=False)
    async with serving(settings) as gateway:
        assert (409, "automation_inactive") == _refusal(await fire(gateway.api))
        (one,) = await listed(gateway.api)
    assert [] == await runs(store)
    assert (False, None) == (one["isActive"], one["nextDueAt"])


async def test_somebody_elses_thread_is_not_written_to(settings: Settings, store: Store) -> None:
    await Record.of(store).send("auto_report_mine", "mine")
    async with serving(settings) as gateway:
        assert (409, "message_conflict") == _refusal(await fire(gateway.api, {"id": "mine"}))
    assert 1 == len(await runs(store))


@pytest.mark.parametrize(
    ("code", "status", "held"),
    [("agent_not_found", 404, 0), ("too_many_runs", 429, 0), ("storage_full", 503, 1), ("of_a_newer_version", 500, 1)],
)
async def test_what_command_refuses_holds_no_place_and_what_may_come_yet_does(
    settings: Settings, store: Store, code: str, status: int, held: int
) -> None:
    async def answer(message: Msg) -> None:
        await message.respond(Refused(code=code, detail="No.").model_dump_json().encode())

    await store.nc.subscribe(subjects.command(SEND_MESSAGE), cb=answer)
    async with running_gateway(settings.nats_url) as gateway:
        assert (status, code) == _refusal(await fire(gateway.api))
    assert held == len((await ledger(store)).claims)


async def test_without_command_it_is_not_fired_and_may_be_fired_again_by_the_same_id(
    settings: Settings, store: Store
) -> None:
    async with running_gateway(settings.nats_url) as gateway:
        assert (503, "command_unavailable") == _refusal(await fire(gateway.api, {"id": "a"}))
    assert [] == await runs(store)
    async with serving(settings) as gateway:
        assert 202 == (await fire(gateway.api, {"id": "a"}))[0]
    assert ["auto_report_a"] == [claim.thread for claim in (await ledger(store)).claims]


async def test_from_python_it_is_fired_and_waited_for_and_shown(settings: Settings, store: Store) -> None:
    async with (
        serving(settings, whole=True) as gateway,
        Client(gateway.url, make_token(orgs={ORG: "member"}), ORG) as client,
    ):
        chunks: list[str] = []
        result = await client.fire_and_wait(NAME, on_chunk=lambda chunk: chunks.append(chunk["type"]))
        assert "completed" == result.status
        assert result.message is not None
        assert "finish" in chunks
        (one,) = await client.automations()
        with pytest.raises(ApiError) as unknown:
            await client.fire("nobody")
    assert "automation_not_found" == unknown.value.code
    (begun,) = await runs(store)
    assert (NAME, "0 8 * * *", ()) == (one.name, one.schedule, one.threads)
    assert one.last_fired is not None
    assert begun.thread == one.last_fired.thread
    assert one.next_due_at is not None
    due = datetime.fromisoformat(one.next_due_at)
    assert timedelta(0) < due - datetime.now(UTC) <= timedelta(days=1, hours=1)
    assert 0 == due.minute


async def test_from_a_shell_it_is_listed_fired_and_waited_for(settings: Settings, store: Store) -> None:
    async with serving(settings, whole=True) as gateway:

        async def decopilot(*arguments: str) -> tuple[int | None, str, str]:
            to = ("--org", ORG, "--url", gateway.url, "--token", make_token())
            process = await asyncio.create_subprocess_exec(
                *DECOPILOT,
                "automations",
                *arguments,
                *to,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await process.communicate()
            return process.returncode, out.decode(), err.decode()

        code, out, err = await decopilot("fire", NAME, "--wait", "--json")
        ended = json.loads(out)
        assert (0, "completed") == (code, ended["status"]), err
        code, thread, _ = await decopilot("fire", NAME, "--context", "The logs.")
        assert (0, True) == (code, thread.startswith("auto_report_f"))
        code, out, _ = await decopilot("list", "--json")
        assert (0, [NAME]) == (code, [one["name"] for one in json.loads(out)])
        _, table, _ = await decopilot("list")
        assert "0 8 * * *" in table
        code, _, err = await decopilot("fire", "nobody")
        assert (1, True) == (code, "automation_not_found" in err)
    assert 2 == len(await runs(store))
