"""Tokens that open the gateway: who the user is, and their role per org."""

from datetime import datetime, timedelta
from enum import StrEnum

from decopilot.cli.errors import CliError

# RFC 7518, section 3.2: a key for HS256 has at least the size of the hash.
MIN_SECRET_BYTES = 32
MAX_USER_CHARS = 256


class Role(StrEnum):
    """What a user may do in an org."""

    OWNER = "owner"
    MEMBER = "member"
    VIEWER = "viewer"
    SERVICE = "service"


def issue_token(secret: str, *, org: str, user: str, role: Role, hours: int, now: datetime) -> str:
    """Return a JWT (HS256) with the claims `sub`, `orgs`, `iat` and `exp`.

    Raises `CliError` for an org that is no id, a user of no or more than 256 characters, a secret too short to sign.
    """
    import jwt  # noqa: PLC0415 - it loads a cryptography library that `--help` can do without

    from decopilot.contracts.ids import is_id  # noqa: PLC0415 - as above, for pydantic

    if not is_id(org):
        message = f"The org id must be 1 to 64 of A-Z, a-z, 0-9, _ and -, which {org[:64]!r} is not."
        raise CliError(message)
    if not 1 <= len(user) <= MAX_USER_CHARS:
        message = f"A user has 1 to {MAX_USER_CHARS} characters; this one has {len(user)}."
        raise CliError(message)
    if len(secret.encode()) < MIN_SECRET_BYTES:
        message = f"The JWT secret is shorter than {MIN_SECRET_BYTES} bytes: anyone could guess it and sign tokens."
        raise CliError(message)
    claims = {
        "sub": user,
        "orgs": {org: role.value},
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(hours=hours)).timestamp()),
    }
    return jwt.encode(claims, secret, algorithm="HS256")
