"""DPoP proofs: every check of RFC 9449 section 4.3, by id, and the negative cases of the conformance suite."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from jwt.algorithms import get_default_algorithms
from msgspec.structs import replace

from extauthz.identity.base64url import decode, encode
from extauthz.identity.dpop import Proof, verify_proof
from extauthz.model.request import Peer
from tests.fakes import a_request
from tests.unit.identity.proofs import (
    ABSENT,
    HOST,
    KEYS,
    RULES,
    TOKEN,
    URL,
    a_dpop_request,
    a_proof,
    good_claims,
    hash_of,
    rules,
    said,
    thumbprint_of,
    verify,
)
from tests.unit.identity.tokens import EC, EC384, ED, NOW, OTHER_RSA, RSA, jwk, segment

INVALID = "proof_invalid "
STRANGER = ec.generate_private_key(SECP256R1())
# RFC 9449 section 7.1, figures 13 and 14.
FIGURE_13 = (
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJo"
    "RjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJ"
    "qdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXN"
    "vdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yR"
    "qzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
)
FIGURE_TOKEN = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
FIGURE_JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
FIGURE_CLOCK = 1562262618


def figure(now: int = FIGURE_CLOCK, **changes: Any) -> str:
    options = {"method": "GET", "path": "/protectedresource", "host": "resource.example.org", **changes}
    request = a_request(options["method"], options["path"], host=options["host"], headers=[("dpop", FIGURE_13)])
    found = verify_proof(
        request,
        options.get("token", FIGURE_TOKEN),
        options.get("jkt", FIGURE_JKT),
        rules((options["host"],)).dpop,
        KEYS,
        now,
    )
    return "accepted" if isinstance(found, Proof) else f"{found.reason.code} {found.check}"


def test_dp_09_dp_15_the_figures_of_rfc_9449_hold() -> None:
    """Figures 13 and 14: the proof, its key's thumbprint and the hash of the token; at the time they were made."""
    assert "accepted" == figure()
    assert "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo" == hash_of(FIGURE_TOKEN)


def test_dp_11_dp_12_dp_13_dp_15_dp_16_the_figure_holds_for_nothing_else() -> None:
    assert "proof_invalid DP-11" == figure(method="POST")
    assert "proof_invalid DP-12" == figure(path="/protectedresource2")
    assert "proof_invalid DP-12" == figure(host="resource.example.com")
    assert "proof_invalid DP-13" == figure(now=FIGURE_CLOCK + 3600)
    assert "proof_invalid DP-15" == figure(token=FIGURE_TOKEN + "~")
    assert "proof_key_mismatch DP-16" == figure(jkt=thumbprint_of(EC))


@pytest.mark.parametrize("algorithm", ["ES256", "PS256", "EdDSA"])
def test_dp_07_dp_09_proofs_of_every_default_algorithm_are_accepted(algorithm: str) -> None:
    key = {"ES256": EC, "PS256": RSA, "EdDSA": ED}[algorithm]
    assert "accepted" == said(a_proof(algorithm=algorithm), key=key)


# --- DP-03 to DP-05: the header


def test_dp_03_a_request_without_a_proof_is_refused() -> None:
    found = verify_proof(a_dpop_request([]), TOKEN, thumbprint_of(EC), RULES.dpop, KEYS, NOW)
    assert ("proof_missing", "DP-03") == (found.reason.code, found.check)  # type: ignore[union-attr]


@pytest.mark.parametrize("joined", [False, True])
def test_dp_04_two_proofs_are_refused_although_each_is_good(joined: bool) -> None:
    """In both forms in which Envoy tells headers."""
    two = a_dpop_request([a_proof(), a_proof({"jti": "other"})], joined=joined)
    found = verify_proof(two, TOKEN, thumbprint_of(EC), RULES.dpop, KEYS, NOW)
    assert ("proof_invalid", "DP-04") == (found.reason.code, found.check)  # type: ignore[union-attr]


def test_dp_04_the_name_of_the_header_counts_in_any_case() -> None:
    """Envoy writes names in lower case, so that the suite's `DPOP` arrives as any other (`wire` knows no other)."""
    assert "accepted" == said(a_proof())


def malformed() -> list[str]:
    good = a_proof()
    header, payload, signature = good.split(".")
    return [
        "",
        "x",
        "..",
        f"{header}.{payload}",
        f"{header}.{payload}.",
        f"{header}.{payload}.{signature}.",
        f"{header}.{payload}.{signature}.x.y",
        f" {good}",
        f"{good} ",
        f"{good}=",
        f"{header}=.{payload}.{signature}",
        f"{header}.{payload}.{signature[:-1]}",
        f"{header}.{payload}\n.{signature}",
        f"DPoP {good}",
        a_proof(b"[]"),
        a_proof(b'"x"'),
        a_proof(b"null"),
        a_proof(b"{"),
        a_proof(header=b"[]"),
        a_proof(header=b"\xff"),
        a_proof(header={"crit": ["exp"]}),
        a_proof(header={"crit": []}),
        a_proof(header={"b64": False}),
    ]


