"""Locating, where a gateway's own feed is behind what a viewer has seen through another gateway."""

import pytest
from nats.aio.msg import Msg

from decopilot.contracts import subjects
from decopilot.contracts.frames import Cursor, Frame
from decopilot.contracts.ids import ThreadId
from decopilot.log.blocks import Memory
from decopilot.log.chunklog import ChunkLog
from decopilot.log.feed import Feed
from decopilot.log.journal import Journal
from decopilot.log.store import Store
from decopilot.log.tail import Stretch, Tails, frames
from decopilot.log.views import Views
from decopilot_gateway import sse
from decopilot_gateway.locating import Locators
from decopilot_gateway.replaying import Form
from support.gateways import ORG, Run

THREAD = ThreadId("t1")
DELETED = b'{"type": "thread_deleted", "at": "2026-01-02T03:04:05Z", "user_id": "ann"}'


@pytest.mark.parametrize("is_erased", [False, True])
async def test_who_has_seen_more_of_a_deleted_thread_than_the_gateway_is_not_led_back(
    store: Store, monkeypatch: pytest.MonkeyPatch, *, is_erased: bool
) -> None:
    async def hear_nothing(_: Feed[Frame, Stretch], __: Msg) -> None:
        """Lose what the broker republishes, as a subscription may."""

    monkeypatch.setattr(Feed, "_heard", hear_nothing)
    views, chunks = Views(store), ChunkLog(store)
    tails: Tails[Frame, Stretch] = Tails(store, Memory(1 << 20))
    async with Run(store, THREAD) as run:
        await run.start("a")
        async with tails.follow(frames(ORG, THREAD, sse.chunk_events)) as feed:
            held_up_at = feed.head
            await run.say("b")
            seen = await run.finish() if is_erased else held_up_at + 1
            await store.publish(subjects.EVENTS_STREAM, subjects.event(ORG, THREAD, "thread_deleted"), DELETED)
            if is_erased:
                await chunks.erase(ORG, THREAD)
            start = (
                await Locators(chunks, Journal(store, views), views)
                .on(ORG, THREAD, feed)
                .locate(Cursor(seen, 0), Form())
            )
    assert held_up_at < seen <= start.sequence
