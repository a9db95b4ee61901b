"""Certificate-bound tokens: the certificate of the token, and the one that the sender showed."""

import tracemalloc
from urllib.parse import quote

import pytest
from msgspec.structs import replace

from extauthz.identity.base64url import without_unused_bits
from extauthz.identity.certificate import MAX_CERTIFICATE, MAX_KEPT, thumbprint_of, verify_certificate
from extauthz.identity.possession_rules import MtlsRules
from extauthz.model.request import ForwardedCertificate, Peer, Request
from extauthz.wire.xfcc import read_forwarded
from tests.fakes import a_request

# RFC 8705 appendix A.
PEM = """-----BEGIN CERTIFICATE-----
MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAx
ODEyMzcwOVoXDTIyMDUwMjEyMzcwOVowDzENMAsGA1UEAwwEbXRsczBZMBMGByqG
SM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ
/Au08/coZwxS7LfA4vOLS9WuneIXhbGGWvsDSb0tH6IxLm8wCgYIKoZIzj0EAwID
SQAwRgIhAP0RC1E+vwJD/D1AGHGzuri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOV
bUlJSGQgjwD5vaUaKlLR50Q2DmFfQj1L+SY=
-----END CERTIFICATE-----
"""
X5T = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"
HASH = "0380ed2f626650c840b2f263e6d2b29fae12ab39ae5db32b25ad27efad72e6fd"
OTHER = "ff" + HASH[2:]
GATEWAY = "spiffe://cluster.local/ns/istio-system/sa/gateway"
AT_PEER, BEHIND = MtlsRules(), MtlsRules(frozenset({GATEWAY}))


def shown(
    pem: str = "", told: str = "", hop: int = 1, principal: str = "spiffe://cluster.local/ns/web/sa/front"
) -> Request:
    """A request whose peer has `pem`, and whose trusted hop tells of the certificate with the hash `told`."""
    request = a_request(source=Peer(principal=principal, certificate=quote(pem, safe="")))
    return replace(request, forwarded=ForwardedCertificate(hash=told, hop=hop)) if told else request


def said(request: Request, rules: MtlsRules = AT_PEER, expected: str = X5T) -> str:
    refused = verify_certificate(expected, request, rules)
    return f"{refused.reason.code} {refused.check}" if refused else "accepted"


def test_mtls_02_mtls_04_the_certificate_of_rfc_8705_appendix_a_is_recognised() -> None:
    """As Envoy's attribute, and as the hash in its header."""
    assert "accepted" == said(shown(PEM))
    assert "accepted" == said(shown(told=HASH))
    assert "accepted" == said(shown(PEM, HASH))
    assert bytes.fromhex(HASH) == thumbprint_of(quote(PEM, safe=""))


def test_mtls_02_without_a_certificate_a_bound_token_is_refused() -> None:
    assert "certificate_missing MTLS-02" == said(shown())


def test_mtls_02_mtls_08_another_certificate_is_refused() -> None:
    """A renewed one is another one: the client needs a new token."""
    assert "certificate_mismatch MTLS-02" == said(shown(told=OTHER))
    assert "certificate_mismatch MTLS-02" == said(shown(PEM), expected="B" + X5T[1:])


@pytest.mark.parametrize("expected", ["", "x", X5T + "=", X5T[:-1], X5T.replace("0", "+"), "A" * 42, "ä" * 43])
def test_mtls_03_a_thumbprint_that_is_none_matches_nothing(expected: str) -> None:
    assert "certificate_mismatch MTLS-02" == said(shown(PEM), expected=expected)


@pytest.mark.parametrize(
    "told", [HASH.upper(), HASH[:-1], HASH + "0", " " + HASH[1:], HASH[:-2] + "zz", HASH[:-2] + " 0"]
)
def test_mtls_04_a_hash_that_is_not_64_lower_case_digits_is_no_certificate(told: str) -> None:
    """`bytes.fromhex` would skip the spaces."""
    assert "certificate_missing MTLS-02" == said(shown(told=told))


def test_mtls_05_the_thumbprint_of_rfc_8705_section_3_1_is_read_although_it_is_not_canonical() -> None:
    """Its last character has unused bits set; decoded it names one certificate all the same."""
    published = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"
    one_spelling = without_unused_bits(published)
    assert "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0" == one_spelling
    digest = "6f070ad1eb1cdc0082dc3076639fe5112b1713ca3d96d734e4ef3d8dd37e760d"
    assert "accepted" == said(shown(told=digest), expected=one_spelling)


