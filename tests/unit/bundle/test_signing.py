"""`messageSignature` and `signedBody` in a bundle: what loads, what does not, and where that is said."""

import json
import re
from typing import Any

import pytest

from extauthz.bundle import BundleError, read_bundle, run_tests
from extauthz.model.ports import NoTokenCache
from tests.unit.identity.signatures import client_jwks

ISSUER = """
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {name: bank}
spec: {issuer: https://idp.bank.test, audiences: [bank]}
"""
PROFILE = """
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: api}
spec:
  match: {hosts: [%s]}
  authentication: {%s}
  messageSignature: {keys: {tpp-1: {file: keys/tpp-1.json}}, maxBodyBytes: 65536%s}
  signedBody: {organisations: data.organisations, keys: {tpp-1: {file: keys/tpp-1.json}}, maxBodyBytes: 65536%s}
"""
FILES = {
    "issuer.yaml": ISSUER.encode(),
    "keys/tpp-1.json": json.dumps(client_jwks()).encode(),
    "data/organisations.json": b'{"tpp-1": "org-1"}',
}
AUTHENTICATION = "mode: required, issuers: [bank]"


def read(
    message: str = "", body: str = "", host: str = "api.bank.test", who: str = AUTHENTICATION, **files: Any
) -> Any:
    profile = PROFILE % (host, who, message and f", {message}", body and f", {body}")
    return read_bundle({**FILES, "profile.yaml": profile.encode(), **files}, NoTokenCache())


def errors(*args: str, **files: Any) -> str:
    with pytest.raises(BundleError) as caught:
        read(*args, **files)
    return "\n".join(str(finding) for finding in caught.value.findings if finding.severity == "error")


def test_sg_01_to_sg_04_both_sections_load_with_the_keys_of_each_client() -> None:
    built = read(body='audience: ["https://api.bank.test/payments/**"]')
    (profile,) = built.snapshot.profiles.profiles
    assert [key.id for key in profile.signing.message.keys["tpp-1"].keys] == ["ec", "ed", "rsa", "ps256"]
    assert profile.signing.body.keys["tpp-1"].select("ps256", "PS256")
    assert profile.signing.body.organisations == {"tpp-1": "org-1"}
    assert profile.signing.message.origins is profile.possession.dpop.origins
    assert not [str(found) for found in built.warnings if "maxBodyBytes" in str(found)]


def test_sg_02_sg_04_lint_says_what_the_proxy_must_send() -> None:
    profile = PROFILE.replace(", maxBodyBytes: 65536", "") % ("api.bank.test", AUTHENTICATION, "", "")
    found = [str(w) for w in read_bundle({**FILES, "p.yaml": profile.encode()}, NoTokenCache()).warnings]
    said = [line for line in found if "with_request_body" in line]
    assert [line.split(": ")[1] for line in said] == ["spec.messageSignature", "spec.signedBody"]
    settings = ("maxRequestBytes", "allowPartialMessage: false", "packAsBytes: true", "includeRequestBodyInCheck")
    assert all(setting in line for setting in settings for line in said)


@pytest.mark.parametrize(
    ("message", "body", "place", "why"),
    [
        ("algorithms: [hmac-sha256]", "", "messageSignature.algorithms[0]", "unknown algorithm `hmac-sha256`"),
        ("algorithms: []", "", "messageSignature.algorithms", "must name at least one"),
        ("maxAge: 61s", "", "messageSignature.maxAge", "`61s` must be a duration from `1s` to `60s`"),
        ("publicOrigin: ftp://x", "", "messageSignature.publicOrigin", "must be a URL"),
        ("profile: cavage", "", "messageSignature.profile", ""),
        ("", "algorithms: [RS256]", "signedBody.algorithms[0]", "unknown algorithm `RS256`"),
        ("", "methods: [GET]", "signedBody.methods", "`GET` and `HEAD` have none"),
        ("", "methods: []", "signedBody.methods", "name the methods"),
        ("", "audience: [payments]", "signedBody.audience[0]", "must be a URL"),
        ("", 'audience: ["http://api.bank.test/x"]', "signedBody.audience[0]", "must be a URL"),
        ("", "maxAge: 2m", "signedBody.maxAge", "must be a duration"),
    ],
)
def test_sg_01_sg_04_mistakes_are_errors_where_they_stand(message: str, body: str, place: str, why: str) -> None:
    (line,) = errors(message, body).splitlines()
    assert line.startswith("profile.yaml:")
    assert f"spec.{place}: " in line
    assert why in line


