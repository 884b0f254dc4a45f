"""Wishing: a thread's user does what was drawn beside messages, and notes what they were told."""

import asyncio
import hashlib
import random

from decopilot.cli.chaos.asking import Asking
from decopilot.cli.chaos.doors import Answer
from decopilot.cli.chaos.ledger import Forked, Posted, Receipt, Regenerated, Upload
from decopilot.cli.chaos.schedule import Post
from decopilot.cli.chaos.stopping import comes
from decopilot.cli.chaos.wishes import ForkOff, PutAside, Regenerate, SendFile, Wish

INSISTING_S = 8.0
"""So long a user asks for another answer while one is being written."""
FORKING_S = 25.0
"""So long for a fork, of a thread in which nothing may have been answered yet, and for what is wished in it."""


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
                    await self._regenerate(wish.thread, f"{wish.thread}-r1", {}, chance, for_s=FORKING_S)
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

    async def _insist(
        self, wish: str, chance: random.Random, path: str, body: dict[str, str], *, again: set[str], for_s: float
    ) -> Answer | None:
        """Ask until the answer is another than these, or none."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + for_s
        while True:
            told = await self._asking.ask(wish, chance, "POST", path, body)
            is_over = clock() >= deadline or self._stopping.is_set()
            if is_over or (told is not None and told.code not in again):
                return told
            await asyncio.sleep(chance.uniform(0.1, 0.5))

    async def _regenerate(
        self, thread: str, request: str, message: dict[str, str], chance: random.Random, *, for_s: float = INSISTING_S
    ) -> None:
        path, body = self._asking.path("/regenerate", of=thread), message | {"requestId": request}
        # The second: the same is being asked for at this moment, by another copy or before.
        told = await self._insist("regenerate", chance, path, body, again={"run_active", "too_many_runs"}, for_s=for_s)
        if told is not None and told.status == 202:
            answered = Regenerated(thread, request, told.body["messageId"], told.body["runId"])
            self._asking.ledger.regenerated.append(answered)

    async def _fork(self, wish: ForkOff, chance: random.Random) -> bool:
        path, body = self._asking.path("/fork"), self._message(wish.number) | {"threadId": wish.thread}
        told = await self._insist("fork", chance, path, body, again={"message_not_found"}, for_s=FORKING_S)
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
