"""Wishing: what clients ask of a thread beside posting to it, checked and turned into commands."""

from typing import Annotated, Self, TypedDict

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints, model_validator

from decopilot.contracts.commands import (
    ARCHIVE_THREAD,
    CANCEL_RUN,
    DELETE_THREAD,
    RESOLVE_INTERACTIONS,
    RETITLE_THREAD,
    SET_VISIBILITY,
    TITLE_MAX,
    WITHDRAW_MESSAGE,
    Accepted,
    ArchiveThread,
    CancelRun,
    DeleteThread,
    Receipt,
    ResolveInteractions,
    RetitleThread,
    Role,
    SetVisibility,
    Visibility,
    WithdrawMessage,
)
from decopilot.contracts.ids import MessageId, OrgId, Run, RunId, ThreadId, UserId, is_id
from decopilot_gateway.auth import Doorman, id_in_path, thread_in_path
from decopilot_gateway.bodies import read_body, read_body_if_any
from decopilot_gateway.commanding import Commander
from decopilot_gateway.facts import InteractionsBody
from decopilot_gateway.problems import ProblemError


class Wisher(TypedDict):
    """Who wishes, of which thread: what every request to `command` begins with."""

    org: OrgId
    thread: ThreadId
    user: UserId
    role: Role


class CancelBody(BaseModel):
    """Body of `POST …/cancel/{thread}`, which may be left out."""

    run_id: Run | None = Field(default=None, alias="runId")


class ChangeBody(BaseModel):
    """Body of `PATCH …/threads/{thread}`: one change, for each is an event of its own."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [change]} for change in ("title", "archived", "visibility")]}
    )
    title: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=TITLE_MAX)] | None = None
    archived: StrictBool | None = None
    visibility: Visibility | None = None

    @model_validator(mode="after")
    def _check_one_change(self) -> Self:
        if [self.title, self.archived, self.visibility].count(None) != 2:  # noqa: PLR2004  all but one
            msg = "expected one of title, archived and visibility"
            raise ValueError(msg)
        return self


class Wishing:
    """Handles what changes a thread without a new message."""

    def __init__(self, doorman: Doorman, commander: Commander) -> None:
        self._doorman = doorman
        self._commander = commander

    async def resolve(self, request: web.Request) -> web.Response:
        """Resolve what the thread waits for: 202 once that is in the log."""
        who = self._wisher(request)
        body = await read_body(request, InteractionsBody)
        wish = ResolveInteractions(**who, resolutions=tuple(given.fact() for given in body.resolutions))
        return accepted_response(await self._commander.ask(RESOLVE_INTERACTIONS, wish, Accepted))

    async def cancel(self, request: web.Request) -> web.Response:
        """Ask for a run's end; without its id, for that of the one that is active."""
        who = self._wisher(request)
        run = _run_in_query(request)
        body = await read_body_if_any(request, CancelBody)
        if body is not None and body.run_id is not None:
            if run not in {body.run_id, None}:
                raise ProblemError("invalid_query", "The runId in the URL does not match the one in the body.")
            run = body.run_id
        # Asked again without its id, another run could have become the active one.
        may_repeat = run is not None
        wish = CancelRun(**who, run_id=run)
        return _receipt(await self._commander.ask(CANCEL_RUN, wish, Receipt, may_repeat=may_repeat))

    async def withdraw(self, request: web.Request) -> web.Response:
        """Take a queued message back."""
        who = self._wisher(request)
        wish = WithdrawMessage(**who, message_id=MessageId(id_in_path(request, "message")))
        return _receipt(await self._commander.ask(WITHDRAW_MESSAGE, wish, Receipt))

    async def change(self, request: web.Request) -> web.Response:
        """Give the thread another title, put it aside, take it back, or say who reads it."""
        who = self._wisher(request)
        body = await read_body(request, ChangeBody)
        if body.archived is not None:
            wish = ArchiveThread(**who, archived=body.archived)
            return _receipt(await self._commander.ask(ARCHIVE_THREAD, wish, Receipt))
        if body.visibility is not None:
            shown = SetVisibility(**who, visibility=body.visibility)
            return _receipt(await self._commander.ask(SET_VISIBILITY, shown, Receipt))
        title = RetitleThread(**who, title=body.title or "")
        return _receipt(await self._commander.ask(RETITLE_THREAD, title, Receipt))

    async def delete(self, request: web.Request) -> web.Response:
        """Delete the thread."""
        wish = DeleteThread(**self._wisher(request))
        return _receipt(await self._commander.ask(DELETE_THREAD, wish, Receipt))

    def _wisher(self, request: web.Request) -> Wisher:
        caller = self._doorman.caller(request)
        return Wisher(org=caller.org, thread=thread_in_path(request), user=caller.user, role=caller.role)


def accepted_response(accepted: Accepted) -> web.Response:
    """Tell that a run is in the log."""
    body = {
        "taskId": accepted.thread,
        "runId": accepted.run_id,
        "messageId": accepted.message_id,
        "status": accepted.status,
        "cursor": accepted.cursor,
    }
    return web.json_response(body, status=202)


def _receipt(receipt: Receipt) -> web.Response:
    body = {"taskId": receipt.thread, "runId": receipt.run_id, "status": receipt.status}
    return web.json_response(body, status=202)


def _run_in_query(request: web.Request) -> RunId | None:
    text = request.query.get("runId")
    if text is not None and not is_id(text):
        raise ProblemError("invalid_id", "The runId must be 1 to 64 of A-Z, a-z, 0-9, _ and -.")
    return None if text is None else RunId(text)
