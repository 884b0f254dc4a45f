"""Settings of the door: one source of keys, addresses that nobody can meddle with, and secrets for what we sign."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from decopilot_gateway.auth.settings import AuthSettings

SECRET = "s" * 32
JWKS = "https://issuer.example/keys"


def settings(**given: Any) -> AuthSettings:  # noqa: ANN401  settings of any type
    return AuthSettings.model_validate(given)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"jwt_secret": SECRET, "jwt_jwks_url": JWKS},
        {"jwt_secret": SECRET, "jwt_public_key_file": "key.pem"},
        {"jwt_jwks_url": JWKS, "jwt_public_key_file": "key.pem", "signing_secret": SECRET},
    ],
)
def test_there_is_exactly_one_source_of_keys(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="exactly one of DECOPILOT_JWT_SECRET, DECOPILOT_JWT_PUBLIC_KEY_FILE and"):
        settings(**given)


def test_what_the_gateway_signs_itself_needs_a_secret_of_its_own() -> None:
    for source in ({"jwt_jwks_url": JWKS}, {"jwt_public_key_file": Path("key.pem")}):
        with pytest.raises(ValidationError, match="DECOPILOT_SIGNING_SECRET is needed"):
            settings(**source)
        assert SECRET == settings(**source, signing_secret=SECRET).own_secret
    assert SECRET == settings(jwt_secret=SECRET).own_secret
    assert "t" * 32 == settings(jwt_secret=SECRET, signing_secret="t" * 32).own_secret


@pytest.mark.parametrize("name", ["jwt_secret", "signing_secret"])
def test_a_secret_that_is_too_short_is_told_in_characters(name: str) -> None:
    with pytest.raises(ValidationError, match="expected 32 characters or more, not 31"):
        settings(**{"jwt_secret": SECRET, name: "x" * 31})


@pytest.mark.parametrize("value", ["admin", "admin=owner", '["admin"]', "7"])
def test_roles_that_are_no_object_are_told_of_with_an_example(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECOPILOT_JWT_SECRET", SECRET)
    monkeypatch.setenv("DECOPILOT_JWT_ROLES", value)
    with pytest.raises(ValidationError, match=re.escape('as JSON, such as {"chat-admin": "owner"}')):
        AuthSettings()


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("JWT_SECRET", ""), ("JWT_JWKS_URL", JWKS), ("SIGNING_SECRET", SECRET), ("JWT_ROLES", "")):
        monkeypatch.setenv(f"DECOPILOT_{name}", value)
    monkeypatch.setenv("DECOPILOT_JWT_ROLES", '{"admin": "owner"}')
    read = AuthSettings()
    assert (None, JWKS, {"admin": "owner"}) == (read.jwt_secret, read.jwt_jwks_url, read.jwt_roles)


@pytest.mark.parametrize(
    "url",
    ["http://issuer.example/keys", "http://10.0.0.1/", "ftp://localhost/", "issuer.example", "https://", "https://a:b",
     "http://localhost.evil.example/", "http://127.evil.example/", "file:///etc/passwd"],
)  # fmt: skip
def test_keys_are_fetched_by_https_or_from_this_machine(url: str) -> None:
    with pytest.raises(ValidationError):
        settings(jwt_jwks_url=url, signing_secret=SECRET)
    for good in (JWKS, "http://localhost:8080/keys", "http://127.0.0.1/", "http://[::1]:9/"):
        assert good == settings(jwt_jwks_url=good, signing_secret=SECRET).jwt_jwks_url


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Chat.Example/", "https://chat.example"),
        ("https://chat.example:443", "https://chat.example"),
        ("https://chat.example:8443", "https://chat.example:8443"),
        ("http://chat.example:80/", "http://chat.example"),
        ("", ""),
    ],
)
def test_the_public_address_is_kept_as_browsers_say_it(url: str, origin: str) -> None:
    assert origin == settings(jwt_secret=SECRET, public_url=url).public_url
    for bad in ("chat.example", "https://", "https://a/b", "https://a?b", "ws://a", "https://u@a", "https://a:x"):
        with pytest.raises(ValidationError):
            settings(jwt_secret=SECRET, public_url=bad)
