"""The least that a message's way can cost: bare aiohttp asks over bare nats-py, and one write is acknowledged.

Two programs: `bare_path.py door PORT` and `bare_path.py desk`. No tokens, no checks, no thread that is looked up, no
limits, no answer but that it is done: what is left is the hops.
"""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import uvloop
from aiohttp import web
from nats.aio.client import Client
from nats.aio.msg import Msg

from decopilot.contracts import subjects
from decopilot.contracts.ids import OrgId, ThreadId
from decopilot.kit.connection import connected
from decopilot.kit.settings import Settings
from decopilot.log.store import EXPECTED, EXPECTED_SUBJECT

SUBJECT = "bench.bare"
ORG = OrgId("bench")


def guarded(thread: ThreadId) -> tuple[str, dict[str, str]]:
    """The subject and the headers of a thread's first event."""
    return subjects.event(ORG, thread, "noted"), {EXPECTED: "0", EXPECTED_SUBJECT: subjects.events_of(ORG, thread)}


async def _door(nc: Client, port: int) -> None:
    async def post(request: web.Request) -> web.Response:
        answer = await nc.request(SUBJECT, await request.read())
        return web.Response(status=202, body=answer.data, content_type="application/json")

    app = web.Application()
    app.router.add_post("/", post)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()


async def _desk(nc: Client) -> None:
    js = nc.jetstream()

    async def answer(message: Msg) -> None:
        thread = ThreadId(message.data.decode())
        subject, headers = guarded(thread)
        await js.publish(subject, b"{}", stream=subjects.EVENTS_STREAM, headers=headers)
        await message.respond(b"{}")

    await nc.subscribe(SUBJECT, cb=answer)
    await nc.flush()


async def main() -> None:
    """Be one of the two until killed."""
    async with connected(Settings(), f"bench-{sys.argv[1]}") as nc:
        await (_desk(nc) if sys.argv[1] == "desk" else _door(nc, int(sys.argv[2])))
        print("ready", flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
