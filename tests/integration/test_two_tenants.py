"""Two tenants: whatever each asks, by whichever ids, nothing of the one ever appears at the other."""

import asyncio
import json
import random
import statistics
import time
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from decopilot.log.store import Store
from support.tenants import CALLS, CANARIES, OTHER, THREADS, Tenants, together
from support.whole import whole

COUNT = 10_000
"""In CI; `--fuzz` multiplies them."""
LUCKY = {"withdraw"}
"""Whether a message of this id still waits, is a matter of moments."""
PLANTED = 600
TIMED = 60
AUTOMATIONS = {
    f"report-{org}": {"org": org, "message": f"Sum up {canary}.", "at_once": 1_000} for org, canary in CANARIES.items()
}


@pytest.mark.timeout(1_200)
async def test_nothing_of_one_org_ever_appears_at_another_whatever_is_asked_by_whichever_ids(
    request: pytest.FixtureRequest, broker_url: str, store: Store, tmp_path: Path
) -> None:
    count = int(COUNT * request.config.getoption("--fuzz"))
    seed = request.config.getoption("--seed") or 0
    async with (
        whole(broker_url, store, tmp_path, AUTOMATIONS) as running,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=10)) as session,
        asyncio.TaskGroup() as group,
    ):
        tenants = Tenants(running.gateway.url, session, random.Random(seed))
        following = [
            group.create_task(tenants.follow(org, path))
            for org in CANARIES
            for path in [f"/{org}/watch", *(f"/{org}/decopilot/attach/{thread}?rewind=true" for thread in THREADS[:4])]
        ]
        await tenants.begin()
        start = time.monotonic()
        await together(count, tenants.call)
        took_s = time.monotonic() - start
        ears, failed = tenants.ears, {key: n for key, n in tenants.answered.items() if key[1] >= 500}
        print(f"{count} calls in {took_s:.1f} s by --seed {seed}")  # noqa: T201  shown where the test fails
        print(dict(sorted(tenants.answered.items())), ears.own)  # noqa: T201
        assert ({}, []) == (failed, ears.leaks[:3])
        # They had something to leak, everywhere; and all that is asked was given once, but for what takes luck.
        assert {"body", "headers", "stream"} == ears.own.keys()
        given = {name for name, status in tenants.answered if status < 400}
        assert count < COUNT or given >= CALLS.keys() - LUCKY
        await compare(tenants)
        # What does leak is heard: one org is told the other's word by a hand of its own.
        for org in CANARIES:
            await tenants.write(org, CANARIES[OTHER[org]])
        await together(PLANTED, tenants.call)
        heard = Counter(leak.request.rpartition("(")[2] for leak in ears.leaks)
        assert {"body)", "headers)", "stream)"} == heard.keys()
        for task in following:
            task.cancel()
        assert [] == running.complaints()


async def compare(tenants: Tenants) -> None:
    """Hold what an org is told of a thread that only the other has against what it is told of one that nobody has."""
    token = {"Authorization": f"Bearer {tenants.tokens['acme'][0]}"}
    theirs = "only-theirs"
    message = {"role": "user", "parts": [{"type": "text", "text": "hello"}]}
    path = f"/bolt/decopilot/threads/{theirs}/messages"
    status = await tenants.ask(
        "bolt", "post", "POST", path, {"json": {"messages": [message]}}, tenants.tokens["bolt"][0]
    )
    assert 202 == status
    times: dict[str, list[float]] = {theirs: [], "only-nobody": []}
    bodies: dict[str, set[str]] = {thread: set() for thread in times}
    for _ in range(TIMED):
        for rest in ("", "/messages", "/runs", "/queue", "/runs/run_1"):
            for thread, taken in times.items():
                start = time.perf_counter()
                url = f"{tenants.url}/acme/decopilot/threads/{thread}{rest}"
                async with tenants.session.get(url, headers=token) as response:
                    body = await response.json(content_type=None)
                taken.append(time.perf_counter() - start)
                assert 404 == response.status
                bodies[thread].add(json.dumps(body).replace(thread, "ID"))
    assert bodies[theirs] == bodies["only-nobody"]
    told = {thread: f"{1_000 * statistics.median(taken):.2f} ms" for thread, taken in times.items()}
    print(f"median of {5 * TIMED} refusals: {told}")  # noqa: T201  a figure to be reported, not judged
