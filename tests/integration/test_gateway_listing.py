"""The list of threads: searched, filtered, and read page by page."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest

from decopilot.contracts.commands import ThreadStatus
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.domain.thread import FOLD_VERSION, ThreadState
from decopilot.log.store import Store
from decopilot.log.views import ThreadView, Views
from support.gateways import ORG, Gateway, make_token, running_gateway
from support.viewer import Api


@pytest.fixture
async def gateway(store: Store, broker_url: str) -> AsyncIterator[Gateway]:
    assert store.nc.is_connected
    async with running_gateway(broker_url) as running:
        yield running


async def put(store: Store, thread: str, second: int = 0, *, org: str = ORG, **more: object) -> None:
    """Write the view of a thread that changed in this second."""
    at = f"2026-01-02T03:04:{second:02}+00:00"
    known = {"owner": "ann", "agent_id": "helper", "title": thread, "created_at": at, "updated_at": at}
    state = ThreadState.model_validate(known | more)
    view = ThreadView(fold_version=FOLD_VERSION, sequence=1, state=state)
    await Views(store).write_thread(OrgId(org), ThreadId(thread), view, 0)


async def listed(api: Api, **query: object) -> dict[str, Any]:
    status, body = await api.get(f"decopilot/threads?{urlencode(query)}")
    assert 200 == status, body
    return dict(body)


async def ids(api: Api, **query: object) -> list[str]:
    return [entry["id"] for entry in (await listed(api, **query))["threads"]]


async def test_a_list_tells_of_each_thread_what_a_row_of_it_shows(gateway: Gateway, store: Store) -> None:
    await put(store, "t1", title="Plans", status="failed", failure="crashed")
    expected = {
        "id": "t1",
        "title": "Plans",
        "archived": False,
        "status": "failed",
        "failureReason": "crashed",
        "agentId": "helper",
        "createdBy": "ann",
        "visibility": "org",
        "createdAt": "2026-01-02T03:04:00+00:00",
        "updatedAt": "2026-01-02T03:04:00+00:00",
    }
    assert {"threads": [expected], "next": None} == await listed(gateway.api)


async def test_what_is_archived_is_listed_where_it_is_asked_for(gateway: Gateway, store: Store) -> None:
    await put(store, "t1", 1)
    await put(store, "t2", 2, is_archived=True)
    assert [["t1"], ["t1"], ["t2"], ["t2", "t1"]] == [
        await ids(gateway.api),
        *[await ids(gateway.api, archived=which) for which in ("false", "true", "all")],
    ]


async def test_a_search_finds_all_its_words_in_the_title_and_in_the_first_words(gateway: Gateway, store: Store) -> None:
    await put(store, "t1", 1, title="Größe und Preis", first_title="How large is it?")
    await put(store, "t2", 2, title="Preis")
    found = {
        q: await ids(gateway.api, q=q)
        for q in (
            "preis",
            "  PREIS grösse ",
            "GRÖSSE",
            "gro\N{COMBINING DIAERESIS}ße large",
            "preis nothing",
            " ",
            "%",
        )
    }
    assert {
        "preis": ["t2", "t1"],
        "  PREIS grösse ": ["t1"],
        "GRÖSSE": ["t1"],
        "gro\N{COMBINING DIAERESIS}ße large": ["t1"],
        "preis nothing": [],
        " ": ["t2", "t1"],
        "%": [],
    } == found


async def test_statuses_are_asked_for_one_or_more_at_once(gateway: Gateway, store: Store) -> None:
    statuses: list[ThreadStatus] = ["in_progress", "requires_action", "failed", "completed"]
    for number, status in enumerate(statuses):
        await put(store, status, number, status=status)
    assert ["failed"] == await ids(gateway.api, status="failed")
    assert ["completed", "in_progress"] == await ids(gateway.api, status="in_progress,completed")
    assert ["completed"] == await ids(gateway.api, status="failed,completed", q="compl")


async def test_page_by_page_each_thread_is_listed_once_and_the_end_is_told(gateway: Gateway, store: Store) -> None:
    # Some changed in one moment: what stands between two of them is their ids.
    for number in range(25):
        await put(store, f"t{number}", number // 5, is_archived=number % 5 == 0)
    whole = await ids(gateway.api)
    seen: list[str] = []
    page = await listed(gateway.api, limit=3)
    while True:
        seen += [entry["id"] for entry in page["threads"]]
        if page["next"] is None:
            break
        # What changes meanwhile comes to the top, and moves nothing out of the pages that are still to be read.
        await put(store, f"new-{len(seen)}", 59)
        page = await listed(gateway.api, limit=3, before=page["next"])
    assert whole == seen
    assert 20 == len(seen)
    assert (await listed(gateway.api, limit=26))["next"] is None


async def test_nobody_is_listed_threads_of_another_org(gateway: Gateway, store: Store) -> None:
    await put(store, "t1")
    await put(store, "t2", org="other")
    assert ["t1"] == await ids(gateway.api, archived="all")
    stranger = Api(gateway.url, make_token(orgs={"other": "owner"}), ORG)
    assert 403 == (await stranger.get("decopilot/threads"))[0]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=%C2%B2",
        "limit=1&limit=2",
        "status=",
        "status=running",
        "status=failed,",
        "archived=",
        "archived=yes",
        "before=",
        "before=x",
        "before=%C3%A9%C3%A9",
        "before=MjAyNiBhLmI",
        "before=" + "A" * 3000,
        "q=" + "x" * 201,
        "q=a&q=b",
    ],
)
async def test_a_malformed_query_is_refused(gateway: Gateway, query: str) -> None:
    status, problem = await gateway.api.get(f"decopilot/threads?{query}")
    assert (400, "invalid_query") == (status, problem["code"])
