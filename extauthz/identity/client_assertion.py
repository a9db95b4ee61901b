"""Who we are to an issuer, signed (RFC 7523 section 2.2, `private_key_jwt` of OpenID Connect Core section 9)."""

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, SECP521R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from jwt import encode

from extauthz.identity.issuer import MIN_RSA_BITS

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LIFETIME = 60  # seconds: it is made for one request
_BY_CURVE = {SECP256R1.name: "ES256", SECP384R1.name: "ES384", SECP521R1.name: "ES512"}

SigningKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey


def signing_algorithm(key: object) -> str:
    """The algorithm a private key signs with, "" when it fits none that we would use."""
    match key:
        case RSAPrivateKey() if key.key_size >= MIN_RSA_BITS:
            return "PS256"
        case EllipticCurvePrivateKey():
            return _BY_CURVE.get(key.curve.name, "")
        case Ed25519PrivateKey():
            return "EdDSA"
    return ""


def client_assertion(key: SigningKey, key_id: str, client_id: str, audience: str, times: tuple[int, str]) -> str:
    """A client assertion for one request; `times` is now, in seconds since the epoch, and a fresh id.

    The audience is the issuer identifier alone, as FAPI 2.0 section 5.3.3.1 asks: a token endpoint's URL could be that
    of another issuer.
    """
    now, fresh_id = times
    claims = {"iss": client_id, "sub": client_id, "aud": audience, "iat": now, "exp": now + LIFETIME, "jti": fresh_id}
    headers = {"kid": key_id} if key_id else None
    return encode(claims, key, signing_algorithm(key), headers)
