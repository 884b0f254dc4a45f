"""History: messages and the cursor that belongs to them, consistent whatever is written meanwhile."""

import asyncio
from datetime import UTC, datetime

import pytest

from decopilot.contracts import subjects
from decopilot.contracts.events import Recorded
from decopilot.contracts.frames import Cursor, Outcome
from decopilot.contracts.ids import MessageId, OrgId, RunId, ThreadId, UserId
from decopilot.contracts.messages import RunConfig, UIMessage
from decopilot.contracts.views import StoredMessage
from decopilot.domain.commands import End, Send
from decopilot.domain.thread import FOLD_VERSION, INITIAL, evolve
from decopilot.log import history as history_module
from decopilot.log.history import Histories, HistoryError, messages_of
from decopilot.log.journal import Journal
from decopilot.log.store import Store
from decopilot.log.views import ThreadView, Views

ORG, THREAD = OrgId("org"), ThreadId("thread")
NOW = datetime(2026, 1, 2, tzinfo=UTC)
DONE = Outcome(status="completed", finish_reason="stop")
WAIT_S = 20.0


def text(id_: str, role: str) -> UIMessage:
    return UIMessage.model_validate({"id": id_, "role": role, "parts": [{"type": "text", "text": f"I am {id_}"}]})


async def ask(journal: Journal, number: int) -> None:
    message = text(f"q{number}", "user")
    await journal.execute(
        ORG,
        THREAD,
        Send(
            now=NOW,
            user_id=UserId("ann"),
            role="member",
            message=message,
            message_hash=message.id,
            config=RunConfig(),
            run_id=RunId(f"r{number}"),
            assistant_id=MessageId(f"a{number}"),
        ),
    )


async def answer(journal: Journal, number: int) -> None:
    message, end = text(f"a{number}", "assistant"), Cursor(number * 10, number % 3)
    run = RunId(f"r{number}")
    await journal.execute(ORG, THREAD, End(now=NOW, run_id=run, attempt=1, outcome=DONE, message=message, end=end))


async def project(views: Views, events: list[Recorded]) -> None:
    """Write views as the reactor does: messages first, the thread last."""
    view, revision = await views.read_thread(ORG, THREAD)
    state, sequence = (INITIAL, 0) if view is None else (view.state, view.sequence)
    for recorded in events:
        state, sequence = evolve(state, recorded.event), recorded.sequence
        for message in messages_of(recorded):
            await views.write_message(ORG, THREAD, message)
    await views.write_thread(
        ORG, THREAD, ThreadView(fold_version=FOLD_VERSION, sequence=sequence, state=state), revision
    )


async def newer(journal: Journal, views: Views) -> list[Recorded]:
    view = await views.snapshot(ORG, THREAD)
    return await journal.events(ORG, THREAD, after=0 if view is None else view.sequence)


@pytest.fixture
def views(store: Store) -> Views:
    return Views(store)


@pytest.fixture
def journal(store: Store, views: Views) -> Journal:
    return Journal(store, views)


async def test_a_thread_that_does_not_exist_has_no_history(journal: Journal, views: Views) -> None:
    found = await Histories(journal, views).read(ORG, THREAD)
    assert ([], Cursor(0, 0), None) == (found.messages, found.cursor, found.state.owner)


@pytest.mark.parametrize("projected", [0, 1, 3, 4])
async def test_a_history_is_whole_however_far_the_views_are(journal: Journal, views: Views, projected: int) -> None:
    for number in (1, 2):
        await ask(journal, number)
        await answer(journal, number)
    if projected:
        await project(views, (await newer(journal, views))[:projected])
    found = await Histories(journal, views).read(ORG, THREAD)
    assert ["q1", "a1", "q2", "a2"] == [message.id for message in found.messages]
    assert Cursor(20, 2) == found.cursor
    newest = await Histories(journal, views).read(ORG, THREAD, limit=3)
    assert ["a1", "q2", "a2"] == [message.id for message in newest.messages]


async def test_a_history_read_while_everything_is_written_belongs_to_its_cursor(journal: Journal, views: Views) -> None:
    runs = 40
    histories = Histories(journal, views)
    is_done = False

    async def write() -> None:
        nonlocal is_done
        for number in range(1, runs + 1):
            await ask(journal, number)
            await answer(journal, number)
        is_done = True

    async def react() -> None:
        while not is_done or await newer(journal, views):
            events = await newer(journal, views)
            if events:
                await project(views, events)
            await asyncio.sleep(0)

    async def read() -> int:
        reads = 0
        while not is_done:
            found = await histories.read(ORG, THREAD)
            ids = [message.id for message in found.messages]
            ended = found.cursor.sequence // 10
            pairs = [name for number in range(1, ended + 1) for name in (f"q{number}", f"a{number}")]
            asked = [f"q{ended + 1}"] if found.state.active is not None else []
            assert pairs + asked == ids
            assert [f"I am {id_}" for id_ in ids] == [message.text for message in found.messages]
            reads += 1
        return reads

    async with asyncio.timeout(WAIT_S):
        *_, reads, more = await asyncio.gather(write(), react(), read(), read())
    assert min(reads, more) > 3
    whole = await histories.read(ORG, THREAD)
    assert 2 * runs == len(whole.messages)
    assert Cursor(runs * 10, runs % 3) == whole.cursor


async def test_a_message_that_is_not_as_listed_is_waited_for_and_then_an_error(
    store: Store, journal: Journal, views: Views, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(journal, 1)
    await answer(journal, 1)
    await project(views, await newer(journal, views))
    kv = await store.js.key_value(subjects.MESSAGES_BUCKET)
    await kv.delete(subjects.message_key(ORG, THREAD, MessageId("a1")))
    reading = asyncio.create_task(Histories(journal, views).read(ORG, THREAD))
    await asyncio.sleep(0)
    await views.write_message(ORG, THREAD, StoredMessage(message=text("a1", "assistant"), last_frame=10))
    async with asyncio.timeout(WAIT_S):
        assert ["q1", "a1"] == [message.id for message in (await reading).messages]
    await views.write_message(ORG, THREAD, StoredMessage(message=text("a1", "assistant"), last_frame=999))
    monkeypatch.setattr(history_module, "_TRIES", 2)
    with pytest.raises(HistoryError, match="thread"):
        await Histories(journal, views).read(ORG, THREAD)


async def test_a_view_of_another_version_is_no_part_of_a_history(journal: Journal, views: Views) -> None:
    await ask(journal, 1)
    await answer(journal, 1)
    await views.write_thread(
        ORG, THREAD, ThreadView(fold_version=FOLD_VERSION + 1, sequence=10**6, state=INITIAL), revision=0
    )
    found = await Histories(journal, views).read(ORG, THREAD)
    assert ["q1", "a1"] == [message.id for message in found.messages]
    assert "a1" == (await journal.load(ORG, THREAD)).state.messages[-1].id
