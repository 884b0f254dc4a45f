"""Tokens: JWTs (RFC 7519), checked once and remembered until they expire."""

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jwt
from jwt.exceptions import InvalidSubjectError

from decopilot_gateway.auth.caller import Claims
from decopilot_gateway.auth.claims import ClaimError, ClaimsMap
from decopilot_gateway.auth.keys import Keys
from decopilot_gateway.auth.refusing import RefusedTokenError

LENGTH_MAX = 8_192
"""Nothing is made of a longer one."""
TOKENS_REMEMBERED = 4_096
"""To check one takes as long as all else about a viewer who comes back."""
MALFORMED = (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError, NotImplementedError)
"""PyJWT lets some of what it trips over through: half characters, headers nested a thousand deep."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Whose a token must be, and for whom; empty where anything will do. Clocks may be wrong by `leeway_s`."""

    issuer: str = ""
    audience: str = ""
    leeway_s: float = 0.0


class Tokens:
    """Checks tokens."""

    def __init__(self, keys: Keys, rules: Rules, claims_map: ClaimsMap) -> None:
        self._keys = keys
        self._rules = rules
        self._map = claims_map
        self._checked = lru_cache(TOKENS_REMEMBERED)(self._check)

    def forget(self) -> None:
        """Check anew what was checked before: keys have changed."""
        self._checked.cache_clear()

    def read(self, token: str) -> Claims:
        """Check a token; one that was good is until it expires.

        Raises:
            ProblemError: it is not ours, has expired, or says nothing useful; or the keys can't be had.

        """
        if len(token) > LENGTH_MAX:
            raise too_long()
        claims = self._checked(token)
        if time.time() >= claims.expires_at:
            raise RefusedTokenError(*_TOLD[jwt.ExpiredSignatureError], sub=claims.user)
        return claims

    def _check(self, token: str) -> Claims:
        header: dict[str, Any] = {}
        try:
            header = jwt.get_unverified_header(token)
            key = self._keys.key_of(header)
            rules = self._rules
            said: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=key.algorithms,
                issuer=rules.issuer or None,
                audience=rules.audience or None,
                leeway=rules.leeway_s,
                options={"require": ["exp"]},
            )
            expires_at = float(int(said["exp"])) + rules.leeway_s
            return Claims(self._map.user_in(said), self._map.orgs_in(said), expires_at)
        except MALFORMED as error:
            raise _refused(error, token, header) from error


_TOLD: dict[type[Exception], tuple[str, str]] = {
    jwt.InvalidSignatureError: ("bad_signature", "The token is not signed with the key that is known here."),
    jwt.InvalidAlgorithmError: ("bad_algorithm", "The token is signed by an algorithm that its key is not for."),
    jwt.ExpiredSignatureError: ("expired", "The token has expired."),
    jwt.ImmatureSignatureError: ("not_yet_valid", "The token is not valid yet."),
    jwt.InvalidIssuerError: ("other_issuer", "The token is of another issuer."),
    jwt.InvalidAudienceError: ("other_audience", "The token is for another audience."),
    InvalidSubjectError: ("bad_sub", "The token's claim `sub` is no text."),
}
_OF_CLAIMS = (
    ClaimError,
    jwt.MissingRequiredClaimError,
    jwt.ExpiredSignatureError,
    jwt.ImmatureSignatureError,
    jwt.InvalidIssuerError,
    jwt.InvalidAudienceError,
    InvalidSubjectError,
)
"""PyJWT looks at claims, as we do, once the signature has held."""


def _refused(error: Exception, token: str, header: dict[str, Any]) -> RefusedTokenError:
    """Tell what is wrong; of what a token claims nothing, unless its signature held."""
    facts: dict[str, Any] = {name: header.get(name) for name in ("kid", "alg")}
    if isinstance(error, _OF_CLAIMS):
        said = jwt.decode(token, options={"verify_signature": False})  # it held
        facts |= {name: said.get(name) for name in ("sub", "iss")}
    match error:
        case ClaimError():
            return RefusedTokenError(error.reason, error.detail, **facts)
        case jwt.MissingRequiredClaimError():
            return RefusedTokenError(f"no_{error.claim}", f"The token has no claim `{error.claim}`.", **facts)
        case _:
            reason, detail = _TOLD.get(type(error), ("malformed", "The token is malformed."))
            return RefusedTokenError(reason, detail, **facts)


def too_long() -> RefusedTokenError:
    """Refuse a token for its length."""
    return RefusedTokenError("too_long", f"The token is longer than {LENGTH_MAX} characters.")


def kid_of(token: str) -> str | None:
    """Tell the id of the key that a token says it is signed with.

    Raises:
        ValueError: it is malformed.

    """
    if len(token) > LENGTH_MAX:
        msg = "too long"
        raise ValueError(msg)
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except MALFORMED as error:
        msg = "no header can be read"
        raise ValueError(msg) from error
    return kid if isinstance(kid, str) else None
