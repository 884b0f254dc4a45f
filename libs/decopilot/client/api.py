"""The client: what one may ask of a gateway, asked for as often as it takes."""

import asyncio
import mimetypes
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack
from urllib.parse import urljoin

from pydantic import BaseModel, ValidationError

from decopilot.client import attaching, watching
from decopilot.client.attaching import Event, Replay
from decopilot.client.bodies import (
    AnswerOptions,
    SendOptions,
    fire_body,
    messages_body,
    regenerate_body,
    resolutions_body,
    user_message,
)
from decopilot.client.calling import TRANSIENT, Caller, Content, OnWait, Token, backoff, checked_id
from decopilot.client.conversation import Conversation
from decopilot.client.downloading import download
from decopilot.client.errors import ApiError, ClientError, UnreachableError
from decopilot.client.models import (
    Accepted,
    Agent,
    AllowedModels,
    AttachToken,
    Automation,
    File,
    Fork,
    History,
    Link,
    Queued,
    Receipt,
    Run,
    RunInspection,
    RunResult,
    Thread,
    ThreadSummary,
)
from decopilot.client.streaming import OnOpen, Stream
from decopilot.client.waiting import Waiter
from decopilot.client.watching import Connected, WatchEvent
from decopilot.contracts.chunks import Chunk
from decopilot.contracts.commands import Visibility
from decopilot.contracts.interactions import Resolution
from decopilot.contracts.messages import UIMessage

ModelT = TypeVar("ModelT", bound=BaseModel)

_NOT_FOUND = 404
_BEGINNING = "0-0"

OnChunk = Callable[[Chunk], None]
OnAccepted = Callable[[Accepted], None]


