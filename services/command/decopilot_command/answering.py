"""Answering requests: every request gets a typed answer, whatever happens to it."""

import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import structlog
from faststream.nats.annotations import NatsMessage
from opentelemetry.trace import SpanKind
from pydantic import ValidationError

from decopilot.contracts.commands import Refused, Reply
from decopilot.contracts.events import UnknownEventError
from decopilot.contracts.problems import PROBLEMS
from decopilot.domain.commands import RefusedError
from decopilot.kit import telemetry
from decopilot.kit.intake import DROPPED, Answerer
from decopilot.log.store import UNCERTAIN, MessageTooLargeError
from decopilot_command.giving_up import GivenUpError, Tries
from decopilot_command.metrics import COMMAND
from decopilot_command.wishes import Wish

TOO_LARGE = "The message does not fit the broker."
TOO_OLD = "A newer version has written to the thread; ask again."
RESERVE_BYTES = 64 * 1024
"""What the event and the run's first frame hold beside the message: what they can't hold starts no run."""

log = structlog.get_logger()


def answering(wish: Wish[Any], tries: Tries, *, max_payload_bytes: int) -> Answerer:
    """Make the handler of a kind of request: decode, grant, encode what came of it; nothing, if it was given up."""

    def take(message: NatsMessage) -> Callable[[], Awaitable[bytes | None]]:
        taken = tries.take(message.headers)

        async def answer() -> bytes | None:
            began = time.perf_counter()
            if len(message.body) > max_payload_bytes - RESERVE_BYTES:
                reply: Reply | None = Refused(code="body_too_large", detail=TOO_LARGE)
            else:
                with tries.working_on(taken):
                    reply = await _answer(wish, tries, message.body, message.headers)
            if reply is None:
                DROPPED.add(1)
                return None
            COMMAND.record(time.perf_counter() - began, {"command": wish.name, "outcome": _outcome(reply)})
            return reply.model_dump_json().encode()

        return answer

    return take


async def _answer(  # noqa: PLR0911  one case per outcome
    wish: Wish[Any], tries: Tries, body: bytes, headers: dict[str, str]
) -> Reply | None:
    try:
        request = wish.form.model_validate_json(body)
    except ValidationError as error:
        log.warning("request_malformed", name=wish.name, errors=error.error_count())
        return Refused(code="invalid_body", detail="The request does not match its schema.")
    about = {"name": wish.name, "org": request.org, "thread": request.thread}
    attributes = {telemetry.ORG: request.org, telemetry.THREAD: request.thread}
    with telemetry.span(f"command {wish.name}", attributes, headers=headers, kind=SpanKind.SERVER):
        try:
            tries.check()
            return await wish.grant(request)
        except RefusedError as refusal:
            log.info("request_refused", code=refusal.code, **about)
            return Refused(
                code=refusal.code,
                detail=refusal.detail,
                outcome=refusal.outcome,
                retry_after_s=refusal.retry_after_s,
            )
        except GivenUpError:
            log.info("request_given_up", **about)
            return None
        except MessageTooLargeError as error:
            # What was resolved bit by bit goes on in one event.
            log.info("request_refused", code="body_too_large", size_bytes=error.size_bytes, **about)
            return Refused(code="body_too_large", detail=TOO_LARGE)
        except UnknownEventError as error:
            # Nothing is decided on a state that can't be known here: a newer copy is to be asked.
            log.warning("event_unknown", sequence=error.sequence, **about)
            return Refused(code="version_too_old", detail=TOO_OLD)
        except UNCERTAIN as error:
            log.warning("request_undecided", error=repr(error), **about)
            return Refused(code="broker_unavailable", detail="The broker did not answer in time; ask again.")
        except Exception:
            log.exception("request_failed", **about)
            return Refused(code="internal", detail="This could not be done.")


def _outcome(reply: Reply) -> str:
    if not isinstance(reply, Refused):
        return "granted"
    return "failed" if PROBLEMS[reply.code].status >= HTTPStatus.INTERNAL_SERVER_ERROR else "refused"
