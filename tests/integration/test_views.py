"""Views: written in the place of a revision, read by the fold version that wrote them."""

from datetime import UTC, datetime

import pytest

from decopilot.contracts import subjects
from decopilot.contracts.ids import MessageId, OrgId, ThreadId
from decopilot.contracts.messages import UIMessage
from decopilot.contracts.views import StoredMessage
from decopilot.domain.thread import FOLD_VERSION, ThreadState
from decopilot.log.store import Store
from decopilot.log.views import ThreadView, ViewConflictError, Views

ORG, THREAD = OrgId("org"), ThreadId("thread")
AT = datetime(2026, 1, 2, tzinfo=UTC).isoformat()


def view(sequence: int = 1, version: int = FOLD_VERSION, title: str = "") -> ThreadView:
    return ThreadView(
        fold_version=version, sequence=sequence, state=ThreadState(owner="ann", title=title, updated_at=AT)
    )


@pytest.fixture
def views(store: Store) -> Views:
    return Views(store)


async def test_a_view_reads_back_with_its_revision(views: Views) -> None:
    assert (None, 0) == await views.read_thread(ORG, THREAD)
    await views.write_thread(ORG, THREAD, view(), 0)
    found, revision = await views.read_thread(ORG, THREAD)
    assert view() == found
    await views.write_thread(ORG, THREAD, view(2), revision)
    assert view(2) == await views.snapshot(ORG, THREAD)


async def test_a_view_is_written_only_in_the_place_of_the_one_that_was_read(views: Views) -> None:
    await views.write_thread(ORG, THREAD, view(2), 0)
    for revision in (0, 99):
        with pytest.raises(ViewConflictError):
            await views.write_thread(ORG, THREAD, view(1), revision)
    assert view(2) == await views.snapshot(ORG, THREAD)


@pytest.mark.parametrize("version", [FOLD_VERSION - 1, FOLD_VERSION + 1])
async def test_a_view_of_another_fold_version_is_ignored_and_replaced(views: Views, version: int) -> None:
    await views.write_thread(ORG, THREAD, view(version=version), 0)
    found, revision = await views.read_thread(ORG, THREAD)
    assert found is None
    await views.write_thread(ORG, THREAD, view(3), revision)
    assert view(3) == await views.snapshot(ORG, THREAD)


async def test_a_view_that_can_not_be_read_is_ignored_and_replaced(store: Store, views: Views) -> None:
    bucket = f"KV_{subjects.THREADS_BUCKET}"
    revision = await store.publish(bucket, f"$KV.{subjects.THREADS_BUCKET}.org.thread", b"{not json")
    assert (None, revision) == await views.read_thread(ORG, THREAD)
    await views.write_thread(ORG, THREAD, view(3), revision)
    assert view(3) == await views.snapshot(ORG, THREAD)


@pytest.mark.parametrize("how", ["delete", "purge"])
async def test_a_deleted_view_is_none_and_its_marker_guards_the_next_write(
    store: Store, views: Views, how: str
) -> None:
    await views.write_thread(ORG, THREAD, view(), 0)
    kv = await store.js.key_value(subjects.THREADS_BUCKET)
    await getattr(kv, how)(subjects.thread_key(ORG, THREAD))
    found, revision = await views.read_thread(ORG, THREAD)
    assert found is None
    assert [] == [entry async for entry in views.threads(ORG)]
    with pytest.raises(ViewConflictError):
        await views.write_thread(ORG, THREAD, view(5), 0)
    await views.write_thread(ORG, THREAD, view(5), revision)
    assert view(5) == await views.snapshot(ORG, THREAD)


async def test_a_message_reads_back_until_it_is_deleted(store: Store, views: Views) -> None:
    parts = [{"type": "data-x", "data": {"null": None, "deep": [None, {"a": None}]}}]
    message = UIMessage.model_validate({"id": "m1", "role": "assistant", "parts": parts, "metadata": {"none": None}})
    stored = StoredMessage(message=message, last_frame=7)
    await views.write_message(ORG, THREAD, stored)
    assert stored == await views.read_message(ORG, THREAD, MessageId("m1"))
    assert None is await views.read_message(ORG, ThreadId("other"), MessageId("m1"))
    kv = await store.js.key_value(subjects.MESSAGES_BUCKET)
    await kv.delete(subjects.message_key(ORG, THREAD, MessageId("m1")))
    assert None is await views.read_message(ORG, THREAD, MessageId("m1"))


def answer(last_frame: int, id_: str = "m1") -> StoredMessage:
    parts = [{"type": "text", "text": f"up to {last_frame}"}]
    return StoredMessage(message=UIMessage(id=MessageId(id_), role="assistant", parts=parts), last_frame=last_frame)


async def delete_thread(store: Store) -> None:
    await store.publish(subjects.EVENTS_STREAM, subjects.event(ORG, THREAD, "thread_deleted"), b"{}")


