"""FAPI profiles as one switch: what is turned on, and what authors read when a document says otherwise."""

import pytest

from extauthz.bundle import BundleError, read_bundle
from extauthz.bundle.fapi_profile import DEMANDS
from extauthz.model.ports import NoTokenCache
from extauthz.snapshot import Profile
from tests.unit.bundle.small_bundle import ISSUER, PROFILE, files

LAST = '    - path: "/api/{tenant}/**"\n'
PROFILES = ["fapi1-baseline", "fapi1-advanced", "fapi2-security"]


def with_profile(profile: str, more: str = "", *, issuer: str = ISSUER, authentication: str = "") -> dict[str, bytes]:
    text = PROFILE + f"  fapi: {{profile: {profile}}}\n" + more
    if authentication:
        text = text.replace("{mode: required, issuers: [bank]}", authentication)
    return files(profile=text, issuer=issuer, tests__staff=None)


def compiled(bundle: dict[str, bytes]) -> Profile:
    (profile,) = read_bundle(bundle, NoTokenCache()).snapshot.profiles.profiles
    return profile


def errors(bundle: dict[str, bytes]) -> list[str]:
    with pytest.raises(BundleError) as caught:
        read_bundle(bundle, NoTokenCache())
    return [str(finding) for finding in caught.value.findings if finding.severity == "error"]


def test_mtls_01_fapi1_advanced_binds_tokens_to_certificates_without_another_word() -> None:
    sender = compiled(with_profile("fapi1-advanced")).sender

    assert (True, ("mtls",), False) == (sender.required, sender.accept, sender.offered and "dpop" in sender.accept)


def test_dp_01_mtls_01_fapi2_binds_tokens_to_certificates_or_keys_without_another_word() -> None:
    sender = compiled(with_profile("fapi2-security")).sender

    assert (True, ("mtls", "dpop"), True) == (sender.required, sender.accept, sender.offered)


def test_mtls_01_fapi1_baseline_allows_bearer_tokens() -> None:
    assert not compiled(with_profile("fapi1-baseline")).sender.required


def test_mtls_01_a_section_that_says_other_things_still_gets_what_the_profile_demands() -> None:
    forwarded = "  senderConstraint: {mtls: {certificate: forwarded, gateways: [spiffe://cluster.local/ns/i/sa/g]}}\n"

    assert ("mtls",) == compiled(with_profile("fapi1-advanced", forwarded)).sender.accept
    assert ("dpop",) == compiled(with_profile("fapi2-security", "  senderConstraint: {accept: [dpop]}\n")).sender.accept


@pytest.mark.parametrize(
    ("profile", "ecosystem"),
    [("fapi1-baseline", "fapi1-baseline"), ("fapi1-advanced", "fapi1-baseline"), ("fapi2-security", "fapi2")],
)
def test_rs_01_a_profile_brings_the_headers_of_its_own_texts_unless_an_ecosystem_is_named(profile, ecosystem):
    own = compiled(with_profile(profile)).fapi
    assert own is not None
    assert ecosystem == own.ecosystem

    named = files(profile=PROFILE + f"  fapi: {{profile: {profile}, ecosystem: brazil}}\n", tests__staff=None)
    chosen = compiled(named).fapi
    assert chosen is not None
    assert "brazil" == chosen.ecosystem


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("algorithm", ["PS256", "ES256"])
def test_jwt_02_the_algorithms_of_fapi_are_accepted_by_every_profile(profile, algorithm):
    issuer = ISSUER.replace("[ES256]", f"[{algorithm}]")

    assert compiled(with_profile(profile, issuer=issuer)).name == "api"


def test_jwt_02_eddsa_is_accepted_by_fapi2_alone() -> None:
    issuer = ISSUER.replace("[ES256]", "[EdDSA]")

    assert compiled(with_profile("fapi2-security", issuer=issuer)).name == "api"
    assert [
        (
            "profile.yaml:6: spec.authentication.issuers[0]: JWT-02: issuer `bank` may sign with `EdDSA`, FAPI 1.0 Advanced "
            "accepts `PS256` or `ES256` (Part 2, section 8.6): set its `algorithms`"
        )
    ] == errors(with_profile("fapi1-advanced", issuer=issuer))


