"""The caller: what a request's token makes of whoever sent it, in the org that the path names."""

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from decopilot.contracts.commands import Role
from decopilot.contracts.ids import OrgId, ThreadId, UserId, is_id
from decopilot_gateway.problems import ProblemError


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: who the user is, and their role in each org; refused from `expires_at` (unix seconds) on."""

    user: UserId
    orgs: Mapping[OrgId, Role]
    expires_at: float


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, in which org, with which role, and until when (unix seconds, the allowed clock skew included)."""

    org: OrgId
    user: UserId
    role: Role
    expires_at: float


def thread_in_path(request: web.Request) -> ThreadId:
    """Read the path's thread id.

    Raises:
        ProblemError: it is malformed.

    """
    return ThreadId(id_in_path(request, "thread"))


def id_in_path(request: web.Request, name: str) -> str:
    """Read an id of the path.

    Raises:
        ProblemError: it is malformed.

    """
    text = request.match_info[name]
    if not is_id(text):
        raise ProblemError("invalid_id", f"The {name} id must be 1 to 64 of A-Z, a-z, 0-9, _ and -.")
    return text
