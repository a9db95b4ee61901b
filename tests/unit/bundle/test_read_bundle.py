"""A bundle as a whole: what it becomes, what it is called, what it warns of, and that reading it is total."""

import gc
import json
import time
import weakref

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm

from extauthz.bundle import BundleError, bundle_digest, read_bundle
from extauthz.bundle.finding import Finding
from extauthz.model.ports import NoTokenCache
from tests.unit.bundle.small_bundle import BUNDLE, FILES, ISSUER, POLICY, PROFILE, changed, files


def warnings(bundle: dict[str, bytes]) -> list[str]:
    return [str(finding) for finding in read_bundle(bundle, NoTokenCache()).warnings]


def public_jwk(**members: str) -> dict[str, str]:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return {**json.loads(ECAlgorithm.to_jwk(key)), "kid": "k1", "use": "sig", **members}


def test_a_bundle_becomes_a_snapshot() -> None:
    built = read_bundle(files(), NoTokenCache())
    snapshot = built.snapshot
    assert snapshot.revision == "small-1"
    assert snapshot.digest == bundle_digest(files())
    assert [profile.name for profile in snapshot.profiles.profiles] == ["api"]
    assert sorted(snapshot.tenants) == ["acme", "globex"]
    assert [policy.name for policy in snapshot.policies.policies] == ["staff"]
    assert [issuer.name for issuer in built.issuers] == ["bank"]
    assert snapshot.keys == {}, "keys from afar are not there until they were fetched"
    assert snapshot.documents == {
        "Bundle": 1, "Issuer": 1, "SecurityProfile": 1, "Tenancy": 1, "AccessPolicy": 1, "PolicyTest": 1, "Revocation": 0, "Emergency": 0,
    }  # fmt: skip
    assert built.warnings == []
    assert [case.spec.name for case in built.tests] == ["an officer reads"]


def test_without_a_name_the_revision_is_the_beginning_of_the_digest() -> None:
    unnamed = files(bundle=None)
    assert read_bundle(unnamed, NoTokenCache()).snapshot.revision == bundle_digest(unnamed)[:12]


def test_the_digest_is_of_paths_and_contents_and_nothing_else() -> None:
    """Moving a byte from one file to the next, or from name to content, is another bundle."""
    digests = {
        bundle_digest(bundle)
        for bundle in (
            {"a": b"bc", "d": b"e"},
            {"a": b"b", "cd": b"e"},
            {"ab": b"c", "d": b"e"},
            {"a": b"bcde"},
            {"a": b"bc", "d": b""},
            {},
        )
    }
    assert len(digests) == 6
    assert bundle_digest({"a": b"1", "b": b"2"}) == bundle_digest({"b": b"2", "a": b"1"})


def test_documents_may_share_files_or_not() -> None:
    """One file with everything is the same bundle of documents."""
    together = "---\n".join(text for name, text in FILES.items() if not name.startswith("data/"))
    built = read_bundle({"all.yml": together.encode(), "data/tenants.yaml": b"acme: {}\nglobex: {}\n"}, NoTokenCache())
    assert built.snapshot.documents == read_bundle(files(), NoTokenCache()).snapshot.documents


def test_keys_of_an_issuer_may_be_a_file_of_the_bundle() -> None:
    bundle = changed("issuer.yaml", 'uri: "https://idp.bank.test/certs"', "file: keys/bank.json")
    bundle["keys/bank.json"] = json.dumps({"keys": [public_jwk()]}).encode()
    snapshot = read_bundle(bundle, NoTokenCache()).snapshot
    assert {name: len(keys) for name, keys in snapshot.keys.items()} == {"bank": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", "`keys/bank.json`: not a JSON object"),
        ("{", "keys/bank.json: not valid JSON: input data was truncated"),
        ('{"keys": [],\n"keys": []}', "keys/bank.json:2: key `keys` is already set in line 1: remove one"),
    ],
)
def test_a_key_file_that_cannot_be_used_is_an_error_at_the_issuer(text: str, expected: str) -> None:
    bundle = changed("issuer.yaml", 'uri: "https://idp.bank.test/certs"', "file: keys/bank.json")
    bundle["keys/bank.json"] = text.encode()
    with pytest.raises(BundleError) as caught:
        read_bundle(bundle, NoTokenCache())
    (finding,) = caught.value.findings
    assert (finding.file, finding.line, finding.field) == ("issuer.yaml", 8, "spec.jwks.file")
    assert finding.message == expected