@pytest.mark.parametrize("proof", malformed())
def test_dp_05_what_is_not_one_compact_jws_is_refused(proof: str) -> None:
    assert "proof_invalid DP-05" == said(proof)


@pytest.mark.parametrize(
    "member",
    [
        '"jti":"a","jti":"b"',
        '"iat":1,"iat":2',
        '"x":{"y":1,"y":2}',
        '"iat":NaN',
        '"iat":Infinity',
        '"iat":-Infinity',
        '"iat":1e999',
        f'"iat":{2**80}',
        '"x":"\\ud800"',
        '"x":"\\u0000"',
    ],
)
def test_dp_05_json_that_two_parsers_would_read_differently_is_refused(member: str) -> None:
    """A proof is signed by its sender, so that a good signature says nothing about what is in it."""
    rest = json.dumps({**good_claims(), "iat": NOW})[1:]
    assert "proof_invalid DP-05" == said(a_proof(f"{{{member},{rest}".encode()))


def test_dp_05_a_proof_has_a_limit() -> None:
    assert "accepted" == said(a_proof({"more": "x" * 1500}))
    assert "proof_invalid DP-05" == said(a_proof({"more": "x" * 4000}))
    assert "accepted" == said(a_proof({"more": "x" * 4000}), rules(proofMaxBytes=8192))
    assert "proof_invalid DP-05" == said(a_proof({"more": "x" * 1500}), rules(proofMaxBytes=1024))


# --- DP-06 to DP-09: type, algorithm, key, signature


@pytest.mark.parametrize(
    "kind", [ABSENT, "JWT", "jwt", "at+jwt", "", None, 1, "DPOP+JWT", "application/dpop+jwt", ["dpop+jwt"]]
)
def test_dp_06_another_type_is_refused(kind: Any) -> None:
    assert "proof_invalid DP-06" == said(a_proof(header={"typ": kind}))


@pytest.mark.parametrize(
    "algorithm",
    [ABSENT, "none", "None", "NONE", "HS256", "RS256", "ES384", "es256", "", None, 7, ["ES256"], "RSA-OAEP"],
)
def test_dp_07_another_algorithm_is_refused(algorithm: Any) -> None:
    assert "proof_invalid DP-07" == said(a_proof(header={"alg": algorithm}))


def test_dp_07_a_really_signed_rs256_proof_is_refused_unless_the_profile_takes_it() -> None:
    proof = a_proof(algorithm="RS256")
    assert "proof_invalid DP-07" == said(proof, key=RSA)
    assert "accepted" == said(proof, rules(algorithms=["RS256"]), key=RSA)


def test_dp_07_a_proof_without_signature_is_refused() -> None:
    assert "proof_invalid DP-07" == said(a_proof(header={"alg": "none"}, signature=b"x"))
    header, payload, _ = a_proof(header={"alg": "none"}).split(".")
    assert "proof_invalid DP-05" == said(f"{header}.{payload}.")


@pytest.mark.parametrize("key", [ABSENT, None, "", [], {}, 1, "jwk"])
def test_dp_08_a_proof_without_a_key_is_refused(key: Any) -> None:
    assert "proof_invalid DP-08" == said(a_proof(header={"jwk": key}))


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
def test_dp_08_a_key_that_shows_its_private_half_is_refused(member: str) -> None:
    assert "proof_invalid DP-08" == said(a_proof(header={"jwk": jwk(EC, **{member: "AQAB"})}))


def bad_keys() -> dict[str, dict[str, Any]]:
    good, other = jwk(EC), jwk(EC384)
    return {
        "a symmetric key": {"kty": "oct", "k": "AAAA"},
        "the curve of another algorithm": other,
        "a curve that is not named": {"kty": "EC", "x": good["x"], "y": good["y"]},
        "a curve that is not the key's": {**other, "crv": "P-256"},
        "a point that is not on the curve": {**good, "y": good["x"]},
        "a coordinate that is short": {**good, "x": good["x"][:-4]},
        "a coordinate that is padded": {**good, "x": good["x"] + "="},
        "a coordinate that is a number": {**good, "x": 7},
        "no y": {"kty": "EC", "crv": "P-256", "x": good["x"]},
        "an RSA key": jwk(RSA),
        "an Ed25519 key": jwk(ED),
        "lower case": {**good, "kty": "ec"},
        "for encryption": {**good, "use": "enc"},
        "for signing only": {**good, "key_ops": ["sign"]},
        "for another algorithm": {**good, "alg": "ES384"},
        "X25519": {"kty": "OKP", "crv": "X25519", "x": jwk(ED)["x"]},
    }


