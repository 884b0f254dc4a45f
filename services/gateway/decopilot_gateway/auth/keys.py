"""Keys that sign tokens. What a key may be used for follows from what it is, never from what a token says."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from decopilot.kit.program import ConfigurationError
from decopilot_gateway.auth.refusing import RefusedTokenError

RSA_BITS_MIN = 2_048
"""RFC 7518, 3.3."""
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_EC = {"secp256r1": ("ES256",), "secp384r1": ("ES384",), "secp521r1": ("ES512",), "secp256k1": ("ES256K",)}

_UNREADABLE = (
    jwt.PyJWTError,
    UnsupportedAlgorithm,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    # What `"alg": "none"` is answered by.
    NotImplementedError,
)

PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey


class UnfitKeyError(ConfigurationError):
    """A key can't check signatures of tokens, or not safely."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key, and the algorithms (RFC 7518, 3.1) that are good with it."""

    key: PublicKey | str
    algorithms: tuple[str, ...]


class Keys(Protocol):
    """What tokens are signed with."""

    def key_of(self, header: Mapping[str, Any]) -> Key:
        """Tell the key that a token with this header must be signed with.

        Raises:
            ProblemError: there is none, or it can't be had now.

        """


class OneKey:
    """The one key of all tokens."""

    def __init__(self, key: Key) -> None:
        self._key = key

    def key_of(self, _header: Mapping[str, Any]) -> Key:
        """Tell it."""
        return self._key


def secret_key(secret: str) -> Key:
    """Make the key of a shared secret: for HS256 alone."""
    return Key(secret, ("HS256",))


def public_key(key: object) -> Key:
    """Make a key of a public one.

    Raises:
        UnfitKeyError: it is of another kind, or too short.

    """
    match key:
        case rsa.RSAPublicKey() if key.key_size >= RSA_BITS_MIN:
            return Key(key, _RSA)
        case rsa.RSAPublicKey():
            msg = f"an RSA key of {key.key_size} bits is too short; {RSA_BITS_MIN} is the least"
        case ec.EllipticCurvePublicKey() if key.curve.name in _EC:
            return Key(key, _EC[key.curve.name])
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            return Key(key, ("EdDSA",))
        case _:
            msg = "it is no public key of RSA, EC (P-256, P-384, P-521, secp256k1) or EdDSA"
    raise UnfitKeyError(msg)


def read_public_key(path: Path) -> Key:
    """Read a public key from a PEM file.

    Raises:
        UnfitKeyError: there is none in it that is good for this.

    """
    try:
        return public_key(load_pem_public_key(path.read_bytes()))
    except OSError as error:
        msg = f"DECOPILOT_JWT_PUBLIC_KEY_FILE {path}: {error.strerror}"
    except (ValueError, UnsupportedAlgorithm):
        msg = f"DECOPILOT_JWT_PUBLIC_KEY_FILE {path}: there is no public key in PEM"
    except UnfitKeyError as error:
        msg = f"DECOPILOT_JWT_PUBLIC_KEY_FILE {path}: {error}"
    raise UnfitKeyError(msg)


def keys_in(said: object) -> dict[str | None, Key]:
    """Read the keys of a JWK set (RFC 7517, 5) by their ids; those that check no signatures are left out.

    Raises:
        ValueError: it is no JWK set, or has no key that is of use.

    """
    entries = said.get("keys") if isinstance(said, dict) else None
    found: dict[str | None, Key] = {}
    for entry in entries if isinstance(entries, list) else ():
        if (key := _key_in(entry)) is not None:
            found[entry.get("kid")] = key
    if not found:
        msg = "it has no key that checks signatures"
        raise ValueError(msg)
    return found


def _key_in(entry: object) -> Key | None:
    # A private key, and a secret one, have no place in what everybody may read.
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or entry.get("kty") == "oct" or "d" in entry:
        return None
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(entry.get("kid"), str | None) or not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        key = public_key(jwt.PyJWK(entry).key)
    except (UnfitKeyError, *_UNREADABLE):
        return None
    if "alg" not in entry:
        return key
    # It says itself what it is for: that, if it can be.
    narrowed = tuple(name for name in key.algorithms if name == entry["alg"])
    return Key(key.key, narrowed) if narrowed else None


def unknown_key(header: Mapping[str, Any]) -> RefusedTokenError:
    """Refuse a token for its key."""
    detail = "The token is signed with a key that is not known."
    return RefusedTokenError("unknown_key", detail, kid=header.get("kid"), alg=header.get("alg"))