def test_a_key_that_is_left_out_is_a_warning() -> None:
    """KEY-04: the private half of a key does not belong there; the others still work."""
    bundle = changed("issuer.yaml", 'uri: "https://idp.bank.test/certs"', "file: keys.json")
    bundle["keys.json"] = json.dumps({"keys": [public_jwk(), public_jwk(kid="k2", d="AAAA")]}).encode()
    built = read_bundle(bundle, NoTokenCache())
    assert len(built.snapshot.keys["bank"]) == 1
    (warning,) = built.warnings
    assert str(warning).startswith("issuer.yaml:8: spec.jwks.file: `keys.json`: keys[1]")


def test_a_policy_that_no_profile_lets_anyone_reach_is_a_warning() -> None:
    assert warnings(changed("profile.yaml", '"/api/**"', '"/api/v2/**"')) == [], "`{tenant}` may be `v2`"
    elsewhere = PROFILE.replace('"/api/**"', '"/other/**"').replace('"/api/{tenant}/**"', '"/other/{tenant}/**"')
    assert warnings(files(profile=elsewhere)) == [
        (
            "policy.yaml:13: spec.rules[0].to[0].paths[0]: no SecurityProfile covers `/api/{tenant}/accounts/**` on "
            "`api.bank.test`, so every such request is refused before this rule"
        )
    ]
    assert warnings(changed("profile.yaml", "[api.bank.test]", '["*.bank.test"]')) == []
    assert len(warnings(changed("profile.yaml", "[api.bank.test]", "[www.bank.test]"))) == 1


def test_a_profile_that_another_hides_on_some_host_is_a_warning() -> None:
    """The more specific host wins, so the guards of the other profile would not apply there."""
    admin = PROFILE.replace("name: api", "name: admin").replace("[api.bank.test]", '["*"]')
    assert warnings(files(admin=admin.replace('"/api/**"', '"/api/{tenant}/admin/**"'))) == [
        (
            "admin.yaml:5: spec.match.paths[0]: on host `api.bank.test` profile `api` comes first with `/api/**`, so "
            "`/api/{tenant}/admin/**` of this profile does not apply there: add `api.bank.test` to its hosts if it should"
        )
    ]
    assert warnings(files(admin=admin)) == [], "the same paths on every other host are meant so"


def test_an_issuer_that_no_profile_accepts_is_a_warning() -> None:
    other = ISSUER.replace("name: bank", "name: other").replace("https://idp.bank.test", "https://other.test")
    assert warnings(files(other=other)) == [
        (
            "other.yaml:3: metadata.name: no SecurityProfile accepts tokens of `other`: name it in "
            "`authentication.issuers`"
        )
    ]


def test_naming_tenants_without_a_registry_is_a_warning() -> None:
    profile = PROFILE[: PROFILE.index("  tenancy:")]
    policy = POLICY.replace("- roles: [officer]", "- {roles: [officer], tenants: [acme]}")
    bundle = files(tenancy=None, profile=profile, policy=policy, again=policy.replace("name: staff", "name: again"))
    assert [line for line in warnings(bundle) if "Tenancy" in line] == [
        (
            "again.yaml:10: spec.rules[0].from[0].tenants: a tenant is named here, and in 1 other policies, but no "
            "`kind: Tenancy` says who the tenants are"
        )
    ]


