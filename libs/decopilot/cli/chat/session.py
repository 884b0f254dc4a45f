"""A conversation under way: what is known of its thread, and what its user does to it. Knows no terminal."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from decopilot.client import (
    ApiError,
    ArgumentError,
    Client,
    ClientError,
    Connected,
    Conversation,
    Interaction,
    Queued,
    SendOptions,
    UIMessage,
    UnreachableError,
)
from decopilot.contracts.commands import OnConflict
from decopilot.contracts.ids import MessageId
from decopilot.contracts.interactions import Resolution

WATCHED = ("decopilot.thread.queue", "decopilot.thread.titled", "decopilot.thread.interactions")
LEAVING_S = 3.0
ResultT = TypeVar("ResultT")
_UNKNOWN, _REFUSED = 404, range(400, 500)


@dataclass(frozen=True, slots=True)
class Choice:
    """How messages are to be answered; `files` go with the first one."""

    agent: str | None = None
    tier: Literal["fast", "smart", "thinking", "image", "web_research"] | None = None
    mode: Literal["default", "plan", "web-search"] = "default"
    asks_first: bool = False
    files: Sequence[Path] = ()
    is_private: bool = False

    def options(self, on_conflict: OnConflict) -> SendOptions:
        """Make what a message is sent with."""
        options: SendOptions = {"on_conflict": on_conflict, "mode": self.mode}
        if self.agent is not None:
            options["agent"] = self.agent
        if self.tier is not None:
            options["tier"] = self.tier
        if self.asks_first:
            options["tool_approval_level"] = "readonly"
        if self.is_private:
            options["visibility"] = "private"
        return options


class Session:
    """One thread, followed while `run` runs; `on_change` is told of whatever is to be shown."""

    def __init__(self, client: Client, thread: str, choice: Choice, *, on_change: Callable[[], None]) -> None:
        self.thread = thread
        self.conversation = Conversation()
        self.queue: tuple[Queued, ...] = ()
        self.title = ""
        self.files: list[Path] = list(choice.files)
        """What goes with the next message."""
        self.sending: list[UIMessage] = []
        """What was sent and is not in the conversation, or in line, yet."""
        self.notice = ""
        """What the user is told besides."""
        self.is_cancelling = False
        self.lost: str | None = "connecting…"
        """Why nothing is heard at the moment, and what is done about it; None while all is well."""
        self._client = client
        self._choice = choice
        self._on_change = on_change
        self._goes_on = False
        self._wish: asyncio.Task[None] | None = None
        self._doubtful: dict[str, UIMessage] = {}
        self._turn = asyncio.Lock()

    @property
    def is_busy(self) -> bool:
        """Whether a run goes on, or is about to."""
        known = self.conversation
        return known.is_answering or known.status == "in_progress" or self._goes_on or bool(self.sending)

    @property
    def asked(self) -> Interaction | None:
        """What the user is to decide next."""
        return None if self.is_busy or not self.conversation.pending else self.conversation.pending[0]

    @property
    def standing(self) -> str:
        """How things stand, in a few words."""
        known = self.conversation
        if self.lost is not None:
            return self.lost
        if self.is_cancelling:
            return "cancelling…"
        if known.retry is not None:
            return f"the model is asked again in {known.retry.get('delayMs', 0) / 1000:.0f} s"
        if self.is_busy:
            return "answering… (Esc cancels)"
        return "it waits for you" if known.status == "requires_action" else "ready (/help)"

    async def run(self) -> None:
        """Follow the thread until that is cancelled, it is deleted, or the gateway refuses for good."""
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch())
            try:
                await self._follow()
            except ClientError as error:
                self.lost = f"Not followed any more: {_told(error)}. /open {self.thread} tries again."
            finally:
                watching.cancel()
                self._on_change()

    async def send(self, text: str, *, on_conflict: OnConflict = "queue") -> bool:
        """Send a message, behind those that were sent before; tell whether it was accepted.

        It is shown at once. Sent again after an answer that did not come, it is the same message.
        """
        message = self._doubtful.pop(text, None) or _message(text)
        self.sending.append(message)
        self.notice, is_awaited = "", False
        self._on_change()
        try:
            async with self._turn:
                files, self.files = self.files, []
                try:
                    parts = [(await self._client.upload(self.thread, path)).part for path in files]
                    whole = message.model_copy(update={"parts": [*message.parts, *parts]})
                    options = self._choice.options(on_conflict)
                    accepted = await self._client.send(self.thread, whole, **options)
                except (ClientError, OSError) as error:
                    self.files = [*files, *self.files]
                    self.notice = f"Not sent: {_told(error)}."
                    if isinstance(error, UnreachableError) and not files:
                        self._doubtful[text] = message
                        self.notice = f"No answer: {_told(error)}. Send it again: it will not be taken twice."
                    return False
                if accepted.status == "in_progress" and self._holds(message.id) is None:
                    # It is shown as sent until the stream tells it.
                    is_awaited = True
                    self.conversation.pending = ()
                return True
        finally:
            if not is_awaited:
                self.sending = [sent for sent in self.sending if sent is not message]
            await self._line()
            self._on_change()

    def cancel(self) -> None:
        """Ask for the end of the run that goes on, if one does."""
        if self.is_busy and not self.is_cancelling:
            self.is_cancelling = True
            # A task of the session's own: who leaves meanwhile has wished for it all the same.
            self._wish = asyncio.create_task(self._cancel(self.conversation.run_id))
            self._on_change()

    async def leave(self) -> None:
        """Let what was wished reach the gateway, if it does so soon."""
        if self._wish is not None and not self._wish.done():
            await asyncio.wait([self._wish], timeout=LEAVING_S)
            self._wish.cancel()

    async def resolve(self, resolution: Resolution) -> None:
        """Decide what the last answer waits for; where somebody else was first, show what stands."""
        self.notice = ""
        try:
            accepted = await self._client.resolve(self.thread, [resolution])
        except ClientError as error:
            self.notice = f"Not taken: {_told(error)}."
            if isinstance(error, ApiError) and error.status in _REFUSED:
                await self._catch_up()
        else:
            self.conversation.resolved(resolution)
            self._goes_on = accepted.status == "in_progress" and self._waits
        self._on_change()

    async def take_back(self) -> str | None:
        """Take the message back that was queued last; returns its text."""
        if not self.queue:
            self.notice = "Nothing is queued."
            self._on_change()
            return None
        last = self.queue[-1]
        taken = await self._tried(lambda: self._client.withdraw(self.thread, last.message_id), "Not taken back")
        await self._line()
        self._on_change()
        return None if taken is None else last.message.text

    async def _cancel(self, run_id: str | None) -> None:
        receipt = await self._tried(lambda: self._client.cancel(self.thread, run_id), "Not cancelled")
        if receipt is None or receipt.status not in {"cancelling", "withdrawn"}:
            self.is_cancelling = False
        self._on_change()

    async def _follow(self) -> None:
        async with aclosing(self._client.follow(self.thread, on_wait=self._wait, on_open=self._open)) as states:
            async for conversation in states:
                self.conversation = conversation
                self._settle()
                self._on_change()

    def _settle(self) -> None:
        """Let go of what is not awaited any more, now that the stream tells it."""
        known = self.conversation
        self._goes_on = self._goes_on and self._waits
        self.sending = [message for message in self.sending if self._holds(message.id) is None]
        if self.queue:
            self.queue = tuple(queued for queued in self.queue if self._holds(queued.message_id) is None)
        if not self.is_busy:
            self.is_cancelling = False
        if known.is_deleted:
            self.lost = "The conversation was deleted. /new begins another."

    @property
    def _waits(self) -> bool:
        """Whether the stream has yet to tell that the answer is gone on with."""
        return self.conversation.status == "requires_action" and not self.conversation.pending

    def _holds(self, message_id: str) -> UIMessage | None:
        return next((message for message in self.conversation.messages if message.id == message_id), None)

    def _wait(self, error: ClientError, seconds: float) -> None:
        self.lost = f"reconnecting in {max(seconds, 1):.0f} s: {_told(error)}"
        self._on_change()

    def _open(self) -> None:
        self.lost = None
        self._on_change()

    async def _watch(self) -> None:
        """Hear what the thread's own stream does not tell: its queue, its title, what others decide."""
        try:
            async with aclosing(self._client.watch(WATCHED)) as events:
                async for told in events:
                    if not isinstance(told, Connected) and told.subject != self.thread:
                        continue
                    if isinstance(told, Connected) or told.type == "decopilot.thread.queue":
                        await self._line()
                    if isinstance(told, Connected) or told.type == "decopilot.thread.titled":
                        await self._name()
                    if not isinstance(told, Connected) and told.type == "decopilot.thread.interactions":
                        await self._catch_up()
                    self._on_change()
        except ClientError as error:
            self.notice = f"What others do is not shown: {_told(error)}."
            self._on_change()

    async def _line(self) -> None:
        try:
            waits = await self._client.queue(self.thread)
        except ClientError as error:
            # What is known stays; the next event corrects it.
            waits = () if isinstance(error, ApiError) and error.status == _UNKNOWN else self.queue
        self.queue = tuple(queued for queued in waits if self._holds(queued.message_id) is None)

    async def _name(self) -> None:
        thread = await self._tried(lambda: self._client.thread(self.thread), None)
        self.title = self.title if thread is None else thread.title

    async def _catch_up(self) -> None:
        thread = await self._tried(lambda: self._client.thread(self.thread), None)
        if thread is not None and not self.conversation.is_answering:
            waits = {asked.key for asked in thread.pending}
            self.conversation.pending = tuple(asked for asked in self.conversation.pending if asked.key in waits)

    async def _tried(self, call: Callable[[], Awaitable[ResultT]], failed: str | None) -> ResultT | None:
        try:
            return await call()
        except (ApiError, ArgumentError, UnreachableError) as error:
            if failed is not None:
                self.notice = f"{failed}: {_told(error)}."
            return None


def _message(text: str) -> UIMessage:
    return UIMessage(id=MessageId(f"msg_{uuid.uuid4().hex}"), role="user", parts=[{"type": "text", "text": text}])


def _told(error: Exception) -> str:
    """Say an error in words that can stand within a sentence."""
    text = error.detail if isinstance(error, ApiError) else str(error)
    return f"{text[:1].lower()}{text[1:]}".rstrip(".")