def test_sg_03_key_files_that_cannot_be_used_are_errors() -> None:
    assert "`keys/tpp-1.json` has no key that may be used here" in errors(**{"keys/tpp-1.json": b'{"keys": []}'})
    assert "keys/tpp-1.json" in errors(**{"keys/tpp-1.json": b"nonsense"})
    assert "no list `keys`" in errors(**{"keys/tpp-1.json": b"{}"})
    missing = PROFILE.replace("file: keys/tpp-1.json", "file: keys/tpp-2.json") % (
        "api.bank.test",
        AUTHENTICATION,
        "",
        "",
    )
    with pytest.raises(BundleError, match=r"unknown file `keys/tpp-2.json`, did you mean `keys/tpp-1.json`"):
        read_bundle({**FILES, "profile.yaml": missing.encode()}, NoTokenCache())


@pytest.mark.parametrize("section", ["messageSignature", "signedBody"])
def test_sg_03_a_section_without_clients_would_refuse_everybody(section: str) -> None:
    profile = PROFILE % ("api.bank.test", AUTHENTICATION, "", "")
    none = re.sub(rf"({section}: .*keys: ){{tpp-1: {{file: keys/tpp-1.json}}}}", r"\1{}", profile)
    assert none != profile
    with pytest.raises(BundleError, match=rf"spec\.{section}\.keys: no client has keys"):
        read_bundle({**FILES, "profile.yaml": none.encode()}, NoTokenCache())


def test_sg_04_organisations_are_a_map_of_texts_that_knows_every_client() -> None:
    place = "spec.signedBody.organisations"
    assert place in errors(**{"data/organisations.json": b"[]"})
    assert place in errors(**{"data/organisations.json": b'{"tpp-1": 5}'})
    assert "`tpp-1` is not in `data.organisations`" in errors(**{"data/organisations.json": b'{"tpp-2": "o"}'})
    unknown = PROFILE.replace("data.organisations", "data.organisation") % ("api.bank.test", AUTHENTICATION, "", "")
    with pytest.raises(BundleError, match=r"unknown data file `data.organisation`, did you mean `data.organisations`"):
        read_bundle({**FILES, "profile.yaml": unknown.encode()}, NoTokenCache())


def test_sg_02_with_every_host_the_public_url_must_be_written_down() -> None:
    found = errors(host='"*"')
    assert "spec.messageSignature.publicOrigin" in found
    assert "spec.signedBody.publicOrigin" in found
    read("publicOrigin: https://api.bank.test", "publicOrigin: https://api.bank.test", host='"*"')


def test_sg_03_without_authentication_there_is_no_client_whose_keys_count() -> None:
    assert "so no client's keys could be looked up" in errors(who="mode: none")


def test_sg_03_keys_that_fit_no_accepted_algorithm_are_named() -> None:
    jwks = {"keys": [*client_jwks()["keys"], {**jwk_of_rsa(), "kid": "old", "alg": "RS256"}]}
    built = read(**{"keys/tpp-1.json": json.dumps(jwks).encode()})
    assert any("`old`" in str(found) for found in built.warnings)


def jwk_of_rsa() -> dict[str, Any]:
    found: dict[str, Any] = client_jwks()["keys"][2]
    return found


# --- PolicyTests of a bundle that asks for signatures