def test_mtls_06_attribute_and_header_must_agree() -> None:
    assert "certificate_mismatch MTLS-06" == said(shown(PEM, OTHER))
    assert "certificate_mismatch MTLS-06" == said(
        shown(PEM, OTHER), expected="_4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"
    )


def test_mtls_06_what_a_further_hop_tells_is_not_about_the_peer() -> None:
    """Two trusted hops, and a profile that asks for the peer's own certificate."""
    assert "accepted" == said(shown(PEM, OTHER, hop=2))
    assert "certificate_missing MTLS-02" == said(shown(told=HASH, hop=2))


@pytest.mark.parametrize(
    "pem",
    [
        "x",
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
        PEM + PEM,
        PEM.replace("CERTIFICATE", "PUBLIC KEY"),
        PEM.replace("SQAw", "SQ!w"),
        PEM.replace("+SY=", "+SY"),
        PEM.replace("+SY=", "+=SY"),
        "junk" + PEM,
        PEM + "junk",
        PEM + "\n" * MAX_CERTIFICATE,
    ],
)
def test_mtls_06_a_certificate_that_cannot_be_read_is_not_passed_over(pem: str) -> None:
    """Not even when the header names the right one; two certificates are not one."""
    assert "certificate_missing MTLS-06" == said(shown(pem, HASH))


def test_mtls_06_envoy_s_spelling_of_a_certificate_is_read() -> None:
    """It leaves some characters unencoded that others encode."""
    for safe in ("", "+/=", " -"):
        assert thumbprint_of(quote(PEM, safe=safe)) == bytes.fromhex(HASH)


def test_mtls_06_what_is_too_long_is_neither_read_nor_kept() -> None:
    """Whoever shows long certificates, or what passes for one, occupies no memory with them; each is still read right."""
    long = quote(PEM + "\n" * (MAX_KEPT // 3), safe="")
    huge = [f"{number:07d}" + "x" * 1024 * 1024 for number in range(32)]
    thumbprint_of(long)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        assert {None} == {thumbprint_of(each[:-1]) for each in huge}  # each a text of its own, which only a cache keeps
        assert {bytes.fromhex(HASH)} == {thumbprint_of(long + "%0A" * more) for more in range(1000)}
        assert tracemalloc.get_traced_memory()[0] - before < MAX_CERTIFICATE
    finally:
        tracemalloc.stop()


def test_mtls_07_an_expired_certificate_still_proves_its_key() -> None:
    """The one of the appendix expired in 2022; the handshake is the gateway's to refuse."""
    assert "accepted" == said(shown(PEM))


def test_mtls_09_a_gateway_tells_of_its_client_s_certificate() -> None:
    """At a sidecar the peer is the gateway, and its certificate is in the attribute."""
    assert "accepted" == said(shown(PEM.replace("MII", "MIJ"), HASH, hop=2, principal=GATEWAY), BEHIND)
    assert "certificate_mismatch MTLS-02" == said(shown(PEM, OTHER, hop=2, principal=GATEWAY), BEHIND)


@pytest.mark.parametrize("principal", ["", "spiffe://cluster.local/ns/web/sa/front", GATEWAY + "2", GATEWAY.upper()])
def test_mtls_09_nobody_else_may_tell_of_a_certificate(principal: str) -> None:
    """A pod in the mesh forges an element in front of the one that our Envoy writes about it."""
    forged = shown(told=HASH, hop=2, principal=principal)
    assert "certificate_missing MTLS-09" == said(forged, BEHIND)


def test_mtls_09_with_one_trusted_hop_a_gateway_s_own_certificate_is_not_its_client_s() -> None:
    assert "certificate_missing MTLS-02" == said(shown(told=HASH, hop=1, principal=GATEWAY), BEHIND)
    assert "certificate_missing MTLS-02" == said(shown(PEM, principal=GATEWAY), BEHIND)


def test_mtls_06_the_hop_is_counted_from_the_right() -> None:
    header = f"Hash={OTHER};URI=spiffe://a,Hash={HASH};URI=spiffe://b"
    one, two = read_forwarded(header, 1), read_forwarded(header, 2)
    assert one is not None
    assert two is not None
    assert [(HASH, 1), (OTHER, 2)] == [(one.hash, one.hop), (two.hash, two.hop)]
