"""What gets through the port of an agent that yields in disorder, as every AI SDK takes it."""

from random import Random

import pytest

from decopilot.contracts.chunks import Chunk
from support.aisdk import VERSIONS, Job, fold_with_sdk
from support.porting import ANSWER, disordered, ported
from support.streams import valid_stream

pytestmark = [pytest.mark.node, pytest.mark.timeout(300)]

AGENTS = 150


async def logged(seed: int) -> list[Chunk]:
    rng = Random(seed)
    chunks = [chunk for chunk in valid_stream(rng, ANSWER) if chunk["type"] not in {"start", "data-run"}]
    return (await ported(disordered(rng, chunks))).log


async def test_no_viewer_ever_trips_over_an_agent_that_yields_in_disorder() -> None:
    logs = {f"agent {seed}": await logged(seed) for seed in range(AGENTS)}
    failed = [name for name, log in logs.items() if any(chunk["type"] == "error" for chunk in log)]
    assert AGENTS / 4 < len(failed) < AGENTS

    results = fold_with_sdk(Job(name, log) for name, log in logs.items())

    assert AGENTS * len(VERSIONS) == len(results)
    assert {} == {(folded.id, folded.version): folded.errors for folded in results if folded.errors}
    # The oldest one calls a message without parts invalid; nobody shows one.
    told = [folded for folded in results if folded.message is not None and folded.message["parts"]]
    assert [] == [(folded.id, folded.version) for folded in told if not folded.is_valid]
