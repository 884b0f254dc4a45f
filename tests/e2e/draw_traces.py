"""Draw the traces of a run whose runner is killed, and of one that waits for it, from what real processes export.

`PYTHONPATH=tests python tests/e2e/draw_traces.py docs/images/trace.svg [http://viewer:4318/v1/traces]`: with an
address, all that was exported is sent on to whatever shows traces there.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import aiohttp

from support.trace_tree import drawn
from support.traced_story import KILLED, QUEUED, Capture, captured


async def draw(file: Path, viewer: str | None) -> None:
    """Have it happen, and draw it."""
    with tempfile.TemporaryDirectory() as folder:
        capture = await captured(Path(folder))
    titles = {
        KILLED: "A run that was resumed, then cancelled by its user; from a POST with a traceparent:",
        QUEUED: "The run that waited for it, from a POST of its own:",
    }
    await asyncio.to_thread(file.write_text, drawn(capture.spans, titles))
    if viewer is not None:
        await send_on(capture, viewer)


async def send_on(capture: Capture, viewer: str) -> None:
    """Export what was captured once more."""
    async with aiohttp.ClientSession(headers={"Content-Type": "application/x-protobuf"}) as session:
        for body in capture.bodies:
            async with session.post(viewer, data=body) as response:
                response.raise_for_status()


if __name__ == "__main__":
    asyncio.run(draw(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None))
