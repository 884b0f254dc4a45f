"""useChat of one line of the AI SDK in a Node process, driven as a person would drive what it shows."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from support.aisdk import HERE, AiSdkError
from support.node import environment, installed, node

LINES = (5, 6, 7)
Shown = dict[str, Any]


@dataclass(slots=True)
class UseChat:
    """A Node process with any number of mounted chats, by name."""

    line: int
    _process: asyncio.subprocess.Process
    _numbers: "count[int]" = field(default_factory=count)
    _waiting: dict[int, asyncio.Future[Any]] = field(default_factory=dict)

    async def do(self, op: str, chat: str, **given: object) -> Any:  # noqa: ANN401  JSON is of any type
        """Have a command carried out; see `use_chat.mjs`."""
        n = next(self._numbers)
        future = self._waiting[n] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"n": n, "op": op, "chat": chat, **given}).encode() + b"\n")
        return await future

    async def shows(self, chat: str, **what: object) -> Shown:
        """Wait until a chat shows something; returns all that it shows then."""
        shown: Shown = await self.do("wait", chat, **what)
        return shown

    async def read(self) -> None:
        """Hand out answers for as long as the process lives."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            told = json.loads(line)
            future = self._waiting.pop(told["n"])
            if "error" in told:
                future.set_exception(AiSdkError(told["error"]))
            else:
                future.set_result(told["ok"])
        for future in self._waiting.values():
            future.set_exception(AiSdkError("Node has ended"))


@asynccontextmanager
async def use_chat(line: int, url: str, token: str) -> AsyncIterator[UseChat]:
    """Run Node with a line's useChat while the context is open."""
    await asyncio.to_thread(installed, HERE)
    process = await asyncio.create_subprocess_exec(
        *(node(), "--no-warnings", str(HERE / "use_chat.mjs"), str(line), url, token),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment(),
        limit=1 << 24,
    )
    chat = UseChat(line, process)
    reading = asyncio.create_task(chat.read())
    try:
        yield chat
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await reading
