"""Who may ask what: every endpoint of the document for every kind of caller, as one table."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from decopilot.contracts import subjects
from decopilot.kit.settings import Settings
from decopilot.log.store import Store
from decopilot_command.app import build as build_command
from support.automations import NAME, write_configuration
from support.brokers import as_user
from support.gateways import ORG, Gateway, make_token, running_gateway
from support.services import USER, Record, running
from support.stack import free_port
from support.threads import Threads, approval

Answer = tuple[int, str | None]
"""A status, and the code of its problem."""


ISSUER, AUDIENCE = "https://id.example", "decopilot"


def _bearer(**claims: Any) -> Callable[[], dict[str, str]]:  # noqa: ANN401  claims
    # Made when it is used: a token lasts ten minutes, and the tests before this one may take longer.
    return lambda: {"Authorization": f"Bearer {make_token(**({'iss': ISSUER, 'aud': AUDIENCE} | claims))}"}


CALLERS: Mapping[str, Callable[[], dict[str, str]]] = {
    "no token": dict,
    "garbage": lambda: {"Authorization": "Bearer x.y.z"},
    "expired": _bearer(exp=int(time.time()) - 3600),
    "another key": _bearer(secret="another secret of thirty-two chars"),
    "another issuer": _bearer(iss="https://elsewhere.example"),
    "another audience": _bearer(aud="something else"),
    "another org": _bearer(orgs={"elsewhere": "owner"}),
    "viewer": _bearer(sub="vera", orgs={ORG: "viewer"}),
    "member": _bearer(sub="mike", orgs={ORG: "member"}),
    "service": _bearer(sub="sync", orgs={ORG: "service"}),
    "thread's owner": _bearer(sub=USER, orgs={ORG: "member"}),
    "org's owner": _bearer(sub="olga", orgs={ORG: "owner"}),
}
UNKNOWN: dict[str, Answer] = dict.fromkeys(
    ("no token", "garbage", "expired", "another key", "another issuer", "another audience"), (401, "unauthenticated")
)
STRANGERS = UNKNOWN | {"another org": (403, "forbidden")}
INSIDERS = ("viewer", "member", "service", "thread's owner", "org's owner")
FORBIDDEN: Answer = (403, "forbidden")


def everybody(answer: Answer) -> dict[str, Answer]:
    """Answer all the same, whoever it is."""
    return dict.fromkeys(CALLERS, answer)


def reads(answer: Answer) -> dict[str, Answer]:
    """Answer so whoever is of the org."""
    return STRANGERS | dict.fromkeys(INSIDERS, answer)


def starts(answer: Answer) -> dict[str, Answer]:
    """Answer so whoever may begin something in the org."""
    return reads(answer) | {"viewer": FORBIDDEN}


def writes(answer: Answer) -> dict[str, Answer]:
    """Answer so whoever may change the thread."""
    return starts(answer) | {"member": FORBIDDEN}


def private(answer: Answer, other: Answer) -> dict[str, Answer]:
    """Answer so whoever may read a private thread, and all others of the org as where there is none."""
    return reads(answer) | dict.fromkeys(("viewer", "member", "service"), other)


def private_writes(answer: Answer) -> dict[str, Answer]:
    """Answer so whoever may change a private thread."""
    return private(answer, (404, "thread_not_found")) | {"viewer": FORBIDDEN}


OK, CREATED, TAKEN, COUNTED = (200, None), (201, None), (202, None), (204, None)
NO_THREAD: Answer = (404, "thread_not_found")
MESSAGE = {"messages": [{"id": "m2", "role": "user", "parts": [{"type": "text", "text": "Again"}]}]}
PAINTS: dict[str, Any] = {"json": {"errorMs": 1, "paints": [{"ms": 20, "chunks": 1}]}}
"""Without the ids, which others have in their path."""
FILE: dict[str, Any] = {"data": b"abc", "headers": {"Content-Type": "text/plain"}}


@dataclass(frozen=True)
class Row:
    """An endpoint, how the thread stands that it is about, what is sent, and what each caller is answered."""

    operation: str
    answers: Mapping[str, Answer]
    state: str = "done"
    sent: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.operation} ({self.state})"


ROWS = [
    Row("postMessage", writes(TAKEN), sent={"json": MESSAGE}),
    Row("postMessage", starts(TAKEN), "unknown", {"json": MESSAGE}),
    Row("uploadFile", writes(CREATED), sent=FILE),
    Row("uploadFile", starts(CREATED), "unknown", FILE),
    Row("readFile", reads(OK)),
    Row("readFile", reads((404, "file_not_found")), "unknown"),
    Row("linkFile", reads(OK)),
    Row("linkFile", reads((404, "file_not_found")), "unknown"),
    Row(
        "resolveInteractions",
        writes(TAKEN),
        "waiting",
        {"json": {"resolutions": [{"approvalId": "approval_1", "approved": True}]}},
    ),
    Row("cancelRun", writes(TAKEN), "queued"),
    Row("listQueue", reads(OK), "queued"),
    Row("listQueue", reads(NO_THREAD), "unknown"),
    Row("withdrawMessage", writes(TAKEN), "queued"),
    Row("regenerateAnswer", writes(TAKEN)),
    Row("forkThread", starts(CREATED)),
    Row("forkThread", starts(NO_THREAD), "unknown"),
    Row("makeAttachToken", reads(CREATED)),
    Row("makeAttachToken", reads(CREATED), "unknown"),
    Row("attach", reads(OK)),
    Row("attach", reads(OK), "unknown"),
    Row("watch", reads(OK)),
    Row("listThreads", reads(OK)),
    Row("getThread", reads(OK)),
    Row("getThread", reads(NO_THREAD), "unknown"),
    Row("changeThread", writes(TAKEN), sent={"json": {"title": "Another"}}),
    Row("deleteThread", writes(TAKEN)),
    Row("listMessages", reads(OK)),
    Row("listMessages", reads(NO_THREAD), "unknown"),
    Row("listRuns", reads(OK)),
    Row("listRuns", reads(NO_THREAD), "unknown"),
    Row("inspectRun", reads(OK)),
    Row("inspectRun", reads(NO_THREAD), "unknown"),
    Row("listRunChunks", reads(OK)),
    Row("listRunChunks", reads(NO_THREAD), "unknown"),
    Row("listModels", reads(OK)),
    Row("listAgents", reads(OK)),
    Row("listAutomations", reads(OK)),
    Row("fireAutomation", starts(TAKEN)),
    Row("postMessage", private_writes(TAKEN), "private", {"json": MESSAGE}),
    Row("uploadFile", private_writes(CREATED), "private", FILE),
    Row("readFile", private(OK, (404, "file_not_found")), "private"),
    Row("linkFile", private(OK, (404, "file_not_found")), "private"),
    Row("cancelRun", private_writes(TAKEN), "private"),
    Row("listQueue", private(OK, NO_THREAD), "private"),
    Row("regenerateAnswer", private_writes(TAKEN), "private"),
    Row("forkThread", private_writes(CREATED), "private"),
    Row("makeAttachToken", reads(CREATED), "private"),
    Row("attach", reads(OK), "private"),
    Row("getThread", private(OK, NO_THREAD), "private"),
    Row("changeThread", writes(TAKEN) | {"service": FORBIDDEN}, sent={"json": {"visibility": "private"}}),
    Row("changeThread", private_writes(TAKEN), "private", {"json": {"title": "Another"}}),
    Row("deleteThread", private_writes(TAKEN), "private"),
    Row("listMessages", private(OK, NO_THREAD), "private"),
    Row("listRuns", private(OK, NO_THREAD), "private"),
    Row("inspectRun", private(OK, NO_THREAD), "private"),
    Row("listRunChunks", private(OK, NO_THREAD), "private"),
    Row("reportPaints", reads(COUNTED), sent=PAINTS),
    Row("reportPaints", reads(NO_THREAD), "unknown", PAINTS),
    Row("reportPaints", private(COUNTED, NO_THREAD), "private", PAINTS),
    Row("livez", everybody(OK)),
    Row("readyz", everybody(OK)),
    Row("openapi", everybody(OK)),
    # It is a page that says so, and of whichever org the token is.
    Row("page", everybody(OK) | dict.fromkeys(UNKNOWN, (401, None))),
]
"""A new endpoint, or another caller, needs its place here."""


@dataclass(slots=True)
class House:
    """An org with threads as a row wants them, each for one call."""

    gateway: Gateway
    session: aiohttp.ClientSession
    record: Record
    paths: dict[str, tuple[str, str]]
    made: int = 0
    kept: dict[str, dict[str, str]] = field(default_factory=dict)

    async def ids(self, row: Row) -> dict[str, str]:
        """Tell the ids of a thread in the row's state: one for all that read, a fresh one for each that may write."""
        if self.paths[row.operation][0] != "GET":
            return await self._make(row.state)
        if row.state not in self.kept:
            self.kept[row.state] = await self._make(row.state)
        return self.kept[row.state]

    async def _make(self, state: str) -> dict[str, str]:
        self.made += 1
        thread, threads = f"asked{self.made}", Threads(self.record.journal, ORG)
        ids = {"org": ORG, "thread": thread, "message": "m2", "name": NAME, "run": "none", "file": "none"}
        if state == "unknown":
            return ids
        ids["run"] = await self.record.send(thread, "Hello", "m1")
        match state:
            case "done" | "private":
                await threads.complete(thread)
                ids["file"] = await self._upload(thread)
                if state == "private":
                    await self._hide(thread)
            case "waiting":
                await threads.wait(thread, approval())
            case "queued":
                await self.record.send(thread, "More", "m2")
        return ids

    async def _upload(self, thread: str) -> str:
        url = f"{self.gateway.url}/{ORG}/decopilot/threads/{thread}/files"
        headers = {**CALLERS["thread's owner"](), **FILE["headers"]}
        async with self.session.post(url, data=FILE["data"], headers=headers) as response:
            assert 201 == response.status, await response.text()
            return str((await response.json())["id"])

    async def _hide(self, thread: str) -> None:
        url, headers = f"{self.gateway.url}/{ORG}/decopilot/threads/{thread}", CALLERS["thread's owner"]()
        async with self.session.patch(url, json={"visibility": "private"}, headers=headers) as response:
            assert 202 == response.status

    async def ask(self, row: Row, ids: dict[str, str], caller: str) -> Answer:
        """Ask as a caller; a stream is left once it has begun."""
        method, path = self.paths[row.operation]
        sent = {**row.sent, "headers": {**row.sent.get("headers", {}), **CALLERS[caller]()}}
        if row.sent is PAINTS:
            sent["json"] = PAINTS["json"] | {"threadId": ids["thread"], "runId": ids["run"]}
        async with self.session.request(method, self.gateway.url + path.format(**ids), **sent) as response:
            is_problem = response.content_type == "application/problem+json"
            return response.status, (await response.json(content_type=None))["code"] if is_problem else None

    async def head(self) -> int:
        """Read the last sequence of the event log."""
        return int((await self.record.store.js.stream_info(subjects.EVENTS_STREAM)).state.last_seq)


