"""Answering requests: every request gets a typed answer, whatever happens to it."""

from collections.abc import Awaitable, Callable

import structlog
from faststream.nats.annotations import NatsMessage
from opentelemetry.trace import SpanKind
from pydantic import ValidationError

from decopilot.contracts.commands import Accepted, Refused, SendMessage
from decopilot.domain.decider import RefusedError
from decopilot.kit import telemetry
from decopilot.log.store import UNCERTAIN
from decopilot_command.sending import Sender

TOO_LARGE = "The message does not fit the broker."
RESERVE_BYTES = 64 * 1024
"""What the event and the run's first frame hold beside the message: what they can't hold starts no run."""

log = structlog.get_logger()


def answering(sender: Sender, *, max_payload_bytes: int) -> Callable[[NatsMessage], Awaitable[bytes]]:
    """Make the handler of `send_message`: decode, send, encode what came of it."""

    async def answer(message: NatsMessage) -> bytes:
        if len(message.body) > max_payload_bytes - RESERVE_BYTES:
            return Refused(code="body_too_large", detail=TOO_LARGE).model_dump_json().encode()
        return (await _answer(sender, message.body, message.headers)).model_dump_json().encode()

    return answer


async def _answer(sender: Sender, body: bytes, headers: dict[str, str]) -> Accepted | Refused:
    try:
        request = SendMessage.model_validate_json(body)
    except ValidationError as error:
        log.warning("request_malformed", errors=error.error_count())
        return Refused(code="invalid_body", detail="The request does not match its schema.")
    attributes = {telemetry.ORG: request.org, telemetry.THREAD: request.thread}
    with telemetry.span("command send_message", attributes, headers=headers, kind=SpanKind.SERVER):
        try:
            return await sender.send(request)
        except RefusedError as refusal:
            log.info("message_refused", org=request.org, thread=request.thread, code=refusal.code)
            return Refused(code=refusal.code, detail=refusal.detail)
        except UNCERTAIN as error:
            log.warning("message_undecided", org=request.org, thread=request.thread, error=repr(error))
            return Refused(code="broker_unavailable", detail="The broker did not answer in time; send again.")
        except Exception:
            log.exception("message_failed", org=request.org, thread=request.thread)
            return Refused(code="internal", detail="The message could not be taken.")
