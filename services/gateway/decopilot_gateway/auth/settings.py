"""What the gateway is told about tokens: who signs them, what they must say, and what they call things."""

import ipaddress
import json
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from decopilot.contracts.commands import Role
from decopilot.kit.settings import Settings

SECRET_MIN = 32
"""So many characters a secret has at least: as many bytes as HS256 makes of it (RFC 7518, 3.2)."""
_SOURCES = ("jwt_secret", "jwt_public_key_file", "jwt_jwks_url")


class AuthSettings(Settings):
    """Settings of the door. Tokens are signed by one of `jwt_secret`, `jwt_public_key_file` and `jwt_jwks_url`.

    `jwt_issuer` and `jwt_audience` are what their `iss` and `aud` must be; a clock may be wrong by `jwt_leeway_s`.
    Claims are named by dotted paths: `jwt_user_claim`, `jwt_orgs_claim` (org → role, a list of orgs, or one) and, where
    that names no roles, `jwt_role_claim`, else `jwt_default_role`. `jwt_roles` maps the issuer's roles to ours.

    `signing_secret` signs what the gateway gives out itself: links to files, and attach tokens, good for
    `attach_token_s`. `public_url` is where browsers find the gateway.
    """

    jwt_secret: SecretStr | None = None
    jwt_public_key_file: Path | None = None
    jwt_jwks_url: str = ""
    jwt_issuer: str = ""
    jwt_audience: str = ""
    jwt_leeway_s: float = Field(default=5.0, ge=0, le=300)
    jwt_user_claim: str = Field(default="sub", min_length=1)
    jwt_orgs_claim: str = Field(default="orgs", min_length=1)
    jwt_role_claim: str = ""
    jwt_default_role: Role | None = None
    jwt_roles: Annotated[dict[str, Role], NoDecode] = Field(default_factory=dict)
    signing_secret: SecretStr | None = None
    attach_token_s: float = Field(default=300.0, ge=1, le=86_400)
    public_url: str = ""

    @field_validator("jwt_secret", "signing_secret")
    @classmethod
    def _check_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value) < SECRET_MIN:
            msg = f"expected {SECRET_MIN} characters or more, not {len(value)}"
            raise ValueError(msg)
        return value

    @field_validator("jwt_roles", mode="before")
    @classmethod
    def _read_roles(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        msg = 'expected the issuer\'s roles and ours as JSON, such as {"chat-admin": "owner"}'
        try:
            roles = json.loads(value)
        except ValueError as error:
            raise ValueError(msg) from error
        if not isinstance(roles, dict):
            raise ValueError(msg)  # noqa: TRY004  pydantic makes a message of this one alone
        return roles

    @field_validator("jwt_jwks_url")
    @classmethod
    def _check_jwks_url(cls, value: str) -> str:
        # Whoever can change the keys on their way can be anyone.
        parts = _split(value)
        if value and not (parts.hostname and (parts.scheme == "https" or _is_loopback(parts))):
            msg = "expected an https address (http only on this machine)"
            raise ValueError(msg)
        return value

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str) -> str:
        parts = _split(value)
        origin = f"{parts.scheme}://{parts.netloc}".lower()
        if not value:
            return value
        if parts.scheme not in {"http", "https"} or not parts.hostname or value.rstrip("/").lower() != origin:
            msg = "expected scheme and host, such as https://chat.example.com; a path is DECOPILOT_PATH_PREFIX"
            raise ValueError(msg)
        if "@" in origin:
            msg = "a user has no place in it"
            raise ValueError(msg)
        # As browsers say it: without the port that the scheme implies.
        return origin.removesuffix({"http": ":80", "https": ":443"}[parts.scheme])

    @model_validator(mode="after")
    def _check_sources(self) -> Self:
        given = [name for name in _SOURCES if getattr(self, name)]
        if len(given) != 1:
            one = "DECOPILOT_JWT_SECRET, DECOPILOT_JWT_PUBLIC_KEY_FILE and DECOPILOT_JWT_JWKS_URL"
            msg = f"exactly one of {one} is needed, not {len(given)}: it says who signs the tokens"
            raise ValueError(msg)
        if self.signing_secret is None and self.jwt_secret is None:
            msg = "DECOPILOT_SIGNING_SECRET is needed, 32 characters or more, where tokens are signed by another's key"
            raise ValueError(msg)
        return self

    @property
    def own_secret(self) -> str:
        """What the gateway signs with itself."""
        secret = self.signing_secret or self.jwt_secret
        assert secret is not None  # noqa: S101  checked above
        return secret.get_secret_value()


def _split(url: str) -> SplitResult:
    parts = urlsplit(url)
    _ = parts.port  # raises ValueError where it is none
    return parts


def _is_loopback(parts: SplitResult) -> bool:
    if parts.scheme != "http" or parts.hostname is None:
        return False
    if parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        return False
