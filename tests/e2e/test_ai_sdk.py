"""What the gateway streams is what the real AI SDK reads, in its oldest and newest versions."""

import asyncio

import pytest

from decopilot.contracts.messages import UIMessage
from support.aisdk import VERSIONS, Folded, Job, fold_with_sdk
from support.stack import Stack
from support.versions import as_known_to, shown
from support.viewer import Api, Viewer

pytestmark = [pytest.mark.node, pytest.mark.timeout(300)]

MESSAGES = ("hello there", "/count 20 0", "/think about it", "/weather Lisbon", "/fail", "/fail 5", "/length")


async def test_the_stream_of_every_demo_run_folds_in_every_ai_sdk_to_the_message_that_is_stored(
    stack: Stack, api: Api, thread: str
) -> None:
    async def run(number: int, text: str) -> tuple[Job, UIMessage | None]:
        name = f"{thread[:40]}-{number}"
        viewer = Viewer(stack.url, api.token, name)
        async with asyncio.timeout(30), viewer.attached() as chunks:
            await api.post(name, text)
            async for chunk in chunks:
                if chunk["type"] == "finish":
                    break
        messages = [UIMessage.model_validate(message) for message in await _ended(api, name)]
        assert text == messages[0].text
        answer = messages[1] if messages[1:] else None
        return Job(text, sse=viewer.raw.decode()), answer

    runs = await asyncio.gather(*(run(number, text) for number, text in enumerate(MESSAGES)))
    folded: list[Folded] = await asyncio.to_thread(fold_with_sdk, [job for job, _ in runs])
    answers = {job.id: answer for job, answer in runs}
    assert len(MESSAGES) * len(VERSIONS) == len(folded)
    for theirs in folded:
        assert [] == theirs.errors, (theirs.id, theirs.version)
        answer = answers[theirs.id]
        if answer is None:
            # A run that failed before it said anything leaves no message behind.
            assert not (theirs.message or {"parts": []})["parts"]
        else:
            assert shown(theirs.message) == shown(as_known_to(theirs.version, answer)), (theirs.id, theirs.version)


async def _ended(api: Api, thread: str) -> list[dict[str, object]]:
    await api.settled(thread)
    return (await api.messages(thread))[0]