@pytest.mark.parametrize("name", bad_keys())
def test_dp_08_a_key_that_does_not_fit_is_refused(name: str) -> None:
    assert "proof_invalid DP-08" == said(a_proof(header={"jwk": bad_keys()[name]}))


def test_dp_08_only_ed25519_fits_eddsa() -> None:
    for key in ({"kty": "OKP", "crv": "X25519", "x": jwk(ED)["x"]}, {"kty": "OKP", "crv": "Ed448", "x": "A" * 76}):
        assert "proof_invalid DP-08" == said(a_proof(header={"jwk": key}, algorithm="EdDSA"), key=ED)


@pytest.mark.parametrize("bits", [1024, 4160])
def test_dp_08_rsa_keys_that_are_weak_or_costly_are_refused(bits: int) -> None:
    """FAPI 2.0 section 5.4 wants 2048 bits; the time of a check is not the sender's to choose."""
    key = rsa.generate_private_key(65537, bits)
    assert "proof_invalid DP-08" == said(a_proof(algorithm="PS256", key=key), key=key)


def test_dp_08_members_that_describe_a_public_key_are_no_obstacle() -> None:
    described = jwk(EC, use="sig", alg="ES256", kid="mine", key_ops=["verify"], ext=True)
    assert "accepted" == said(a_proof(header={"jwk": described}))


@pytest.mark.parametrize("signer", [STRANGER, EC384])
def test_dp_09_a_signature_of_another_key_is_refused(signer: Any) -> None:
    method = "ES256" if signer is STRANGER else "ES384"
    header, payload, _ = a_proof().split(".")
    signature = get_default_algorithms()[method].sign(f"{header}.{payload}".encode(), signer)
    assert "proof_invalid DP-09" == said(f"{header}.{payload}.{encode(signature)}")


@pytest.mark.parametrize(
    "signature", [b"\0" * 64, b"\0", b"\xff" * 64, b"0" * 63, b"0" * 65, b"0\x06\x02\x01\x00\x02\x01\x00"]
)
def test_dp_09_signatures_that_are_none_are_refused(signature: bytes) -> None:
    """All zeros verified anything in CVE-2022-21449."""
    assert "proof_invalid DP-09" == said(a_proof(signature=signature))


def test_dp_09_a_proof_whose_payload_was_exchanged_is_refused() -> None:
    header, _, signature = a_proof({"htm": "POST"}).split(".")
    assert "proof_invalid DP-09" == said(f"{header}.{segment(good_claims())}.{signature}")


# --- DP-10 to DP-15: claims


@pytest.mark.parametrize("name", ["jti", "htm", "htu", "iat"])
def test_dp_10_every_claim_is_required(name: str) -> None:
    assert "proof_invalid DP-10" == said(a_proof({name: ABSENT}))


@pytest.mark.parametrize("value", ["", None, 1, True, ["a"], {}])
def test_dp_10_a_jti_that_is_no_text_is_refused(value: Any) -> None:
    assert "proof_invalid DP-10" == said(a_proof({"jti": value}))


def test_dp_10_members_that_nobody_knows_are_ignored() -> None:
    """The suite sends them, and fails who refuses."""
    assert "accepted" == said(a_proof({"extra": {"a": [1]}, "aud": "x"}, {"kid": "k", "x5u": "https://evil.test/"}))


@pytest.mark.parametrize("method", ["POST", "get", "Get", "GET ", ""])
def test_dp_11_a_proof_for_another_method_is_refused(method: str) -> None:
    assert "proof_invalid DP-11" == said(a_proof({"htm": method}))


def test_dp_11_a_stolen_get_does_not_write() -> None:
    assert "proof_invalid DP-11" == said(a_proof(), method="POST")
    assert "accepted" == said(a_proof({"htm": "POST"}), method="POST")