@pytest.mark.timeout(300)
async def test_every_endpoint_answers_every_caller_as_the_table_says_and_what_is_refused_appends_nothing(
    broker_url: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DECOPILOT_CONFIG", str(write_configuration(tmp_path / "decopilot.toml", at_once=1_000)))
    port = free_port()
    command = build_command(as_user(Settings(nats_url=broker_url, health_port=port), "command"))
    wrong: list[str] = []
    async with running(command, port), _gateway(broker_url) as gateway, aiohttp.ClientSession() as session:
        paths = await _paths(session, gateway)
        assert paths.keys() == {row.operation for row in ROWS}, "an endpoint without a row, or a row without one"
        house = House(gateway, session, Record.of(store), paths)
        for row in ROWS:
            assert CALLERS.keys() == row.answers.keys(), f"{row} has no answer for a caller, or one for nobody"
            for caller, answer in row.answers.items():
                ids, head = await house.ids(row), await house.head()
                found = await house.ask(row, ids, caller)
                if found != answer:
                    wrong.append(f"{row} by {caller}: {found}, not {answer}")
                if found[0] >= 400 and head != await house.head():
                    wrong.append(f"{row} by {caller}: {found}, and appended")
    assert [] == wrong


def _gateway(broker_url: str) -> AbstractAsyncContextManager[Gateway]:
    return running_gateway(broker_url, jwt_issuer=ISSUER, jwt_audience=AUDIENCE)


async def _paths(session: aiohttp.ClientSession, gateway: Gateway) -> dict[str, tuple[str, str]]:
    """Read from the document which method and path each operation has."""
    async with session.get(f"{gateway.url}/openapi.json") as response:
        document = await response.json()
    return {
        told["operationId"]: (method.upper(), path)
        for path, methods in document["paths"].items()
        for method, told in methods.items()
    }
