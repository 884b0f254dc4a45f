"""Problems: every refusal as an RFC 9457 document with a stable code."""

from http import HTTPStatus
from typing import Any

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from decopilot.contracts.events import UnknownEventError
from decopilot.contracts.problems import PROBLEMS
from decopilot.domain.commands import RefusedError
from decopilot.log.store import UNCERTAIN
from decopilot_gateway.metrics import REFUSALS

RETRY_AFTER_S = 1
SERVER = "decopilot"
"""What answers say of us, in the place of aiohttp's name and version."""
_RETRY_AFTER_BY_STATUS_S = {503: RETRY_AFTER_S, 429: 5}
_RETRY_AFTER_S = {"storage_full": 30}
"""Chunks make room for others as long after the end of their runs."""
_BY_STATUS = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}

log = structlog.get_logger()


class ProblemError(Exception):
    """A request is refused. `code` is one of `problems.PROBLEMS`; `detail` is shown to the caller.

    `outcome` tells what stands instead of what was asked for, where that is the reason; `retry_after_s` when to ask
    again, where that is known better than by the status.
    """

    def __init__(
        self, code: str, detail: str, outcome: dict[str, Any] | None = None, *, retry_after_s: int | None = None
    ) -> None:
        self.code, self.detail, self.outcome, self.retry_after_s = code, detail, outcome, retry_after_s
        super().__init__(f"{code}: {detail}")

    @property
    def is_refusal(self) -> bool:
        """Whether it is the caller's to change something; else nobody knows, or the same may be asked again."""
        return self.code in PROBLEMS and PROBLEMS[self.code].status < HTTPStatus.INTERNAL_SERVER_ERROR


def problem_response(
    code: str, detail: str, outcome: dict[str, Any] | None = None, *, retry_after_s: int | None = None
) -> web.Response:
    """Render a problem."""
    # A newer `command` may know codes that this gateway does not.
    REFUSALS.add(1, {"code": code if code in PROBLEMS else "internal"})
    status, title = PROBLEMS.get(code, PROBLEMS["internal"])
    wait_s = retry_after_s or _RETRY_AFTER_S.get(code) or _RETRY_AFTER_BY_STATUS_S.get(status)
    # Here, too, because a refusal of the connection passes no hook of the application.
    headers = {hdrs.SERVER: SERVER} | ({} if wait_s is None else {"Retry-After": str(wait_s)})
    if status == 401:  # noqa: PLR2004  HTTP
        headers["WWW-Authenticate"] = "Bearer"
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
    }
    if outcome is not None:
        body["outcome"] = outcome
    return web.json_response(body, status=status, content_type="application/problem+json", headers=headers)


def problem_bytes(code: str, detail: str) -> bytes:
    """Render a problem as a whole answer, for a connection that never came to a request; it is closed behind it."""
    response = problem_response(code, detail)
    body = response.body
    assert isinstance(body, bytes)  # noqa: S101  for mypy: it was made of text
    fields = {**response.headers, "Content-Length": str(len(body)), "Cache-Control": "no-store", "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {response.status} {response.reason}\r\n{head}\r\n".encode() + body


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:  # noqa: PLR0911  one case per kind
    """Turn what handlers raise into problems; what nobody foresaw is logged and told without its text."""
    try:
        return await handler(request)
    except ProblemError as problem:
        return problem_response(problem.code, problem.detail, problem.outcome, retry_after_s=problem.retry_after_s)
    except RefusedError as refused:
        return problem_response(refused.code, refused.detail, refused.outcome, retry_after_s=refused.retry_after_s)
    except web.HTTPException as error:
        if error.status not in _BY_STATUS:
            raise
        response = problem_response(_BY_STATUS[error.status], error.reason)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except UnknownEventError as error:
        log.warning("event_unknown", path=request.path, sequence=error.sequence)
        return problem_response("version_too_old", "A newer version has written to the thread; ask again.")
    except UNCERTAIN as error:
        log.warning("broker_unavailable", path=request.path, error=repr(error))
        return problem_response("broker_unavailable", "The broker does not answer; try again.")
    except Exception:
        log.exception("request_failed", path=request.path)
        return problem_response("internal", "This is our fault; it has been logged.")