async def test_a_message_that_went_on_is_not_replaced_by_what_it_was_before(views: Views) -> None:
    for last_frame in (7, 9, 7):
        await views.write_message(ORG, THREAD, answer(last_frame))
    assert answer(9) == await views.read_message(ORG, THREAD, MessageId("m1"))


async def test_a_message_that_somebody_took_out_of_the_bucket_is_written_again(store: Store, views: Views) -> None:
    await views.write_message(ORG, THREAD, answer(7))
    kv = await store.js.key_value(subjects.MESSAGES_BUCKET)
    await kv.delete(subjects.message_key(ORG, THREAD, MessageId("m1")))
    await views.write_message(ORG, THREAD, answer(7))
    assert answer(7) == await views.read_message(ORG, THREAD, MessageId("m1"))


async def contents(store: Store) -> list[bytes]:
    """What the buckets hold of the thread."""
    found = []
    for bucket, keys in ((subjects.THREADS_BUCKET, f"{ORG}.{THREAD}"), (subjects.MESSAGES_BUCKET, f"{ORG}.{THREAD}.*")):
        async for batch in store.read(f"KV_{bucket}", f"$KV.{bucket}.{keys}", 0):
            found += [stored.data for stored in batch]
    return found


async def test_erasing_leaves_markers_of_all_that_was_and_may_yet_be_written(store: Store, views: Views) -> None:
    await views.write_thread(ORG, THREAD, view(), 0)
    for number in range(70):
        await views.write_message(ORG, THREAD, answer(number, f"m{number}"))
    await views.write_message(ORG, ThreadId("other"), answer(7))
    await views.write_message(ORG, ThreadId("thread-2"), answer(7))
    await delete_thread(store)
    for _ in range(2):
        await views.erase(ORG, THREAD, [MessageId("m0"), MessageId("late")])
        assert [b""] * 72 == await contents(store)
    await views.write_message(ORG, THREAD, answer(7, "m0"))
    await views.write_message(ORG, THREAD, answer(7, "late"))
    assert [b""] * 72 == await contents(store)
    for other in (ThreadId("other"), ThreadId("thread-2")):
        assert answer(7) == await views.read_message(ORG, other, MessageId("m1"))


@pytest.mark.parametrize("there", [None, 5])
async def test_a_writer_who_was_held_up_while_the_thread_was_erased_writes_nothing(
    store: Store, views: Views, there: int | None
) -> None:
    if there is not None:
        await views.write_message(ORG, THREAD, answer(there))
    _, revision = await views.read_thread(ORG, THREAD)
    slow = Views(store)
    original = slow._last  # noqa: SLF001  what comes between reading and writing

    async def held_up(bucket: str, key: str) -> object:
        found = await original(bucket, key)
        if not await views.is_deleted(ORG, THREAD):
            await delete_thread(store)
            await views.erase(ORG, THREAD, [MessageId("m1")])
        return found

    slow._last = held_up  # type: ignore[method-assign,assignment]  # noqa: SLF001
    await slow.write_message(ORG, THREAD, answer(7))
    with pytest.raises(ViewConflictError):
        await slow.write_thread(ORG, THREAD, view(), revision)
    assert [b"", b""] == await contents(store)


async def test_threads_of_one_org_are_listed_the_longest_unchanged_first(views: Views) -> None:
    revisions: dict[str, int] = {}
    for name in ("a", "b", "c"):
        await views.write_thread(ORG, ThreadId(name), view(title=name), 0)
        revisions[name] = (await views.read_thread(ORG, ThreadId(name)))[1]
    await views.write_thread(OrgId("other"), ThreadId("x"), view(title="x"), 0)
    await views.write_thread(ORG, ThreadId("a"), view(2, title="a2"), revisions["a"])
    listed = [(entry.id, entry.title) async for entry in views.threads(ORG)]
    assert [("b", "b"), ("c", "c"), ("a", "a2")] == listed


@pytest.mark.parametrize("version", [FOLD_VERSION - 1, FOLD_VERSION + 1])
async def test_a_thread_whose_view_is_of_another_version_is_listed_all_the_same(views: Views, version: int) -> None:
    await views.write_thread(ORG, THREAD, view(version=version, title="mine"), 0)
    assert ["mine"] == [entry.title async for entry in views.threads(ORG)]


async def test_a_thread_that_changes_while_they_are_listed_is_listed_once(views: Views) -> None:
    names = [ThreadId(f"t{number}") for number in range(520)]
    for name in names:
        await views.write_thread(ORG, name, view(title="old"), 0)
    revision = (await views.read_thread(ORG, names[0]))[1]
    original = views._store.read  # noqa: SLF001  what comes between two batches

    async def read(*args: object, **options: object) -> object:
        async for batch in original(*args, **options):  # type: ignore[arg-type]
            yield batch
            if batch[0].sequence == revision:
                await views.write_thread(ORG, names[0], view(2, title="new"), revision)

    views._store.read = read  # type: ignore[method-assign,assignment]  # noqa: SLF001
    listed = [(entry.id, entry.title) async for entry in views.threads(ORG)]
    assert [(name, "old") for name in names[1:]] + [(names[0], "new")] == listed