REFUSED = [
    (
        "jwt-02 an algorithm outside of FAPI",
        with_profile("fapi2-security", issuer=ISSUER.replace("[ES256]", "[PS256, RS256, ES384]")),
        (
            "profile.yaml:6: spec.authentication.issuers[0]: JWT-02: issuer `bank` may sign with `RS256` or `ES384`, "
            "FAPI 2.0 accepts `PS256`, `ES256`, `EdDSA` or `Ed25519` (section 5.4): set its `algorithms`"
        ),
    ),
    (
        "jwt-02 the algorithms of a preset",
        with_profile(
            "fapi1-advanced",
            issuer=ISSUER.replace("  algorithms: [ES256]\n", "  preset: auth0\n").replace(
                "bank.test\n", "bank.test/\n"
            ),
        ),
        (
            "profile.yaml:6: spec.authentication.issuers[0]: JWT-02: issuer `bank` may sign with `RS256`, FAPI 1.0 Advanced "
            "accepts `PS256` or `ES256` (Part 2, section 8.6): set its `algorithms`"
        ),
    ),
    (
        "jwt-10 a leeway that is too long",
        with_profile("fapi2-security", issuer=ISSUER + "  leeway: 11s\n"),
        (
            "profile.yaml:6: spec.authentication.issuers[0]: JWT-10: issuer `bank` has a leeway of `11s`, FAPI 2.0 allows "
            "`10s`: set its `leeway`"
        ),
    ),
    (
        "ex-01 a token that may be missing",
        with_profile("fapi2-security", authentication="{mode: optional, issuers: [bank]}"),
        (
            "profile.yaml:6: spec.authentication.mode: EX-01: FAPI 2.0 protects resources by access tokens: "
            "write `required`, not `optional`"
        ),
    ),
    (
        "ex-03 a form may hold a token",
        with_profile("fapi1-advanced", authentication="{mode: required, issuers: [bank], formBody: ignore}"),
        (
            "profile.yaml:6: spec.authentication.formBody: EX-03: FAPI 1.0 Advanced takes tokens from the header alone: "
            "write `refuse`"
        ),
    ),
    (
        "ex-01 a service without a token",
        with_profile(
            "fapi2-security",
            authentication="{issuers: [bank], service: {mode: instead, trustDomains: [cluster.local]}}",
        ),
        (
            "profile.yaml:6: spec.authentication.service.mode: EX-01: FAPI 2.0 asks for an access token: a service may be "
            "`required` beside it, not instead"
        ),
    ),
    (
        "mtls-01 bearer tokens under fapi1-advanced",
        with_profile("fapi1-advanced", "  senderConstraint: {required: false}\n"),
        (
            "profile.yaml:11: spec.senderConstraint.required: MTLS-01: FAPI 1.0 Advanced, Part 2, section 6.2.1-2, refuses "
            "bearer tokens: remove `required: false`"
        ),
    ),
    (
        "mtls-01 DPoP under fapi1-advanced",
        with_profile("fapi1-advanced", "  senderConstraint: {accept: [mtls, dpop]}\n"),
        (
            "profile.yaml:11: spec.senderConstraint.accept[1]: MTLS-01: FAPI 1.0 Advanced, Part 2, section 6.2.1-2, accepts "
            "`mtls` alone: remove `dpop`"
        ),
    ),
    (
        "dp-01 bearer tokens under fapi2",
        with_profile("fapi2-security", "  senderConstraint: {required: false}\n"),
        (
            "profile.yaml:11: spec.senderConstraint.required: MTLS-01, DP-01: FAPI 2.0, section 5.3.4, refuses bearer "
            "tokens: remove `required: false`"
        ),
    ),
    (
        "dp-07 proofs signed outside of FAPI",
        with_profile("fapi2-security", "  senderConstraint: {dpop: {algorithms: [ES256, ES384]}}\n"),
        (
            "profile.yaml:11: spec.senderConstraint.dpop.algorithms[1]: DP-07: FAPI 2.0, section 5.4, accepts `PS256`, "
            "`ES256`, `EdDSA` or `Ed25519`: remove `ES384`"
        ),
    ),
    (
        "an unknown profile",
        with_profile("fapi2"),
        (
            "profile.yaml:10: spec.fapi.profile: unknown value `fapi2`: allowed are `fapi1-advanced`, "
            "`fapi1-baseline`, `fapi2-security`"
        ),
    ),
    (
        "neither profile nor ecosystem",
        files(profile=PROFILE + "  fapi: {}\n"),
        (
            "profile.yaml:10: spec.fapi.ecosystem: missing: name an ecosystem for its headers, or a `profile` for what "
            "tokens must be like"
        ),
    ),
]


@pytest.mark.parametrize(("bundle", "expected"), [pytest.param(*case[1:], id=case[0]) for case in REFUSED])
def test_a_document_that_contradicts_its_profile_does_not_load(bundle, expected):
    assert [expected] == errors(bundle)


def test_every_contradiction_is_reported_at_once() -> None:
    bundle = with_profile(
        "fapi1-advanced",
        "  senderConstraint: {required: false, accept: [dpop]}\n",
        issuer=ISSUER.replace("[ES256]", "[RS256]") + "  leeway: 60\n",
        authentication="{mode: optional, issuers: [bank], formBody: ignore}",
    )

    assert ["EX-01", "EX-03", "JWT-02", "JWT-10", "MTLS-01", "MTLS-01"] == sorted(
        error.split(": ")[2] for error in errors(bundle)
    )


def test_fapi1_baseline_limits_no_algorithm_for_its_texts_do_not() -> None:
    issuer = ISSUER.replace("[ES256]", "[RS256]") + "  leeway: 60\n"

    assert compiled(with_profile("fapi1-baseline", issuer=issuer)).name == "api"


@pytest.mark.parametrize("profile", PROFILES)
def test_a_service_may_be_required_beside_the_token(profile):
    service = "{issuers: [bank], service: {mode: required, trustDomains: [cluster.local]}}"

    assert compiled(with_profile(profile, authentication=service)).authentication.service is not None


def test_every_profile_that_can_be_written_has_its_demands() -> None:
    assert PROFILES == list(DEMANDS)
