"""Whatever tools return, every AI SDK folds it as we do."""

import pytest

from decopilot.contracts.chunks import Chunk
from decopilot.contracts.configuration import AgentEntry, Configuration
from decopilot.contracts.ids import MessageId
from decopilot.domain.fold import fold
from decopilot_runner.default_agent import build
from decopilot_runner.default_agent.models import Models
from support import own_tools
from support.aisdk import VERSIONS, Job, fold_with_sdk
from support.driven import ANSWER, Driven
from support.versions import as_known_to, shown

pytestmark = [pytest.mark.node, pytest.mark.timeout(300)]

CALLS = (
    'odd {"what": "partial"}',
    'odd {"what": "huge"}',
    'odd {"what": "object"}',
    'odd {"what": "deep"}',
    "returns_nothing",
    "raises",
    "refuses",
    "hangs",
    'large {"mb": 2}',
    'picture {"kib": 4}',
    "nothing_of_this_name",
)


async def streamed(call: str) -> list[Chunk]:
    names = ("odd", "returns_nothing", "raises", "refuses", "hangs", "large", "picture")
    entry = AgentEntry(tools=tuple(f"support.own_tools:{name}" for name in names), tool_timeout_s=2)
    run = Driven(build(entry, Models(Configuration(), delay_ms=0)), f"/tool {call}")
    await run.attempt()
    return [*run.stored(), {"type": "finish"}]


async def test_every_ai_sdk_takes_what_tools_return_as_our_fold_does() -> None:
    own_tools.seen.clear()
    streams = {call: await streamed(call) for call in CALLS}
    results = fold_with_sdk(Job(name, chunks) for name, chunks in streams.items())

    assert len(streams) * len(VERSIONS) == len(results)
    for folded in results:
        ours = as_known_to(folded.version, fold(MessageId(ANSWER), streams[folded.id]))
        assert [] == folded.errors, (folded.id, folded.version)
        assert shown(ours) == shown(folded.message), (folded.id, folded.version)
