"""Commanding: a request to `command`, asked again within a deadline; asking twice is asking once."""

import asyncio
import time
import uuid
from typing import TypeVar

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError, NoRespondersError
from pydantic import BaseModel

from decopilot.contracts import subjects
from decopilot.contracts.commands import PATIENCE, TRY, Accepted, Forked, Receipt, Refused, Reply, decode_reply
from decopilot.kit import telemetry
from decopilot_gateway.metrics import ACCEPT
from decopilot_gateway.problems import ProblemError

DEADLINE_S = 4.5
ATTEMPT_S = 2.0
PAUSE_S = 0.1
HEADER_BYTES = 16 * 1024
"""What headers may take: the broker answers a message that is too large by closing the connection."""

ReplyT = TypeVar("ReplyT", Accepted, Receipt, Forked)


class Commander:
    """Asks `command`."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc

    async def ask(self, name: str, request: BaseModel, expected: type[ReplyT], *, may_repeat: bool = True) -> ReplyT:
        """Ask, and return the reply.

        Where asking twice would not be asking once, it is asked again only while nobody can have heard.

        Raises:
            ProblemError: refused, or no answer within 4.5 s.

        """
        if expected is not Accepted:
            return (await self._ask(name, request, expected, may_repeat=may_repeat))[0]
        began, outcome = time.perf_counter(), "failed"
        try:
            reply, tries = await self._ask(name, request, expected, may_repeat=may_repeat)
            # What we asked twice ourselves is one wish, which took as long as both.
            is_repeat = reply.repeated and tries == 1
            outcome = "repeated" if is_repeat else "accepted"
        except ProblemError as problem:
            if problem.is_refusal:
                outcome = "refused"
            raise
        finally:
            ACCEPT.record(time.perf_counter() - began, {"outcome": outcome})
        return reply

    async def _ask(
        self, name: str, request: BaseModel, expected: type[ReplyT], *, may_repeat: bool
    ) -> tuple[ReplyT, int]:
        body = request.model_dump_json().encode()
        if len(body) > self._nc.max_payload - HEADER_BYTES:
            raise ProblemError("body_too_large", "The message does not fit the broker.")
        reply, tries = await self._reply(name, body, may_repeat=may_repeat)
        if isinstance(reply, Refused):
            raise ProblemError(reply.code, reply.detail, reply.outcome, retry_after_s=reply.retry_after_s)
        if not isinstance(reply, expected):
            msg = f"{name} was answered by {reply.type}"
            raise TypeError(msg)
        return reply, tries

    async def _reply(self, name: str, body: bytes, *, may_repeat: bool) -> tuple[Reply, int]:
        clock = asyncio.get_running_loop().time
        deadline = clock() + DEADLINE_S
        code, tries = "broker_unavailable", 0
        unanswered: list[str] = []
        while (left := deadline - clock()) > 0:
            # What is sent while disconnected would be kept and sent later, after we said that it was not.
            if not self._nc.is_connected:
                break
            tries += 1
            id_, timeout = uuid.uuid4().hex, min(ATTEMPT_S, left) if may_repeat else left
            try:
                headers = telemetry.inject({PATIENCE: f"{timeout:.3f}", TRY: id_})
                message = await self._nc.request(subjects.command(name), body, timeout=timeout, headers=headers)
                reply = decode_reply(message.data)
                if isinstance(reply, Refused) and reply.code == "version_too_old":
                    # Nothing was appended, and another copy may be newer.
                    code = reply.code
                elif not await self._give_up(unanswered) or not isinstance(reply, Refused):
                    return reply, tries
                # What was refused may have been granted to one of those by now: who is asked behind this knows.
            except MaxPayloadError as error:
                raise ProblemError("body_too_large", "The message does not fit the broker.") from error
            except NoRespondersError:
                code = "command_unavailable"
            except (NatsError, TimeoutError, OSError) as error:
                # A last try that our own deadline cuts short says nothing of the broker.
                if timeout >= ATTEMPT_S or not isinstance(error, TimeoutError):
                    code = "broker_unavailable"
                if not may_repeat:
                    break
                unanswered.append(id_)
            await asyncio.sleep(PAUSE_S)
        raise ProblemError(code, "No answer in time; ask the same again.")

    async def _give_up(self, tries: list[str]) -> bool:
        """Say that nothing is to be appended for these any more; False where there are none (ADR 0060)."""
        if not tries:
            return False
        for id_ in tries:
            await self._nc.publish(subjects.GIVEN_UP, id_.encode())
        tries.clear()
        return True
