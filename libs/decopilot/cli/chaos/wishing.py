"""Wishing: a thread's user does what was drawn beside messages, and notes what they were told."""

import asyncio
import hashlib
import random

from decopilot.cli.chaos.asking import Asking
from decopilot.cli.chaos.ledger import Forked, Posted, Receipt, Regenerated, Upload
from decopilot.cli.chaos.schedule import Post
from decopilot.cli.chaos.stopping import comes
from decopilot.cli.chaos.wishes import ForkOff, PutAside, Regenerate, SendFile, Wish

INSISTING_S = 8.0
"""So long a user asks for another answer while one is being written."""


class Wisher:
    """Wishes of one thread; `asking` is its user's."""

    def __init__(self, asking: Asking, wishes: tuple[Wish, ...], seed: int, stopping: asyncio.Event) -> None:
        self._asking = asking
        self._wishes = wishes
        self._seed = seed
        self._stopping = stopping

    async def act(self) -> None:
        """Wish everything at its time, each thing by itself; nothing more once everything is to stop."""
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as tasks:
            for number, wish in enumerate(self._wishes):
                if not await comes(began + wish.at_s, self._stopping):
                    return
                chance = random.Random(f"{self._seed}/{self._asking.thread}/wish/{number}")
                tasks.create_task(self._do(wish, chance), name=f"{self._asking.thread} {wish}")

    async def _do(self, wish: Wish, chance: random.Random) -> None:
        match wish:
            case Regenerate():
                request, body = f"{self._asking.thread}-r{wish.request}", self._message(wish.number)
                regenerating = (
                    self._regenerate(self._asking.thread, request, body, copy) for copy in _copies(wish.copies, chance)
                )
                await asyncio.gather(*regenerating)
            case ForkOff():
                found = await asyncio.gather(*(self._fork(wish, copy) for copy in _copies(wish.copies, chance)))
                if any(found):
                    # Nobody else wishes anything there: this one is never refused for an answer that goes on.
                    await self._regenerate(wish.thread, f"{wish.thread}-r1", {}, chance)
                    await self._send(Posted(wish.thread, f"{wish.thread}-m1", Post(wish.at_s, 1, wish.text)), chance)
            case SendFile():
                await self._send_file(wish, chance)
            case PutAside(archived=archived):
                name = "archive" if archived else "unarchive"
                told = await self._asking.ask(name, chance, "PATCH", self._asking.path(), {"archived": archived})
                if told is not None and told.status == 202:
                    receipt = Receipt(self._asking.thread, name, told.body["status"], None)
                    self._asking.ledger.receipts.append(receipt)

    def _message(self, number: int | None) -> dict[str, str]:
        return {} if number is None else {"messageId": f"{self._asking.thread}-m{number}"}

    async def _regenerate(self, thread: str, request: str, message: dict[str, str], chance: random.Random) -> None:
        path, body = self._asking.path("/regenerate", of=thread), message | {"requestId": request}
        clock = asyncio.get_running_loop().time
        deadline = clock() + INSISTING_S
        while clock() < deadline and not self._stopping.is_set():
            told = await self._asking.ask("regenerate", chance, "POST", path, body)
            if told is not None and told.status == 202:
                answered = Regenerated(thread, request, told.body["messageId"], told.body["runId"])
                self._asking.ledger.regenerated.append(answered)
            if told is None or told.code != "run_active":
                return
            await asyncio.sleep(chance.uniform(0.1, 0.5))

    async def _fork(self, wish: ForkOff, chance: random.Random) -> bool:
        body = self._message(wish.number) | {"threadId": wish.thread}
        told = await self._asking.ask("fork", chance, "POST", self._asking.path("/fork"), body)
        if told is None or told.status != 201:
            return False
        until = told.body["forkedFrom"]["messageId"]
        self._asking.ledger.forks.append(Forked(told.body["taskId"], self._asking.thread, until))
        return True

    async def _send_file(self, wish: SendFile, chance: random.Random) -> None:
        thread = self._asking.thread
        path = self._asking.path(f"/files?filename={wish.filename}")
        told = await self._asking.ask("upload", chance, "POST", path, wish.content)
        if told is None or told.status != 201:
            return
        url, digest = told.body["url"], hashlib.sha256(wish.content).hexdigest()
        self._asking.ledger.uploads[wish.filename] = Upload(thread, wish.filename, url, digest)
        part = {"type": "file", "url": url, "mediaType": told.body["mediaType"], "filename": wish.filename}
        await self._send(
            Posted(thread, wish.filename.removesuffix(".bin"), Post(wish.at_s, 0, wish.text), files=(part,)), chance
        )

    async def _send(self, posted: Posted, chance: random.Random) -> None:
        self._asking.ledger.posts[posted.message_id] = posted
        await self._asking.send(posted, chance)


def _copies(count: int, chance: random.Random) -> list[random.Random]:
    return [random.Random(f"{chance.random()}") for _ in range(count)]
