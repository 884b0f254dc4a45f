"""Answers through every provider's API, failed and finished, folded by every AI SDK."""

import asyncio

import pytest

from decopilot.contracts.chunks import Chunk
from decopilot.contracts.ids import MessageId
from decopilot.domain.fold import fold
from support.aisdk import VERSIONS, Job, fold_with_sdk
from support.driven import ANSWER, Driven
from support.fake_provider import SCRIPTS
from support.model_calls import IMPATIENT, driven, ended
from support.providers import KINDS, rig
from support.versions import as_known_to, shown

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]


def stream(run: Driven) -> list[Chunk]:
    """Make the stream of a run as a client sees it, with what is transient."""
    told = [chunk for frame in run.frames for chunk in frame.chunks if not chunk["type"].startswith("data-run")]
    return [*told, {"type": "finish"}]


async def streams_through(kind: str) -> dict[str, list[Chunk]]:
    streams: dict[str, list[Chunk]] = {}
    async with rig(kind) as patient, rig(kind, IMPATIENT) as impatient:
        for script in SCRIPTS:
            run = driven(impatient if "hangs" in script else patient, script)
            await ended(run)
            streams[f"{kind} {script}"] = stream(run)
    return streams


async def test_every_ai_sdk_takes_what_comes_through_every_provider_as_our_fold_does() -> None:
    streams: dict[str, list[Chunk]] = {}
    for told in await asyncio.gather(*map(streams_through, KINDS)):
        streams |= told
    results = fold_with_sdk(Job(name, chunks, versions=VERSIONS) for name, chunks in streams.items())

    assert len(streams) * len(VERSIONS) == len(results)
    for folded in results:
        chunks = streams[folded.id]
        refused = [chunk["toolCallId"] for chunk in chunks if chunk["type"] == "tool-input-error"]
        ours = as_known_to(folded.version, fold(MessageId(ANSWER), chunks), refused)
        assert [] == folded.errors, (folded.id, folded.version)
        assert shown(ours) == shown(folded.message), (folded.id, folded.version)