POLICY = """
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: payers}
spec:
  effect: allow
  rules: [{name: pay, from: [{clients: [tpp-1]}], to: [{methods: [GET, POST], paths: [/payments/**]}]}]
"""
CASE: dict[str, Any] = {
    "name": "it",
    "request": {"host": "api.bank.test", "path": "/payments?a=b", "method": "POST"},
    "token": {"issuer": "bank", "claims": {"client_id": "tpp-1"}},
    "signature": {},
    "signedBody": {},
}


def decided(message: str = "", body: str = "", **case: Any) -> str:
    """The reason that a case of both sections ends with."""
    document = {
        "apiVersion": "extauthz.io/v1",
        "kind": "PolicyTest",
        "metadata": {"name": "t"},
        "spec": {"cases": [{**CASE, "expect": {"outcome": "allow"}, **case}]},
    }
    policy = POLICY.encode()
    (result,) = run_tests(read(message, body, **{"policy.yaml": policy, "test.yaml": json.dumps(document).encode()}))
    return result.reason


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ({}, "policy_allowed"),
        ({"dpop": {}}, "policy_allowed"),
        ({"dpop": {"used": True}}, "proof_replayed"),
        ({"dpop": {}, "signedBody": {"used": True}}, "signed_body_replayed"),
        ({"signature": None}, "signature_missing"),
        ({"signature": {"key": "other"}}, "signature_invalid"),
        ({"signature": {"covered": ["@method", "@target-uri"]}}, "signature_invalid"),
        ({"signature": {"parameters": {"created": 1767225600 - 61}}}, "signature_invalid"),
        ({"signature": {"parameters": {"tag": None}}}, "signature_invalid"),
        ({"signature": {"parameters": {"alg": "hmac-sha256"}}}, "signature_invalid"),
        ({"signedBody": None}, "signed_body_invalid"),
        ({"signedBody": None, "request": {**CASE["request"], "body": "{}"}}, "signed_body_invalid"),
        ({"signedBody": {"key": "other"}}, "signed_body_invalid"),
        ({"signedBody": {"claims": {"iss": "org-2"}}}, "signed_body_invalid"),
        ({"signedBody": {"claims": {"jti": None}}}, "signed_body_invalid"),
        ({"signedBody": {"used": True}}, "signed_body_replayed"),
        ({"token": {"issuer": "bank", "claims": {"client_id": "tpp-2"}}}, "signature_invalid"),
        ({"request": {**CASE["request"], "method": "GET"}, "signedBody": None}, "policy_allowed"),
        ({"request": {**CASE["request"], "method": "PATCH"}}, "no_policy_matched"),
    ],
)
def test_sg_01_sg_04_a_case_is_signed_for_its_route_and_fails_as_a_request_would(
    case: dict[str, Any], reason: str
) -> None:
    assert decided(**case) == reason


@pytest.mark.parametrize("algorithm", ["ecdsa-p256-sha256", "ed25519", "rsa-pss-sha512", "PS256"])
def test_sg_03_cases_are_signed_with_any_algorithm_that_a_profile_may_ask_for(algorithm: str) -> None:
    assert decided(f"algorithms: [{algorithm}]", "algorithms: [ES256]") == "policy_allowed"
    assert decided(f"algorithms: [{algorithm}]", signature={"key": "other"}) == "signature_invalid"


def test_sg_04_cases_that_leave_open_who_signs_or_what_are_errors() -> None:
    def problem(**case: Any) -> str:
        with pytest.raises(BundleError) as caught:
            decided(**case)
        return str(caught.value.findings[0])

    assert "spec.cases[0].signature: keys are registered by client" in problem(token=None, signedBody=None)
    assert "spec.cases[0].signedBody: keys are registered by client" in problem(token=None, signature=None)
    request = {**CASE["request"], "body": "{}"}
    assert "spec.cases[0].request.body: `signedBody` writes the body" in problem(request=request)
    request = {**CASE["request"], "headers": {"Signature": "x"}}
    assert "`signature` writes this header" in problem(request=request)
