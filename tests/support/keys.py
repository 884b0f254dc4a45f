"""Keys of an issuer, and what it signs with them."""

import json
import time
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from support.gateways import ORG

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key of an issuer's."""

    key: PrivateKey
    algorithm: str
    kid: str | None = None

    @classmethod
    def make(cls, algorithm: str, kid: str | None = None) -> "SigningKey":
        """Make one that is good for an algorithm."""
        curves = {curve.name: curve for curve in (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)}
        names = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
        if algorithm in names:
            return cls(ec.generate_private_key(curves[names[algorithm]]()), algorithm, kid)
        if algorithm == "EdDSA":
            return cls(ed25519.Ed25519PrivateKey.generate(), algorithm, kid)
        return cls(rsa.generate_private_key(65_537, 2_048), algorithm, kid)

    def token(self, *, kid: str | None = None, **claims: object) -> str:
        """Sign a token: ann's of acme unless the claims say otherwise (None: leave the claim out)."""
        said = {"sub": "ann", "orgs": {ORG: "owner"}, "exp": int(time.time()) + 600} | claims
        named = kid or self.kid
        headers = {} if named is None else {"kid": named}
        kept = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(kept, self.key, self.algorithm, headers=headers)

    @property
    def public_pem(self) -> bytes:
        """The public key, as a file has it."""
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def private_pem(self) -> bytes:
        """The private key, as a file has it."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key, as a JWK set has it."""
        named = {"use": "sig", "alg": self.algorithm} | ({} if self.kid is None else {"kid": self.kid})
        said: dict[str, Any] = json.loads(jwt.get_algorithm_by_name(self.algorithm).to_jwk(self.key.public_key()))
        return said | named