SAME = [
    URL,
    URL + "?a=b",
    URL + "#part",
    URL + "?a=https://evil.test/#x",
    "HTTPS://API.BANK.TEST/accounts/17",
    f"https://{HOST}:443/accounts/17",
    f"https://{HOST}:/accounts/17",
    f"https://{HOST}/%61ccounts/%31%37",
    f"https://{HOST}/./accounts/x/../17",
]
OTHER = [
    f"http://{HOST}/accounts/17",
    f"https://{HOST}:8443/accounts/17",
    f"https://{HOST}/accounts/18",
    f"https://{HOST}/accounts/17/",
    f"https://{HOST}/Accounts/17",
    f"https://{HOST}/accounts%2F17",
    f"https://{HOST}//accounts/17",
    f"https://{HOST}",
    f"https://evil.test/accounts/17?{URL}",
    f"https://evil.test/accounts/17#{URL}",
    f"https://{HOST}@evil.test/accounts/17",
    f"https://user@{HOST}/accounts/17",
    f"https://{HOST}\\@evil.test/accounts/17",
    f"https://{HOST}.evil.test/accounts/17",
    f"https://{HOST},evil.test/accounts/17",
    f"https://{HOST}/acc\tounts/17",
    f"https://{HOST}/accounts/17\n",
    f" {URL}",
    f"{URL} ",
    f"https:/{HOST}/accounts/17",
    f"//{HOST}/accounts/17",
    "/accounts/17",
    f"https://{HOST}/accounts/17%",
    f"https://{HOST}/accounts/1\uff17",
    "",
    "x",
]


@pytest.mark.parametrize("htu", SAME)
def test_dp_12_every_spelling_of_the_url_is_accepted(htu: str) -> None:
    """RFC 3986 sections 6.2.2 and 6.2.3; a query and a fragment are dropped from the claim."""
    assert "accepted" == said(a_proof({"htu": htu}))


@pytest.mark.parametrize("htu", OTHER)
def test_dp_12_another_url_is_refused(htu: str) -> None:
    assert "proof_invalid DP-12" == said(a_proof({"htu": htu}))


def test_dp_12_the_query_of_the_request_does_not_count() -> None:
    assert "accepted" == said(a_proof(), path="/accounts/17?from=2026")


@pytest.mark.parametrize("age", [-60, -10, 0, 8, 10])
def test_dp_13_a_proof_that_was_made_just_now_is_accepted(age: int) -> None:
    """The suite sends proofs from 8 s ahead and 10 s ago."""
    assert "accepted" == said(a_proof({"iat": NOW + age}))


@pytest.mark.parametrize("age", [-3600, -71, 11, 3600, -NOW, 10**12, -(2**63)])
def test_dp_13_a_proof_that_was_not_made_just_now_is_refused(age: int) -> None:
    assert "proof_invalid DP-13" == said(a_proof({"iat": max(-(2**63), NOW + age)}))


@pytest.mark.parametrize("value", [True, str(NOW), float(NOW), NOW + 0.5, None, [NOW], {}])
def test_dp_13_an_iat_that_is_no_whole_number_is_refused(value: Any) -> None:
    assert "proof_invalid DP-13" == said(a_proof({"iat": value}))


def test_dp_13_the_window_is_the_profile_s() -> None:
    strict = rules(maxAge="5s", skew=0)
    ages = range(-7, 3)
    assert [-5, -4, -3, -2, -1, 0] == [a for a in ages if said(a_proof({"iat": NOW + a}), strict) == "accepted"]


@pytest.mark.parametrize(
    "times", [{"exp": NOW + 60}, {"nbf": NOW}, {"exp": NOW + 1, "nbf": NOW - 100}, {"nbf": NOW + 10}, {"exp": NOW - 9}]
)
def test_dp_14_a_proof_with_exp_and_nbf_is_accepted(times: dict[str, int]) -> None:
    assert "accepted" == said(a_proof(times))


@pytest.mark.parametrize(
    "times",
    [{"exp": NOW - 10}, {"nbf": NOW + 11}, {"exp": True}, {"exp": str(NOW + 60)}, {"nbf": None}, {"exp": NOW + 0.5}],
)
def test_dp_14_exp_and_nbf_are_honoured(times: dict[str, Any]) -> None:
    assert "proof_invalid DP-14" == said(a_proof(times))


@pytest.mark.parametrize(
    "value", [ABSENT, "", None, 1, hash_of("other"), hash_of(TOKEN) + "=", hash_of(TOKEN).lower(), TOKEN]
)
def test_dp_15_a_proof_for_another_token_or_none_is_refused(value: Any) -> None:
    assert "proof_invalid DP-15" == said(a_proof({"ath": value}))


def test_dp_15_the_hash_is_over_the_token_exactly_as_it_was_sent() -> None:
    """A token spelled with padding is another text, and its proof another proof."""
    padded = TOKEN + "="
    assert "proof_invalid DP-15" == said(a_proof(), token=padded)
    assert "accepted" == said(a_proof({"ath": hash_of(padded)}), token=padded)


