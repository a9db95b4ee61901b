"""Signature algorithms a token may use, each with the one kind of key that fits it.

Rule 1: `none` and the HMAC family are not in the table, so no document and no token can ask for them (JWT-02).
"""

from jwt import PyJWS
from jwt.algorithms import Algorithm
from msgspec import Struct


class Fit(Struct, frozen=True):
    """The key an algorithm needs (RFC 7518 section 3.1, RFC 8037 section 3.1, RFC 9864)."""

    kty: str
    crv: str = ""


ALGORITHMS = {
    "PS256": Fit("RSA"),
    "PS384": Fit("RSA"),
    "PS512": Fit("RSA"),
    "ES256": Fit("EC", "P-256"),
    "ES384": Fit("EC", "P-384"),
    "ES512": Fit("EC", "P-521"),
    "EdDSA": Fit("OKP", "Ed25519"),
    "Ed25519": Fit("OKP", "Ed25519"),
    "RS256": Fit("RSA"),
    "RS384": Fit("RSA"),
    "RS512": Fit("RSA"),
}


def _implementations() -> dict[str, Algorithm]:
    library = PyJWS(algorithms=[*ALGORITHMS])
    return {
        name: library.get_algorithm_by_name("EdDSA" if fit.kty == "OKP" else name) for name, fit in ALGORITHMS.items()
    }


# The whole of PyJWT's `decode` would read the token a second time, with another parser than ours, and costs 50 us
# more than the 21 us of an RSA-2048 check; its algorithms verify exactly the bytes that were read.
_IMPLEMENTATIONS = _implementations()


def verify_signature(algorithm: str, public_key: object, signed: bytes, signature: bytes) -> bool:
    """Whether `signature` over `signed` is good; `public_key` must be of the kind that ALGORITHMS names."""
    return _IMPLEMENTATIONS[algorithm].verify(signed, public_key, signature)