def test_findings_beyond_a_thousand_are_left_out_but_errors_stay() -> None:
    many = "---\n".join(POLICY.replace("name: staff", f"name: p{n}").replace("allow", "x") for n in range(1500))
    with pytest.raises(BundleError) as caught:
        read_bundle({**files(), "many.yaml": many.encode()}, NoTokenCache())
    assert len(caught.value.findings) == 1000


def big_bundle(policies: int, tenants: int) -> dict[str, bytes]:
    registry = "".join(f"t{number}: {{region: eu}}\n" for number in range(tenants))
    one = POLICY.replace("  match:", "  tenant: {tenant}\n  match:")
    rules = "---\n".join(
        one.replace("name: staff", f"name: p{number}")
        .replace("tenant: {tenant}", f"tenant: t{number % tenants}")
        .replace("accounts", f"accounts-{number}")
        for number in range(policies)
    )
    return {**files(policy=None, tests__staff=None), "all.yaml": rules.encode(), "data/tenants.yaml": registry.encode()}


def test_reading_time_grows_with_the_bundle_and_not_with_its_square() -> None:
    """Ten times the policies take no more than 25 times as long; a loop over pairs would take 100 times."""
    seconds = []
    for policies in (200, 2000):
        bundle = big_bundle(policies, 100)
        began = time.process_time()
        built = read_bundle(bundle, NoTokenCache())
        seconds.append(time.process_time() - began)
        assert built.snapshot.documents["AccessPolicy"] == policies
    assert seconds[1] < 25 * max(seconds[0], 0.01)


def test_a_replaced_snapshot_needs_no_collector() -> None:
    """Nothing in it points back, so dropping it frees it; the server may freeze it out of the collector's sight."""
    read_bundle(files(), NoTokenCache())
    gc.collect()
    gc.disable()
    try:
        built = read_bundle(big_bundle(50, 5), NoTokenCache())
        policies = weakref.ref(built.snapshot.policies)
        del built
        assert policies() is None
        assert gc.collect() < 20
    finally:
        gc.enable()


def test_the_collector_is_on_again_after_good_and_bad_bundles() -> None:
    read_bundle(files(), NoTokenCache())
    assert gc.isenabled()
    with pytest.raises(BundleError):
        read_bundle({}, NoTokenCache())
    assert gc.isenabled()


PATHS = st.sampled_from(
    [*FILES, "a.yml", "data/x.json", "data/y.yaml", "keys.json", "tests/t.yaml", "data/", "\udcff.yaml"]
)
WORDS = st.sampled_from(
    ["name", "staff", "spec", "kind", "Issuer", "AccessPolicy", "[", "]", "{", "}", ":", "- ", "\n", "  ", "**", "*", "/",
     "{tenant}", "null", "1e400", "''", "~", "&a", "\x00", "é", "data.tenants", "true", "9" * 50, ","]
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, bytes]:
    """The small bundle with pieces of text put in, cut out or swapped."""
    bundle = dict(files())
    for _ in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from(sorted(bundle)))
        text = bundle[name].decode("utf-8", "replace")
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 12)))
        bundle[name] = (text[:start] + draw(WORDS) + text[end:]).encode()
    return bundle


def read_or_findings(bundle: dict[str, bytes]) -> list[Finding]:
    try:
        return read_bundle(bundle, NoTokenCache()).warnings
    except BundleError as error:
        assert any(finding.severity == "error" for finding in error.findings)  # noqa: PT017 - both ends are checked
        return error.findings


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.one_of(st.dictionaries(PATHS, st.binary(max_size=60), max_size=4), mutated()))
def test_any_files_are_a_bundle_or_findings(bundle: dict[str, bytes]) -> None:
    """Whatever stands in the directory, reading it never ends in another way."""
    assert all(str(finding).isprintable() for finding in read_or_findings(bundle))


@given(st.binary(max_size=400))
def test_any_bytes_in_one_file_of_a_good_bundle(text: bytes) -> None:
    read_or_findings({**files(), "policy.yaml": text})
    read_or_findings({**files(), "data/more.json": text})
    read_or_findings({**files(), "more.yaml": BUNDLE.encode() + text})