@pytest.mark.parametrize(("algorithm", "key"), [("ES256", STRANGER), ("PS256", OTHER_RSA)])
def test_dp_16_a_thief_s_own_key_is_not_the_token_s(algorithm: str, key: Any) -> None:
    """The proof is good in itself; the answer is invalid_token (RFC 9449 section 7.1, figure 16)."""
    assert "proof_key_mismatch DP-16" == said(a_proof(algorithm=algorithm, key=key))


# --- DP-17: what identifies a use


def used(proof: str, **options: Any) -> bytes:
    found = verify(proof, **options)
    assert isinstance(found, Proof)
    return found.use.key


def flipped(proof: str) -> str:
    """The same ES256 signature with (r, n - s) for (r, s): it verifies as well."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    signed, _, text = proof.rpartition(".")
    raw = decode(text)
    assert raw is not None
    return f"{signed}.{encode(raw[:32] + (order - int.from_bytes(raw[32:])).to_bytes(32))}"


def test_dp_17_no_other_spelling_of_a_proof_is_another_use() -> None:
    """Flipped signatures, other members, times and tokens: the use is of key, URL and jti."""
    proof = a_proof()
    again = [
        flipped(proof),
        a_proof({"iat": NOW - 3}),
        a_proof({"extra": 1}),
        a_proof({"htu": SAME[1]}),
        a_proof({"htu": SAME[4]}),
        a_proof(header={"kid": "other"}),
    ]
    assert flipped(proof) != proof
    assert {used(proof)} == {used(other) for other in again}
    assert used(proof) == used(a_proof({"ath": hash_of(TOKEN + "=")}), token=TOKEN + "=")


def test_dp_17_another_jti_url_or_key_is_another_use() -> None:
    other_url = a_proof({"htu": f"https://{HOST}/accounts/18"})
    keys = [
        used(a_proof()),
        used(a_proof({"jti": "other"})),
        used(other_url, path="/accounts/18"),
        used(a_proof(key=STRANGER), key=STRANGER),
    ]
    assert 4 == len(set(keys))
    assert {32} == set(map(len, keys))


def test_dp_17_a_use_counts_everywhere_unless_each_proxy_asks_for_itself() -> None:
    """A gateway and a sidecar that both ask about one request; no third party can choose whose identity is theirs."""

    def used_at(principal: str, **dpop: Any) -> bytes:
        request = replace(a_dpop_request(a_proof()), destination=Peer(principal=principal))
        found = verify_proof(request, TOKEN, thumbprint_of(EC), rules(**dpop).dpop, KEYS, NOW)
        assert isinstance(found, Proof)
        return found.use.key

    gateway, sidecar = "spiffe://cluster.local/ns/istio-system/sa/gateway", "spiffe://cluster.local/ns/bank/sa/api"
    assert used_at(gateway) == used_at(sidecar)
    assert used_at(gateway, once="perProxy") != used_at(sidecar, once="perProxy")
    assert used_at(gateway, once="perProxy") == used_at(gateway, once="perProxy")


def test_dp_17_a_use_is_remembered_until_no_copy_could_be_accepted() -> None:
    """Also by a replica whose clock is behind by the skew; every copy has the same end."""
    for age in (-60, 0, 10):
        found = verify(a_proof({"iat": NOW + age}))
        assert isinstance(found, Proof)
        end = found.use.expires
        assert said(a_proof({"iat": NOW + age}), now=end - 10) != "accepted"
        assert end - NOW <= 60 + 3 * 10 + 1


def test_dp_17_a_long_jti_is_refused() -> None:
    assert "accepted" == said(a_proof({"jti": "x" * 256}))
    assert "proof_invalid DP-17" == said(a_proof({"jti": "x" * 257}))


def test_dp_17_a_jti_of_any_characters_is_remembered() -> None:
    """Nothing of it but a digest gets into a key, so that it can collide with nothing."""
    assert used(a_proof({"jti": "a\n\u2028é"})) != used(a_proof({"jti": "a\n\u2028e"}))


def test_dp_09_the_signature_is_checked_last_of_what_is_in_the_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of bad proofs costs parsing, not curves."""

    def never(*_: Any) -> bool:
        raise AssertionError

    monkeypatch.setattr("extauthz.identity.dpop.verify_signature", never)
    for proof in (a_proof({"iat": 1}), a_proof({"ath": "x"}), a_proof({"htu": "x"}), a_proof(key=STRANGER)):
        assert said(proof) != "accepted"


def test_the_final_sanity_call_of_the_suite() -> None:
    """After all that was refused, a good proof is still accepted."""
    assert "accepted" == said(a_proof())
