"""Tokens: signed by whom they must be, with an algorithm that the key allows, for whom and when they say."""

import base64
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from decopilot_gateway.auth import Doorman
from decopilot_gateway.auth.keys import UnfitKeyError, read_public_key
from decopilot_gateway.auth.settings import AuthSettings
from decopilot_gateway.problems import ProblemError
from support.gateways import SECRET, make_token
from support.keys import SigningKey

BAD_SIGNATURE = "The token is not signed with the key that is known here."
BAD_ALGORITHM = "The token is signed by an algorithm that its key is not for."
KEYS = {name: SigningKey.make(name) for name in ("RS256", "PS512", "ES256", "ES384", "ES512", "EdDSA")}


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def door(**settings: Any) -> Doorman:  # noqa: ANN401  settings of any type
    given = {"signing_secret": SECRET, "jwt_leeway_s": 0} | settings
    if not {"jwt_secret", "jwt_public_key_file"} & settings.keys():
        given["jwt_secret"] = SECRET
    return Doorman(AuthSettings.model_validate(given))


def public_door(folder: Path, pem: bytes) -> Doorman:
    (folder / "key.pem").write_bytes(pem)
    return door(jwt_public_key_file=folder / "key.pem")


def refusal(doorman: Doorman, token: str) -> str:
    with pytest.raises(ProblemError) as refused:
        doorman.read(token)
    assert "unauthenticated" == refused.value.code
    return refused.value.detail


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_public_key_checks_what_its_private_one_has_signed(tmp_path: Path, algorithm: str) -> None:
    key = KEYS[algorithm]
    doorman = public_door(tmp_path, key.public_pem)
    assert "ann" == doorman.read(key.token()).user
    others = [SigningKey.make(algorithm), *(other for name, other in KEYS.items() if name != algorithm)]
    for other in others:
        assert refusal(doorman, other.token()) in {BAD_SIGNATURE, BAD_ALGORITHM}


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("claimed", ["HS256", "HS384", "HS512", "none", "None", "", "RS1"])
def test_a_token_chooses_no_algorithm_for_itself(tmp_path: Path, algorithm: str, claimed: str) -> None:
    # By hand, because libraries refuse to sign with a public key as if it were a secret.
    key = KEYS[algorithm]
    doorman = public_door(tmp_path, key.public_pem)
    header, payload, signature = key.token().split(".")
    forged = _encoded(json.dumps({"alg": claimed, "typ": "JWT"}).encode())
    said = f"{forged}.{payload}"
    digest = f"sha{claimed[2:]}" if claimed.startswith("HS") else "sha256"
    for key_bytes in (key.public_pem, key.public_pem.strip()):
        by_public_key = _encoded(hmac.digest(key_bytes, said.encode(), digest))
        for attempt in (f"{said}.{by_public_key}", f"{said}.", f"{said}.{signature}"):
            assert BAD_ALGORITHM == refusal(doorman, attempt)
    assert header


def test_a_token_that_asks_for_what_is_not_known_here_is_refused_and_its_own_keys_are_not_read() -> None:
    doorman, said = door(), jwt.decode(make_token(), SECRET, ["HS256"])
    for critical in (["exp"], ["x"], [], "x"):
        header = {"crit": critical, "x": 1, "exp": 1}
        assert "The token is malformed." == refusal(doorman, jwt.encode(said, SECRET, "HS256", header))
    mine = "another secret of thirty-two letters"
    own = {
        "jwk": {"kty": "oct", "k": _encoded(mine.encode())},
        "jku": "https://evil.example/keys",
        "kid": "../../dev/null",
    }
    assert "The token is not signed with the key that is known here." == refusal(
        doorman, jwt.encode(said, mine, "HS256", own)
    )


def test_issuers_are_told_apart_by_all_of_their_names() -> None:
    doorman = door(jwt_issuer="https://id.example.com")
    for other in ("https://id.example", "https://id.example.com.evil", "https://id.example.com/", ""):
        assert "The token is of another issuer." == refusal(doorman, make_token(iss=other))


def test_a_shared_secret_signs_with_one_algorithm_alone() -> None:
    doorman = door(jwt_secret=SECRET * 2)
    assert "ann" == doorman.read(make_token(secret=SECRET * 2)).user
    for algorithm in ("HS384", "HS512"):
        assert BAD_ALGORITHM == refusal(doorman, make_token(secret=SECRET * 2, algorithm=algorithm))


def test_a_key_that_can_not_be_used_is_told_by_its_file(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import dsa, rsa  # noqa: PLC0415  made for this test alone

    short = SigningKey(rsa.generate_private_key(65_537, 1_024), "RS256")
    odd = dsa.generate_private_key(2_048).public_key()
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415  as above

    path = tmp_path / "key.pem"
    for content, said in (
        (None, "No such file"),
        (b"nonsense", "no public key in PEM"),
        (KEYS["RS256"].private_pem, "no public key in PEM"),
        (short.public_pem, "1024 bits is too short"),
        (odd.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "no public key of RSA"),
    ):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UnfitKeyError, match=said) as refused:
            read_public_key(path)
        assert "DECOPILOT_JWT_PUBLIC_KEY_FILE" in str(refused.value)


def test_issuer_and_audience_are_checked_where_they_are_set() -> None:
    doorman = door(jwt_issuer="https://issuer.example/", jwt_audience="decopilot")
    right: dict[str, Any] = {"iss": "https://issuer.example/", "aud": ["other", "decopilot"]}
    assert "ann" == doorman.read(make_token(**right)).user
    assert "The token is of another issuer." == refusal(
        doorman, make_token(**right | {"iss": "https://issuer.example"})
    )
    assert "The token is for another audience." == refusal(doorman, make_token(**right | {"aud": "other"}))
    for left_out in ("iss", "aud"):
        refusal(doorman, make_token(**right | {left_out: None}))
    # Who is not told what it is called believes no token that is for somebody.
    assert "The token is for another audience." == refusal(door(), make_token(aud="decopilot"))
    assert "ann" == door().read(make_token(iss="anybody")).user


