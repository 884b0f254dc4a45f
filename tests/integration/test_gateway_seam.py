"""History and stream join without a seam, at whatever moment one reads the one and attaches to the other."""

import asyncio
import random

from decopilot.cli.broker import EmbeddedBroker
from decopilot.contracts.events import Recorded
from decopilot.contracts.ids import ThreadId
from decopilot.log.journal import Journal
from decopilot.log.store import Store
from decopilot.log.views import Views
from decopilot_reactor.projecting import Projector
from support.gateways import ORG, Gateway, Run, running_gateway

THREAD = "t1"
RUNS = 60
READERS = 4


async def test_history_then_stream_is_every_answer_once_at_any_moment(own_broker: EmbeddedBroker, store: Store) -> None:
    chance = random.Random(60)
    texts = {f"a{number}": chance.choice("abcxyz") * chance.randint(1, 30) for number in range(1, RUNS + 1)}
    done = asyncio.Event()
    readings = 0

    async def write() -> None:
        end = 0
        for number in range(1, RUNS + 1):
            async with Run(store, THREAD, number, previous=end) as run:
                if number > 1:
                    await run.record_request()
                await asyncio.sleep(chance.choice((0, 0.005)))
                text = texts[f"a{number}"]
                cut = chance.randint(0, len(text))
                await run.start(text[:cut])
                await asyncio.sleep(chance.choice((0, 0.005)))
                await run.say(text[cut:])
                end = await run.finish()
                await asyncio.sleep(chance.choice((0, 0.005)))
                await run.record_end(text)
        done.set()

    async def project() -> None:
        """Write the views as the reactor does, and as late as it pleases."""
        views = Views(store)
        journal = Journal(store, views)
        written = 0
        while not done.is_set():
            for recorded in await _some(journal, written, chance):
                await Projector(journal, views).project(recorded)
                written = recorded.sequence
            await asyncio.sleep(chance.choice((0, 0.01)))

    async def read(gateway: Gateway) -> None:
        nonlocal readings
        while not done.is_set():
            seen = await _seen(gateway, chance.randint(1, 3))
            assert dict(list(texts.items())[: len(seen)]) == seen
            readings += 1

    await Run(store, THREAD).record_request()
    async with running_gateway(own_broker.url) as gateway, asyncio.TaskGroup() as group:
        for work in (write(), project(), *(read(gateway) for _ in range(READERS))):
            group.create_task(work)
    assert readings > RUNS


async def _some(journal: Journal, after: int, chance: random.Random) -> list[Recorded]:
    events = await journal.events(ORG, ThreadId(THREAD), after=after)
    return events[: chance.randint(0, 5)]


async def _seen(gateway: Gateway, runs: int) -> dict[str, str]:
    """Read the history, then attach at its cursor for some runs; answers by id, in both together."""
    messages, cursor = await gateway.api.messages(THREAD)
    answers = {m["id"]: m["parts"][0]["text"] for m in messages if m["role"] == "assistant"}
    last = min(RUNS, len(answers) + runs)
    viewer = gateway.viewer(THREAD, cursor)
    answer = ""
    async with asyncio.timeout(30), viewer.attached() as chunks:
        while len(answers) < last or answer:
            chunk = await anext(chunks)
            match chunk["type"]:
                case "start":
                    answer = chunk["messageId"]
                    assert answer not in answers, "an answer came twice"
                    answers[answer] = ""
                case "text-delta":
                    answers[answer] += chunk["delta"]
                case "finish":
                    answer = ""
    return answers
