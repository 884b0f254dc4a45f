"""Attach tokens: short-lived, for one stream of one thread, where nothing but an address can be given."""

import hmac
import time
from dataclasses import dataclass

import jwt
from pydantic import BaseModel, ConfigDict

from decopilot.contracts.commands import Role
from decopilot.contracts.ids import Org, OrgId, Thread, ThreadId, User
from decopilot_gateway.auth.caller import Caller
from decopilot_gateway.auth.refusing import RefusedTokenError
from decopilot_gateway.auth.tokens import LENGTH_MAX, MALFORMED, too_long

PURPOSE = b"decopilot attach tokens"
_ALGORITHM = "HS256"


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid")
    org: Org
    thread: Thread
    sub: User
    role: Role
    exp: float
    until: float


@dataclass(frozen=True, slots=True)
class AttachToken:
    """A token to begin a stream with until `expires_at`, unix seconds."""

    token: str
    expires_at: float


class AttachTokens:
    """Makes attach tokens, good for `lasts_s`, and checks them; they end with the token that they were made from."""

    def __init__(self, secret: str, *, lasts_s: float) -> None:
        # A key of its own: no token that opens anything else is signed with it.
        self._key = hmac.digest(secret.encode(), PURPOSE, "sha256")
        self.lasts_s = lasts_s

    def make(self, caller: Caller, thread: ThreadId) -> AttachToken:
        """Make a token for a caller to attach to a thread with."""
        expires_at = min(time.time() + self.lasts_s, caller.expires_at)
        said = {
            "org": caller.org,
            "thread": thread,
            "sub": caller.user,
            "role": caller.role,
            "exp": expires_at,
            "until": caller.expires_at,
        }
        return AttachToken(jwt.encode(said, self._key, _ALGORITHM), expires_at)

    def check(self, token: str, org: OrgId, thread: ThreadId) -> tuple[Caller, AttachToken]:
        """Tell who attaches by a token; `expires_at` of the caller is when the token ends that this one was made from.

        Raises:
            RefusedTokenError: it has expired, is for another thread, or we never made it.

        """
        try:
            if len(token) > LENGTH_MAX:
                raise too_long()
            # Told to the fraction of a second, which PyJWT would cut off.
            options = {"verify_exp": False}
            said = _Said.model_validate(jwt.decode(token, self._key, [_ALGORITHM], options=options))  # type: ignore[arg-type]
        except MALFORMED as error:
            raise RefusedTokenError("no_attach_token", "The token is no attach token.") from error
        if time.time() >= said.exp:
            raise RefusedTokenError("expired", "The attach token has expired.", sub=said.sub)
        if (said.org, said.thread) != (org, thread):
            raise RefusedTokenError(
                "other_thread", "The attach token is for another thread.", code="forbidden", sub=said.sub
            )
        return Caller(org, said.sub, said.role, said.until), AttachToken(token, said.exp)