@pytest.mark.parametrize("leeway_s", [0, 30])
def test_clocks_may_be_wrong_by_the_leeway_and_no_more(leeway_s: int) -> None:
    doorman, now = door(jwt_leeway_s=leeway_s), int(time.time())
    for claim, within, beyond, said in (
        ("exp", now - leeway_s + 10, now - leeway_s - 1, "The token has expired."),
        ("nbf", now + leeway_s - 10, now + leeway_s + 10, "The token is not valid yet."),
        ("iat", now + leeway_s - 10, now + leeway_s + 10, "The token is not valid yet."),
    ):
        good: dict[str, Any] = {claim: within}
        assert "ann" == doorman.read(make_token(**good)).user
        assert said == refusal(doorman, make_token(**good | {claim: beyond}))


def test_an_oversized_token_is_refused_before_anything_is_made_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    doorman = door()
    good = make_token(more="x" * 5_000)
    assert len(good) < 8_192
    assert "ann" == doorman.read(good).user
    huge = make_token(more="x" * 8_000)

    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(jwt, "get_unverified_header", fail)
    monkeypatch.setattr(jwt, "decode", fail)
    assert "longer than 8192" in refusal(doorman, huge)


REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    ({"exp": None}, "no_exp", "The token has no claim `exp`."),
    ({"exp": 1}, "expired", "The token has expired."),
    ({"nbf": 4_000_000_000}, "not_yet_valid", "The token is not valid yet."),
    ({"iss": "other"}, "other_issuer", "The token is of another issuer."),
    ({"iss": None}, "no_iss", "The token has no claim `iss`."),
    ({"aud": "other"}, "other_audience", "The token is for another audience."),
    ({"aud": None}, "no_aud", "The token has no claim `aud`."),
    ({"sub": None}, "no_user", "The token has no claim `sub`."),
    ({"sub": 7}, "bad_sub", "The token's claim `sub` is no text."),
    ({"sub": ""}, "bad_user", "The token's claim `sub` is no user: a text of 1 to 256 characters."),
    ({"https://x.example/orgs": None}, "no_orgs", "The token has no claim `https://x.example/orgs`."),
    (
        {"https://x.example/orgs": ["a.b"]},
        "bad_orgs",
        "The token's claim `https://x.example/orgs` has no org of 1 to 64 of A-Z, a-z, 0-9, _ and -.",
    ),
    ({"https://x.example/orgs": {"acme": "root"}}, "unknown_role", "The token names no role that is known here."),
]


@pytest.mark.parametrize(("claims", "reason", "detail"), REFUSALS)
def test_what_a_token_lacks_is_told_and_logged_once_its_signature_has_held(
    claims: dict[str, Any], reason: str, detail: str
) -> None:
    doorman = door(jwt_issuer="right", jwt_audience="us", jwt_orgs_claim="https://x.example/orgs")
    said = {"iss": "right", "aud": "us", "https://x.example/orgs": {"acme": "owner"}} | claims
    with capture_logs() as logs:
        assert detail == refusal(doorman, make_token(**said))
    (entry,) = logs
    assert ("token_refused", "info", reason) == (entry["event"], entry["log_level"], entry["reason"])
    known = {"sub": "ann"} | said
    assert entry.items() >= {name: known[name] for name in ("sub", "iss") if isinstance(known[name], str)}.items()
    # Who can't sign learns nothing of what is looked for.
    with capture_logs() as logs:
        assert BAD_SIGNATURE == refusal(doorman, make_token(secret="x" * 32, **said))
    assert [{"event": "token_refused", "log_level": "info", "reason": "bad_signature", "alg": "HS256"}] == logs


def test_a_refusal_is_logged_without_the_token_and_what_strangers_wrote_is_shortened() -> None:
    token = jwt.encode({"sub": "ann"}, "x" * 32, "HS256", headers={"kid": "k" * 5_000})
    with capture_logs() as logs:
        refusal(door(), token)
        refusal(door(), "no.token.at-all")
        with pytest.raises(ProblemError):
            door().claims(make_mocked_request("GET", "/", {"Host": "x"}))
    assert ["bad_signature", "malformed", "no_token"] == [entry["reason"] for entry in logs]
    assert "k" * 256 == logs[0]["kid"]
    assert token not in str(logs)


def test_an_issuer_whose_tokens_for_others_are_believed_is_warned_of_at_the_start() -> None:
    given = {"jwt_jwks_url": "https://issuer.example/keys", "signing_secret": SECRET}
    for more, warned in (
        ({}, ["issuer_unchecked", "audience_unchecked"]),
        ({"jwt_issuer": "https://issuer.example/"}, ["audience_unchecked"]),
        ({"jwt_issuer": "https://issuer.example/", "jwt_audience": "us"}, []),
    ):
        with capture_logs() as logs:
            Doorman(AuthSettings.model_validate(given | more))
        assert [(name, "warning") for name in warned] == [(entry["event"], entry["log_level"]) for entry in logs]


@given(st.text(max_size=200) | st.lists(st.binary(max_size=60).map(_encoded), max_size=5).map(".".join))
def test_whatever_comes_as_a_token_is_refused_and_never_our_fault(token: str) -> None:
    refusal(door(), token)
