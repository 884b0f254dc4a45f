"""Who asks: a JWT as bearer, or as cookie where browsers can't send headers."""

import time
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

import jwt
from aiohttp import web
from pydantic import BaseModel

from decopilot.contracts.commands import Role
from decopilot.contracts.ids import Org, OrgId, ThreadId, User, UserId, is_id
from decopilot_gateway.problems import ProblemError

COOKIE = "decopilot_token"
TOKENS_REMEMBERED = 4_096
"""To check one takes as long as all else about a viewer who comes back."""
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Claims(BaseModel):
    """What a token says: `sub` is the user, `orgs` maps each org to the user's role in it."""

    sub: User
    orgs: dict[Org, Role]
    exp: float


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, in which org, with which role."""

    org: OrgId
    user: UserId
    role: Role


class Doorman:
    """Checks tokens."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._checked = lru_cache(TOKENS_REMEMBERED)(self._check)

    def read(self, token: str) -> Claims:
        """Check a token; one that was good is until it expires.

        Raises:
            ProblemError: it is not ours, has expired, or says nothing useful.

        """
        claims = self._checked(token)
        return claims if time.time() < claims.exp else self._check(token)

    def _check(self, token: str) -> Claims:
        try:
            claims = jwt.decode(token, self._secret, algorithms=["HS256"], options={"require": ["exp", "sub"]})
            return Claims.model_validate(claims)
        except (jwt.InvalidTokenError, ValueError, RecursionError, OverflowError) as error:
            # PyJWT lets some of what it trips over through: half characters, headers nested a thousand deep.
            detail = (
                "The token has expired." if isinstance(error, jwt.ExpiredSignatureError) else "The token is invalid."
            )
            raise ProblemError("unauthenticated", detail) from error

    def claims(self, request: web.Request) -> Claims:
        """Read the request's token: the bearer header, else the cookie.

        Raises:
            ProblemError: there is no valid one, or another site wrote with our cookie.

        """
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.read(token.strip())
        cookie = request.cookies.get(cookie_name(request))
        if cookie is None:
            raise ProblemError("unauthenticated", "The request carries no token.")
        if request.method not in _SAFE_METHODS and not _is_same_origin(request):
            raise ProblemError("forbidden", "The request comes from another site.")
        return self.read(cookie)

    def caller(self, request: web.Request) -> Caller:
        """Tell who asks in the org that the path names.

        Raises:
            ProblemError: unauthenticated, a malformed org, or no member of it.

        """
        claims = self.claims(request)
        org = OrgId(id_in_path(request, "org"))
        role = claims.orgs.get(org)
        if role is None:
            raise ProblemError("forbidden", "The token is for other orgs.")
        return Caller(org, claims.sub, role)


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


def cookie_name(request: web.Request) -> str:
    """Name the cookie: one a port, because browsers share cookies between the ports of a host."""
    port = _port(request.host)
    return COOKIE if port is None else f"{COOKIE}_{port}"


def _port(host: str) -> int | None:
    try:
        return urlsplit(f"//{host}").port
    except ValueError:
        return None


def _is_same_origin(request: web.Request) -> bool:
    origin = request.headers.get("Origin")
    return origin is None or origin in {f"http://{request.host}", f"https://{request.host}"}