class Client:
    """Speaks with a gateway for one org; an asynchronous context manager.

    `token` is a JWT, or a callable that gives one for each request, and another where that is refused (401). A call
    that gets no answer, or one that time may cure, is repeated for `deadline_s`: every call but a cancel without a run
    is such that twice is once. While a run is waited for, silence of `silence_s` is asked about.

    Every method raises `ApiError` for a refusal, `UnreachableError` where no answer came in time, and `ArgumentError`
    for an id that is none or a text that is empty.
    """

    def __init__(self, url: str, token: Token, org: str, *, deadline_s: float = 30.0, silence_s: float = 15.0) -> None:
        self._caller = Caller(url, token, org, deadline_s=deadline_s)
        self._silence_s = silence_s

    async def __aenter__(self) -> Self:
        await self._caller.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._caller.__aexit__(kind, error, trace)

    async def send(
        self,
        thread: str,
        message: str | UIMessage,
        *,
        message_id: str | None = None,
        **options: Unpack[SendOptions],
    ) -> Accepted:
        """Send a message; when this returns, its run is in the log.

        Its id is made once per call, unless it is given: sending the same message under the same id again, at any time,
        tells how its run stands.
        """
        return await self._post(thread, messages_body(user_message(message, message_id), options))

    async def run_and_wait(
        self,
        thread: str,
        message: str | UIMessage,
        *,
        message_id: str | None = None,
        on_chunk: OnChunk | None = None,
        on_accepted: OnAccepted | None = None,
        on_wait: OnWait | None = None,
        **options: Unpack[SendOptions],
    ) -> RunResult:
        """Send a message and wait for the end of its run, however long that takes and whatever dies meanwhile.

        `on_chunk` sees the run's chunks as they come, each once; after a `data-thread-reset` it may see some again, or
        miss some. The result is whole all the same. `on_wait` is told of each wait: for a limit
        to let the message in, and for another connection.
        """
        body = messages_body(user_message(message, message_id), options)
        return await self._wait(partial(self._post, thread, body), on_chunk, on_accepted, on_wait)

    async def regenerate(
        self, thread: str, message_id: str | None = None, **options: Unpack[AnswerOptions]
    ) -> Accepted:
        """Have a message answered anew: a user's, or the one that an answer answers; without an id, the last one.

        What stands behind it leaves the thread. While a run goes on it is refused (`run_active`).
        """
        return await self._regenerate(thread, regenerate_body(message_id, options))

    async def regenerate_and_wait(
        self,
        thread: str,
        message_id: str | None = None,
        *,
        on_chunk: OnChunk | None = None,
        on_accepted: OnAccepted | None = None,
        on_wait: OnWait | None = None,
        **options: Unpack[AnswerOptions],
    ) -> RunResult:
        """Have a message answered anew, and wait for the end of the run that does so, as `run_and_wait` does."""
        body = regenerate_body(message_id, options)
        return await self._wait(partial(self._regenerate, thread, body), on_chunk, on_accepted, on_wait)

    async def fork(
        self,
        thread: str,
        message_id: str | None = None,
        *,
        into: str | None = None,
        visibility: Visibility | None = None,
    ) -> Fork:
        """Begin another thread, of a new id or `into` this one, with what a thread holds up to a message of it.

        It is as visible as that thread, unless told otherwise.
        """
        body = {"threadId": checked_id(into or f"thrd_{uuid.uuid4().hex}", "thread")}
        if message_id is not None:
            body["messageId"] = message_id
        if visibility is not None:
            body["visibility"] = visibility
        return _read(Fork, await self._caller.call("POST", f"{_path(thread)}/fork", body))

    async def resolve(self, thread: str, resolutions: Iterable[Resolution]) -> Accepted:
        """Resolve what a thread waits for: all of it, and the run goes on; some of it, and it waits for the rest."""
        return await self._resolve(thread, resolutions_body(resolutions))

    async def resolve_and_wait(
        self,
        thread: str,
        resolutions: Iterable[Resolution],
        *,
        on_chunk: OnChunk | None = None,
        on_accepted: OnAccepted | None = None,
        on_wait: OnWait | None = None,
    ) -> RunResult:
        """Resolve what a thread waits for, and wait for the end of the run that goes on, as `run_and_wait` does."""
        body = resolutions_body(resolutions)
        return await self._wait(partial(self._resolve, thread, body), on_chunk, on_accepted, on_wait)

    async def automations(self) -> tuple[Automation, ...]:
        """Read the org's automations, by name."""
        body = await self._caller.call("GET", "decopilot/automations")
        return tuple(_read(Automation, automation) for automation in body["automations"])

    async def fire(self, name: str, context: str = "", *, id_: str | None = None) -> Accepted:
        """Have an automation begin on a fresh thread; `context` is a text that its message is followed by.

        Its id, a letter and up to 25 letters or digits, is made once per call, unless it is given: firing under the
        same id again tells how that run stands.
        """
        return await self._fire(name, fire_body(context, id_))

    async def fire_and_wait(
        self,
        name: str,
        context: str = "",
        *,
        id_: str | None = None,
        on_chunk: OnChunk | None = None,
        on_accepted: OnAccepted | None = None,
        on_wait: OnWait | None = None,
    ) -> RunResult:
        """Have an automation begin, and wait for the end of its run, as `run_and_wait` does."""
        return await self._wait(partial(self._fire, name, fire_body(context, id_)), on_chunk, on_accepted, on_wait)

    def attach(
        self,
        thread: str,
        cursor: str | None = None,
        *,
        replay: Replay = "full",
        on_wait: OnWait | None = None,
        on_open: OnOpen | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Yield the thread's chunks from a cursor on, across runs, each once, over as many connections as it takes.

        `0-0` is before everything; without a cursor it starts at the active run, as `replay` says, or waits for the
        next. It ends only when it is closed (`contextlib.aclosing`), and understands `data-run-rewind`, so do what that
        says: a fold of `decopilot.domain.fold` does. `on_wait` is told why and for how long it waits for another
        connection, `on_open` of each one that it has.
        """
        query = {"rewind": "true"} | ({} if replay == "full" else {"replay": replay})
        path = f"decopilot/attach/{checked_id(thread, 'thread')}"
        return attaching.attach(self._stream(path, query, on_wait, on_open), cursor)

    async def follow(
        self, thread: str, *, on_wait: OnWait | None = None, on_open: OnOpen | None = None
    ) -> AsyncGenerator[Conversation, None]:
        """Yield a thread's conversation, first as its history has it, then with each chunk; always the same object.

        It ends when it is closed, or after the thread was deleted. `on_wait` is also told of waits for the history.
        """
        conversation = Conversation()
        read = partial(self._read_into, conversation, thread, on_wait)
        await read()
        yield conversation
        events = self.attach(thread, conversation.cursor or _BEGINNING, on_wait=on_wait, on_open=on_open)
        async with aclosing(events):
            async for event in events:
                conversation.take(event)
                await read()
                yield conversation
                if conversation.is_deleted:
                    return

    def watch(
        self,
        types: Iterable[str] = (),
        cursor: str | None = None,
        *,
        on_wait: OnWait | None = None,
        on_open: OnOpen | None = None,
    ) -> AsyncGenerator[Connected | WatchEvent, None]:
        """Yield what happens to the org's threads, each event once, over as many connections as it takes.

        `types` are names, or patterns such as `decopilot.thread.*`; none means all. It begins now, or behind a cursor,
        and ends only when it is closed. `Connected` says whether what was told meanwhile is all here.
        """
        asked = ",".join(types)
        stream = self._stream("watch", {"types": asked} if asked else {}, on_wait, on_open)
        return watching.watch(stream, cursor)

    async def cancel(self, thread: str, run_id: str | None = None) -> Receipt:
        """Ask for a run's end; without its id, for that of the one that is active now, and then never twice."""
        body = None if run_id is None else {"runId": run_id}
        path = f"decopilot/cancel/{checked_id(thread, 'thread')}"
        # Asked for again without its id, another run could have become the active one.
        return _read(Receipt, await self._caller.call("POST", path, body, may_repeat=run_id is not None))

    async def upload(
        self, thread: str, content: bytes | Path, *, name: str | None = None, media_type: str | None = None
    ) -> File:
        """Upload a file for a message: `UIMessage(…, parts=[{"type": "text", "text": …}, file.part])`.

        A path is read while it is sent. The type is guessed by the name, unless it is given.

        Raises:
            OSError: the path can't be read.

        """
        name = name or (content.name if isinstance(content, Path) else None)
        kind = media_type or mimetypes.guess_type(name or "")[0] or "application/octet-stream"
        query = {} if name is None else {"filename": name}
        return _read(
            File, await self._caller.call("POST", f"{_path(thread)}/files", Content(content, kind), query=query)
        )

    def file(self, thread: str, file: str) -> AsyncGenerator[bytes, None]:
        """Yield a file's bytes, piece by piece; where a connection is lost, another one goes on behind what came."""
        return download(self._caller, f"{_path(thread)}/files/{checked_id(file, 'file')}")

    async def read_file(self, thread: str, file: str) -> bytes:
        """Read a whole file."""
        return b"".join([piece async for piece in self.file(thread, file)])

    async def link(self, thread: str, file: str) -> Link:
        """Make an address that serves a file to whoever has it, without a token, until it expires."""
        path = f"{_path(thread)}/files/{checked_id(file, 'file')}/link"
        link = _read(Link, await self._caller.call("POST", path))
        return link.model_copy(update={"url": urljoin(self._caller.url, link.url)})

    async def attach_token(self, thread: str) -> AttachToken:
        """Make a token for a browser to begin a stream of this thread with, and for nothing else.

        The stream brings the next one itself, as the chunk `data-attach-token` (docs/protocol.md, 63).
        """
        made = _read(AttachToken, await self._caller.call("POST", f"{_path(thread)}/attach-token"))
        return made.model_copy(update={"url": urljoin(self._caller.url, made.url)})

    async def allowed_models(self) -> AllowedModels:
        """Read which models the caller's role may use, and which of them stands behind each tier."""
        return _read(AllowedModels, await self._caller.call("GET", "decopilot/allowed-models"))

    async def agents(self) -> tuple[Agent, ...]:
        """Read which agents a message may name, the default one first."""
        body = await self._caller.call("GET", "decopilot/agents")
        return tuple(_read(Agent, agent) for agent in body["agents"])

    async def threads(self, *, limit: int | None = None) -> tuple[ThreadSummary, ...]:
        """Read the org's threads, the one that changed last first."""
        query = {} if limit is None else {"limit": str(limit)}
        body = await self._caller.call("GET", "decopilot/threads", query=query)
        return tuple(_read(ThreadSummary, thread) for thread in body["threads"])

    async def messages(self, thread: str) -> History:
        """Read a thread's finished messages."""
        return _read(History, await self._caller.call("GET", f"{_path(thread)}/messages"))

    async def thread(self, thread: str) -> Thread:
        """Read how a thread stands."""
        return _read(Thread, await self._caller.call("GET", _path(thread)))

    async def runs(self, thread: str, *, limit: int = 100, before: str | None = None) -> tuple[Run, ...]:
        """Read a thread's runs, the newest first: up to `limit`, of those that are older than the run `before`."""
        query = {"limit": str(limit)} | ({} if before is None else {"before": before})
        body = await self._caller.call("GET", f"{_path(thread)}/runs", query=query)
        return tuple(_read(Run, run) for run in body["runs"])

    async def run(self, thread: str, run_id: str, *, after: int = 0) -> RunInspection:
        """Read what the log holds of a run: its events, and its frames behind a sequence, some at a time."""
        path = f"{_path(thread)}/runs/{checked_id(run_id, 'run')}"
        return _read(RunInspection, await self._caller.call("GET", path, query={"after": str(after)}))

    async def queue(self, thread: str) -> tuple[Queued, ...]:
        """Read which messages wait their turn, the next one first."""
        body = await self._caller.call("GET", f"{_path(thread)}/queue")
        return tuple(_read(Queued, queued) for queued in body["queue"])

    async def withdraw(self, thread: str, message_id: str) -> Receipt:
        """Take a queued message back."""
        path = f"{_path(thread)}/queue/{checked_id(message_id, 'message')}"
        return _read(Receipt, await self._caller.call("DELETE", path))

    async def retitle(self, thread: str, title: str) -> Receipt:
        """Give a thread another title."""
        return _read(Receipt, await self._caller.call("PATCH", _path(thread), {"title": title}))

    async def archive(self, thread: str, archived: bool = True) -> Receipt:  # noqa: FBT001, FBT002  reads as a sentence
        """Put a thread aside, or take it back; a message that is sent to it takes it back, too."""
        return _read(Receipt, await self._caller.call("PATCH", _path(thread), {"archived": archived}))

    async def set_visibility(self, thread: str, visibility: Visibility) -> Receipt:
        """Say who reads a thread: all of its org, or its owner and the org's owners only."""
        return _read(Receipt, await self._caller.call("PATCH", _path(thread), {"visibility": visibility}))

    async def delete(self, thread: str) -> Receipt:
        """Delete a thread and all that it holds."""
        return _read(Receipt, await self._caller.call("DELETE", _path(thread)))

    def _stream(self, path: str, query: dict[str, str], on_wait: OnWait | None, on_open: OnOpen | None) -> Stream:
        told = {"on_wait": on_wait, "on_open": on_open}
        return Stream(self._caller, path, query, **{name: callback for name, callback in told.items() if callback})  # type: ignore[arg-type]

    async def _read_into(self, conversation: Conversation, thread: str, on_wait: OnWait | None) -> None:
        """Read the history as often as it takes for it to have what the conversation lacks."""
        pauses = backoff()
        while conversation.needs_history:
            try:
                conversation.load(await self.messages(thread))
            except UnreachableError as error:
                failure: ClientError | None = error
            except ApiError as error:
                if error.status == _NOT_FOUND:
                    # Nobody has written to it yet, or it was deleted: the stream tells which.
                    conversation.load(None)
                elif error.status not in TRANSIENT:
                    raise
                failure = error
            else:
                failure = None
            if conversation.needs_history:
                pause_s = next(pauses)
                if failure is not None and on_wait is not None:
                    on_wait(failure, pause_s)
                await asyncio.sleep(pause_s)

    async def _post(self, thread: str, body: dict[str, Any], on_wait: OnWait | None = None) -> Accepted:
        return _read(Accepted, await self._caller.call("POST", f"{_path(thread)}/messages", body, on_wait=on_wait))

    async def _regenerate(self, thread: str, body: dict[str, Any], on_wait: OnWait | None = None) -> Accepted:
        return _read(Accepted, await self._caller.call("POST", f"{_path(thread)}/regenerate", body, on_wait=on_wait))

    async def _resolve(self, thread: str, body: dict[str, Any], on_wait: OnWait | None = None) -> Accepted:
        return _read(Accepted, await self._caller.call("POST", f"{_path(thread)}/interactions", body, on_wait=on_wait))

    async def _fire(self, name: str, body: dict[str, Any], on_wait: OnWait | None = None) -> Accepted:
        path = f"decopilot/automations/{checked_id(name, 'automation')}/fire"
        return _read(Accepted, await self._caller.call("POST", path, body, on_wait=on_wait))

    async def _wait(
        self,
        ask: Callable[..., Awaitable[Accepted]],
        on_chunk: OnChunk | None,
        on_accepted: OnAccepted | None,
        on_wait: OnWait | None,
    ) -> RunResult:
        accepted = await ask(on_wait=on_wait)
        if on_accepted is not None:
            on_accepted(accepted)
        waiter = Waiter(
            accepted,
            attach=partial(self.attach, accepted.thread, on_wait=on_wait),
            ask=ask,
            read=partial(self.messages, accepted.thread),
            on_chunk=on_chunk,
            silence_s=self._silence_s,
        )
        return await waiter.wait()


def _path(thread: str) -> str:
    return f"decopilot/threads/{checked_id(thread, 'thread')}"


def _read(model: type[ModelT], body: object) -> ModelT:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise ApiError(200, "unknown", "The answer is not of the expected form: another version's?") from error
