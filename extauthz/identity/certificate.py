"""The certificate that a token is bound to (RFC 8705 section 3), against the one that the sender showed.

Rule 1: the TLS handshake proved who holds the key; neither chain nor dates are looked at (MTLS-07).
Rule 2: thumbprints are compared as 32 bytes, never as texts (MTLS-03, MTLS-05).
"""

import re
from binascii import Error, a2b_base64
from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest
from urllib.parse import unquote

from extauthz.identity import base64url
from extauthz.identity.possession_rules import MtlsRules
from extauthz.model.decision import Deny
from extauthz.model.reasons import Reason
from extauthz.model.request import Request

# With an RSA key of 8192 bits, a dozen names and percent-encoding a leaf has 6 KiB.
MAX_CERTIFICATE = 16 * 1024
# A connection sends the same one with every request. A usual leaf has 1 to 3 KiB; a longer one is read every time.
MAX_KEPT = 4 * 1024
_PEM = re.compile(r"\s*-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*")
_HASH = re.compile(r"[0-9a-f]{64}")


def verify_certificate(expected: str, request: Request, rules: MtlsRules) -> Deny | None:
    """Whether the sender holds the certificate whose thumbprint the token names (`cnf["x5t#S256"]`); None: it does."""
    shown = _from_gateway(request, rules) if rules.gateways else _from_peer(request)
    if isinstance(shown, Deny):
        return shown
    if shown is None:
        return Deny(Reason.CERTIFICATE_MISSING, "MTLS-02", "no client certificate")
    bound = base64url.decode(expected)
    if bound is None or not compare_digest(bound, shown):  # MTLS-08: a renewed certificate is another one
        return Deny(Reason.CERTIFICATE_MISMATCH, "MTLS-02", "the client certificate is another one")
    return None


def _from_peer(request: Request) -> bytes | Deny | None:
    """MTLS-06: as Envoy saw it on the connection, told by attribute, by header or by both alike."""
    told = _from_header(request) if request.forwarded is not None and request.forwarded.hop == 1 else None
    if not request.source.certificate:
        return told
    seen = thumbprint_of(request.source.certificate)
    if seen is None:
        return Deny(Reason.CERTIFICATE_MISSING, "MTLS-06", "the certificate of the peer cannot be read")
    if told is not None and not compare_digest(seen, told):
        return Deny(Reason.CERTIFICATE_MISMATCH, "MTLS-06", "Envoy's attribute and its header name two certificates")
    return seen


def _from_gateway(request: Request, rules: MtlsRules) -> bytes | Deny | None:
    """MTLS-09: what a proxy in front saw counts only if that proxy is one of ours, proven by its own certificate."""
    if request.source.principal not in rules.gateways:
        return Deny(Reason.CERTIFICATE_MISSING, "MTLS-09", "the peer is not one of the gateways")
    if request.forwarded is None or request.forwarded.hop == 1:
        return None
    return _from_header(request)


def _from_header(request: Request) -> bytes | None:
    """MTLS-04: 64 lower-case digits first, for `fromhex` skips spaces."""
    found = request.forwarded.hash if request.forwarded is not None else ""
    return bytes.fromhex(found) if _HASH.fullmatch(found) else None


def thumbprint_of(certificate: str) -> bytes | None:
    """SHA-256 over the DER of a percent-encoded PEM with exactly one certificate; None when it is something else."""
    if len(certificate) > MAX_CERTIFICATE:
        return None
    return _read_once(certificate) if len(certificate) <= MAX_KEPT else _read(certificate)


def _read(certificate: str) -> bytes | None:
    match = _PEM.fullmatch(unquote(certificate))
    if match is None:
        return None
    try:
        encoded = a2b_base64("".join(match[1].split()), strict_mode=True)
    except Error:
        return None
    return sha256(encoded).digest() if encoded else None


_read_once = lru_cache(maxsize=1024)(_read)
