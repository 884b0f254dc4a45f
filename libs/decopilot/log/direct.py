"""Direct get: many messages of a stream for one request, answered by any replica (NATS ADR-31)."""

import asyncio
import itertools
import json

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.errors import ServiceUnavailableError

BATCH = 512
BATCH_BYTES = 1 << 20
_END_OF_BATCH, _NOTHING_LEFT, _NO_RESPONDERS = "204", "404", "503"


class StoreError(Exception):
    """The broker refused a read."""

    def __init__(self, stream: str, status: str, description: str) -> None:
        self.stream, self.status, self.description = stream, status, description
        super().__init__(f"reading {stream} failed: {status} {description}")


class DirectGet:
    """Asks for batches over one connection; holds one subscription for all answers."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self._inbox = ""
        self._answers: dict[str, asyncio.Queue[Msg]] = {}
        self._numbers = itertools.count()
        self._subscription: Subscription | None = None

    async def open(self) -> None:
        """Listen for answers, on a connection that is there: before, it does not know whose inbox is its own."""
        self._inbox = self._nc.new_inbox()
        self._subscription = await self._nc.subscribe(f"{self._inbox}.*", cb=self._answered)

    async def close(self) -> None:
        """Stop listening."""
        if self._subscription is not None and not self._nc.is_closed:
            await self._subscription.unsubscribe()

    async def _answered(self, msg: Msg) -> None:
        queue = self._answers.get(msg.subject.rpartition(".")[2])
        if queue is not None:
            queue.put_nowait(msg)

    async def batch(
        self, stream: str, subject: str, after: int, *, timeout_s: float, count: int = BATCH
    ) -> tuple[list[Msg], bool]:
        """Read up to `count` messages or about 1 MiB behind a sequence; also tells whether there is more.

        Raises:
            StoreError: the broker refused.
            nats.errors.Error, TimeoutError: nobody serves the stream, or nothing came for this long.

        """
        token = str(next(self._numbers))
        answers = self._answers[token] = asyncio.Queue()
        request = {"seq": after + 1, "batch": count, "max_bytes": BATCH_BYTES, "next_by_subj": subject}
        clock = asyncio.get_running_loop().time
        messages: list[Msg] = []
        last = "0"
        try:
            async with asyncio.timeout(timeout_s) as silence:
                await self._nc.publish(
                    f"$JS.API.DIRECT.GET.{stream}", json.dumps(request).encode(), reply=f"{self._inbox}.{token}"
                )
                while True:
                    if answers.empty():
                        silence.reschedule(clock() + timeout_s)
                    msg = await answers.get()
                    headers = msg.headers or {}
                    status = headers.get("Status")
                    if status == _NOTHING_LEFT:
                        return messages, False
                    if status == _NO_RESPONDERS:
                        raise ServiceUnavailableError(code=503, description=f"nobody serves {stream}")
                    if status not in {None, _END_OF_BATCH}:
                        raise StoreError(stream, str(status), headers.get("Description", ""))
                    # Answers that were on their way while the connection broke are lost without a sound.
                    if headers["Nats-Last-Sequence"] != last:
                        return messages, True
                    if status == _END_OF_BATCH:
                        return messages, headers["Nats-Num-Pending"] != "0"
                    last = headers["Nats-Sequence"]
                    messages.append(msg)
        finally:
            del self._answers[token]
