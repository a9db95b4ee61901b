"""`senderConstraint` in a bundle: what is compiled, and what is refused with its line and what would be right."""

import pytest

from extauthz.bundle import BundleError, read_bundle
from extauthz.model.ports import NoTokenCache
from extauthz.snapshot import Profile
from tests.unit.bundle.small_bundle import BUNDLE, ISSUER, POLICY

HEAD = """\
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: api}
spec:
  match: {hosts: [%s]}
  authentication: {mode: %s, issuers: [bank]}
  senderConstraint: %s
"""


def read(section: str, hosts: str = "api.bank.test", mode: str = "required") -> tuple[Profile, list[str]]:
    text = f"{BUNDLE}---\n{ISSUER}---\n{POLICY}"
    built = read_bundle({"all.yaml": text.encode(), "p.yaml": (HEAD % (hosts, mode, section)).encode()}, NoTokenCache())
    (profile,) = built.snapshot.profiles.profiles
    return profile, [str(warning) for warning in built.warnings if warning.file == "p.yaml"]


def refused(section: str, hosts: str = "api.bank.test", mode: str = "required") -> list[str]:
    with pytest.raises(BundleError) as error:
        read(section, hosts, mode)
    return [str(finding).removeprefix("p.yaml:7: spec.senderConstraint") for finding in error.value.findings]


def test_the_defaults_are_strict() -> None:
    profile, warnings = read("{}")
    dpop = profile.possession.dpop
    assert [] == warnings
    assert (True, ("mtls", "dpop"), False) == (
        profile.sender.required,
        profile.sender.accept,
        profile.sender.reads_without_store,
    )
    assert ({"ES256", "PS256", "EdDSA"}, 60, 10, "off", 4096) == (
        dpop.algorithms,
        dpop.max_age,
        dpop.skew,
        dpop.nonce,
        dpop.max_bytes,
    )
    assert "ES256 PS256 EdDSA" == profile.sender.algorithms


def test_everything_can_be_said() -> None:
    section = """
    accept: [dpop]
    required: false
    dpop:
      algorithms: [ES256]
      maxAge: 30s
      skew: 5
      nonce: required
      nonceLifetime: 5m
      publicOrigin: {api.bank.test: "https://api.bank.example/v1"}
      whenStoreUnavailable: {reads: allow, writes: deny}
      proofMaxBytes: 2048
    mtls: {certificate: forwarded, gateways: [spiffe://cluster.local/ns/istio-system/sa/gateway]}
"""
    profile, warnings = read(section)
    assert [] == warnings
    assert profile.sender.reads_without_store
    assert not profile.sender.required
    assert (30, 5, 300, 2048) == (
        profile.possession.dpop.max_age,
        profile.possession.dpop.skew,
        profile.possession.dpop.nonce_lifetime,
        profile.possession.dpop.max_bytes,
    )
    assert {"spiffe://cluster.local/ns/istio-system/sa/gateway"} == profile.possession.mtls.gateways


def test_dp_07_an_algorithm_outside_of_fapi_is_warned_about() -> None:
    _, warnings = read("{dpop: {algorithms: [RS256]}}")
    assert 1 == len(warnings)
    assert "`RS256` is outside of FAPI" in warnings[0]


@pytest.mark.parametrize(
    ("section", "finding"),
    [
        ("{accept: []}", ".accept: an empty list accepts no token at all: name `mtls`, `dpop` or both"),
        ("{dpop: {algorithms: []}}", ".dpop.algorithms: `algorithms` must name at least one"),
        ("{dpop: {algorithms: [ES257]}}", ".dpop.algorithms[0]: unknown algorithm `ES257`, did you mean `ES256`?"),
        ("{dpop: {maxAge: 10m}}", ".dpop.maxAge: `10m` must be a duration from `1s` to `300s`"),
        ("{dpop: {maxAge: 0}}", ".dpop.maxAge: `0` must be a duration from `1s` to `300s`"),
        ("{dpop: {maxAge: soon}}", ".dpop.maxAge: `soon` must be a duration from `1s` to `300s`"),
        ("{dpop: {skew: 61}}", ".dpop.skew: `61` must be a duration from `0s` to `60s`"),
        ("{dpop: {nonceLifetime: 1h}}", ".dpop.nonceLifetime: `1h` must be a duration from `10s` to `900s`"),
        (
            "{dpop: {publicOrigin: api.bank.example}}",
            (
                ".dpop.publicOrigin: `api.bank.example` must be a URL such as `https://api.example.com`, with a path "
                "prefix at most"
            ),
        ),
        (
            "{mtls: {certificate: forwarded}}",
            (
                ".mtls.gateways: `certificate: forwarded` needs `gateways`: anybody else could claim to have seen a "
                "certificate"
            ),
        ),
        (
            "{mtls: {gateways: [spiffe://a]}}",
            ".mtls.gateways: `gateways` goes with `certificate: forwarded`: here the peer is the client",
        ),
        (
            "{mtls: {certificate: forwarded, gateways: [spiffe://a/*]}}",
            (
                ".mtls.gateways[0]: `spiffe://a/*` must be a whole SPIFFE id such as "
                "`spiffe://cluster.local/ns/istio-system/sa/gateway`"
            ),
        ),
    ],
)
def test_a_mistake_is_refused_with_what_would_be_right(section: str, finding: str) -> None:
    assert [finding] == refused(section)


@pytest.mark.parametrize(
    "section",
    [
        "{accept: [bearer]}",
        "{dpop: {nonce: maybe}}",
        "{dpop: {whenStoreUnavailable: {writes: allow}}}",
        "{dpop: {proofMaxBytes: 100}}",
        "{dpop: {algorithm: [ES256]}}",
    ],
)
def test_dp_18_what_cannot_be_said_is_refused(section: str) -> None:
    """Above all that writes pass while nobody knows whether their proof was used."""
    assert 1 == len(refused(section))


def test_dp_12_a_profile_of_every_host_needs_to_say_what_it_is_called() -> None:
    assert refused("{}", hosts='"*"') == [
        (
            ".dpop.publicOrigin: proofs name the URL that the client called: with `hosts` of `*`, write it here, or a proof "
            "for somebody else's host would do"
        )
    ]
    read("{dpop: {publicOrigin: https://api.bank.example}}", hosts='"*"')
    read("{accept: [mtls]}", hosts='"*"')


def test_a_profile_that_verifies_nobody_cannot_demand_anything() -> None:
    findings = refused("{}", mode="none")
    assert ": mode `none` verifies nobody, so there is no token to bind to its sender" in findings
