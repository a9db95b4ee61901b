"""What authors read when a document is wrong: file, line, field and what would be right, word for word."""

import pytest

from extauthz.bundle import BundleError, read_bundle
from extauthz.model.ports import NoTokenCache
from tests.unit.bundle.small_bundle import ISSUER, POLICY, PROFILE, TENANCY, changed, files


def errors(bundle: dict[str, bytes]) -> list[str]:
    with pytest.raises(BundleError) as caught:
        read_bundle(bundle, NoTokenCache())
    return [str(finding) for finding in caught.value.findings if finding.severity == "error"]


CASES = [
    (
        "policy.yaml",
        "apiVersion: extauthz.io/v1",
        "apiVersion: extauthz.io/v2",
        "policy.yaml:1: apiVersion: unknown version `extauthz.io/v2`: write `extauthz.io/v1`",
    ),
    (
        "policy.yaml",
        "kind: AccessPolicy",
        "kind: AcessPolicy",
        "policy.yaml:2: kind: unknown kind `AcessPolicy`, did you mean `AccessPolicy`?",
    ),
    (
        "policy.yaml",
        "kind: AccessPolicy",
        "kind: Ingress",
        "policy.yaml:2: kind: unknown kind `Ingress`: allowed are `AccessPolicy`, `Bundle`, `Emergency`, `Issuer`, `PolicyTest`, `Revocation`, `SecurityProfile`, `Tenancy`",
    ),
    (
        "policy.yaml",
        "metadata: {name: staff}",
        "metadata: {name: staff, namespace: x}",
        "policy.yaml:3: metadata.namespace: unknown field `namespace`, did you mean `name`?",
    ),
    (
        "policy.yaml",
        "metadata: {name: staff}\n",
        "kindd: x\nmetadata: {name: staff}\n",
        "policy.yaml:3: kindd: unknown field `kindd`, did you mean `kind`?",
    ),
    (
        "bundle.yaml",
        "spec: {revision: small-1}",
        "spec: {revison: small-1}",
        "bundle.yaml:4: spec.revison: unknown field `revison`, did you mean `revision`?",
    ),
    (
        "bundle.yaml",
        "spec: {revision: small-1}",
        "spec:",
        "bundle.yaml:4: spec: expected a mapping, found nothing",
    ),
    (
        "bundle.yaml",
        "spec: {revision: small-1}",
        "spec: {revision: 1.10}",
        "bundle.yaml:4: spec.revision: expected text, found the number `1.1`: quote it to make it text",
    ),
    (
        "bundle.yaml",
        "spec: {revision: small-1}",
        'spec: {revision: "two\\nlines"}',
        "bundle.yaml:4: spec.revision: must be of the form `^[!-~]([ -~]{0,126}[!-~])?$`, found the text `two\\nlines`",
    ),
    (
        "policy.yaml",
        "effect: allow",
        "effect: permit",
        "policy.yaml:5: spec.effect: unknown value `permit`: allowed are `allow`, `deny`",
    ),
    (
        "policy.yaml",
        "  effect: allow\n",
        "",
        "policy.yaml:4: spec.effect: missing: expected `allow` or `deny`",
    ),
    (
        "policy.yaml",
        "roles: [officer]",
        "role: [officer]",
        "policy.yaml:10: spec.rules[0].from[0].role: unknown field `role`, did you mean `roles`?",
    ),
    (
        "policy.yaml",
        "roles: [officer]",
        "roles: officer",
        "policy.yaml:10: spec.rules[0].from[0].roles: expected a list, found the text `officer`",
    ),
    (
        "policy.yaml",
        "roles: [officer]",
        "roles: [officer, 7]",
        "policy.yaml:10: spec.rules[0].from[0].roles[1]: expected text, found the number `7`: quote it to make it text",
    ),
    (
        "policy.yaml",
        "roles: [officer]",
        "issuers: [bnak]",
        "policy.yaml:10: spec.rules[0].from[0].issuers[0]: unknown issuer `bnak`, did you mean `bank`?",
    ),
    (
        "policy.yaml",
        "roles: [officer]",
        "tenants: [acne]",
        "policy.yaml:10: spec.rules[0].from[0].tenants[0]: unknown tenant `acne`, did you mean `acme`?",
    ),
    (
        "policy.yaml",
        "methods: [GET]",
        "method: GET",
        "policy.yaml:12: spec.rules[0].to[0].method: unknown field `method`, did you mean `methods`?",
    ),
    (
        "policy.yaml",
        'paths: ["/api/{tenant}/accounts/**"]',
        'paths: ["/api/{tenant}/accounts/**/"]',
        "policy.yaml:13: spec.rules[0].to[0].paths[0]: path pattern `/api/{tenant}/accounts/**/` must not end with `/`: `/api/{tenant}/accounts/**` covers both spellings",
    ),
    (
        "policy.yaml",
        'paths: ["/api/{tenant}/accounts/**"]',
        "paths: [api]",
        "policy.yaml:13: spec.rules[0].to[0].paths[0]: path pattern `api` must begin with `/`",
    ),
    (
        "policy.yaml",
        "condition: subject.claims.limit >= 10",
        "condition: subject.claim.limit >= 10",
        "policy.yaml:14: spec.rules[0].condition: column 1: unknown name `subject.claim.limit`: there are `subject.acr`, `subject.actors`, `subject.auth_time`, `subject.authenticated`, `subject.claims`, `subject.client`, `subject.expires_at`, `subject.id`, `subject.issued_at`, `subject.issuer`, `subject.roles`, `subject.scopes`, `subject.session`, `subject.tenant`",
    ),
    (
        "policy.yaml",
        "condition: subject.claims.limit >= 10",
        "condition: subject.claims.limit >=",
        "policy.yaml:14: spec.rules[0].condition: column 24: syntax error: mismatched input `<EOF>`",
    ),
    (
        "policy.yaml",
        "condition: subject.claims.limit >= 10",
        "condition: params.customer == 'a'",
        "policy.yaml:8: spec.rules[0]: `params.customer == 'a'` reads `params.customer` but nothing captures it: allowed are `tenant`",
    ),
    (
        "policy.yaml",
        "  match: {hosts: [api.bank.test]}\n",
        "  match: {host: api.bank.test}\n",
        "policy.yaml:6: spec.match.host: unknown field `host`, did you mean `hosts`?",
    ),
    (
        "policy.yaml",
        "hosts: [api.bank.test]",
        'hosts: ["https://api.bank.test"]',
        "policy.yaml:6: spec.match.hosts[0]: host pattern `https://api.bank.test` must be a host without port, `*.suffix`, `{name}.suffix` or `*`",
    ),
    (
        "profile.yaml",
        "issuers: [bank]",
        "issuers: [bnak]",
        "profile.yaml:6: spec.authentication.issuers[0]: unknown issuer `bnak`, did you mean `bank`?",
    ),
    (
        "profile.yaml",
        "mode: required",
        "mode: require",
        "profile.yaml:6: spec.authentication.mode: unknown value `require`, did you mean `required`?",
    ),
    (
        "profile.yaml",
        "hosts: [api.bank.test]",
        "hosts: [api.bank.test:443]",
        "profile.yaml:5: spec.match.hosts[0]: host pattern `api.bank.test:443` must be a host without port, `*.suffix`, `{name}.suffix` or `*`",
    ),
    (
        "profile.yaml",
        "hosts: [api.bank.test]",
        "hosts: []",
        "profile.yaml:5: spec.match.hosts: an empty list covers nothing: name hosts, or leave the field out to cover all",
    ),
    (
        "profile.yaml",
        'paths: ["/api/**"]',
        'paths: ["/api/**", "/a//b"]',
        "profile.yaml:5: spec.match.paths[1]: path pattern `/a//b` can never match: an empty segment",
    ),
    (
        "profile.yaml",
        'path: "/api/{tenant}/**"',
        'path: "/api/{tennant}/**"',
        "profile.yaml:9: spec.tenancy.resourceTenant[0].path: path pattern `/api/{tennant}/**` must capture `{tenant}`, e.g. `/open-banking/{tenant}/**`",
    ),
    (
        "profile.yaml",
        '  match: {hosts: [api.bank.test], paths: ["/api/**"]}\n',
        "",
        "profile.yaml:4: spec.match: missing: expected a mapping",
    ),
    (
        "profile.yaml",
        "  tenancy:\n",
        "  fapi: {ecosystem: uk-obie-3.1}\n  tenancy:\n",
        "profile.yaml:7: spec.fapi.ecosystem: unknown ecosystem `uk-obie-3.1`, did you mean `uk-obie-3.1.1`?",
    ),
    (
        "profile.yaml",
        "  tenancy:\n",
        "  audit: {whenUnavailable: allow}\n  tenancy:\n",
        "profile.yaml:7: spec.audit.whenUnavailable: unknown value `allow`: allowed are `deny`, `proceed`",
    ),
    (
        "profile.yaml",
        "  tenancy:\n",
        "  quota: {}\n  tenancy:\n",
        "profile.yaml:7: spec.quota: unknown field `quota`: allowed are `audit`, `authentication`, `fapi`, `match`, `messageSignature`, `senderConstraint`, `signedBody`, `stepUp`, `tenancy`",
    ),
    (
        "tenancy.yaml",
        "tenants: data.tenants",
        "tenants: data.tenant",
        "tenancy.yaml:4: spec.tenants: unknown data file `data.tenant`, did you mean `data.tenants`?",
    ),
    (
        "issuer.yaml",
        "algorithms: [ES256]",
        "algorithms: [ES265]",
        "issuer.yaml:7: spec.algorithms[0]: unknown algorithm `ES265`, did you mean `ES256`?",
    ),
    (
        "issuer.yaml",
        "algorithms: [ES256]",
        "algorithms: [HS256]",
        "issuer.yaml:7: spec.algorithms[0]: `HS256` is symmetric: whoever verifies could also sign; use `PS256` or `ES256`",
    ),
    (
        "issuer.yaml",
        'jwks: {uri: "https://idp.bank.test/certs"}',
        "jwks: {file: key.json}",
        "issuer.yaml:8: spec.jwks.file: unknown file `key.json`",
    ),
    (
        "issuer.yaml",
        'jwks: {uri: "https://idp.bank.test/certs"}',
        'jwks: {uri: "http://idp.bank.test/certs"}',
        "issuer.yaml:8: spec.jwks.uri: `http://idp.bank.test/certs` must begin with `https://`; `http://` is for loopback only",
    ),
    (
        "issuer.yaml",
        "audiences: [bank]",
        "audience: [bank]",
        "issuer.yaml:6: spec.audience: unknown field `audience`, did you mean `audiences`?",
    ),
    (
        "tests/staff.yaml",
        "outcome: allow",
        "outcome: allow, reason: policy_allow",
        "tests/staff.yaml:9: spec.cases[0].expect.reason: unknown reason `policy_allow`, did you mean `policy_allowed`?",
    ),
    (
        "tests/staff.yaml",
        "outcome: allow",
        "outcome: allow, reason: token_expired",
        "tests/staff.yaml:9: spec.cases[0].expect.reason: reason `token_expired` has outcome `deny`, not `allow`",
    ),
    (
        "tests/staff.yaml",
        "rule: read",
        "rule: reads",
        "tests/staff.yaml:9: spec.cases[0].expect.rule: policy `staff` has no rule `reads`, did you mean `read`?",
    ),
    (
        "tests/staff.yaml",
        "policy: staff",
        "policy: stuff",
        "tests/staff.yaml:9: spec.cases[0].expect.policy: unknown policy `stuff`, did you mean `staff`?",
    ),
    (
        "tests/staff.yaml",
        "issuer: bank",
        "issuer: banc",
        "tests/staff.yaml:8: spec.cases[0].token.issuer: unknown issuer `banc`, did you mean `bank`?",
    ),
    (
        "tests/staff.yaml",
        "host: api.bank.test, ",
        "",
        "tests/staff.yaml:7: spec.cases[0].request.host: missing: name the host, or write `tcp: true`",
    ),
    (
        "tests/staff.yaml",
        "request: {host: api.bank.test",
        "request: {headers: {Authorization: x}, host: api.bank.test",
        "tests/staff.yaml:7: spec.cases[0].request.headers.Authorization: `token` writes this header: leave one of the two out",
    ),
    (
        "tests/staff.yaml",
        "spec:\n",
        "spec:\n  now: yesterday\n",
        "tests/staff.yaml:5: spec.now: expected a whole number or a time such as `2026-01-31T12:00:00Z`, found the text `yesterday`",
    ),
    (
        "data/tenants.yaml",
        "globex: {region: us}",
        "acme: {region: us}",
        "data/tenants.yaml:2: key `acme` is already set in line 1: remove one",
    ),
    (
        "data/tenants.yaml",
        "globex: {region: us}",
        "ACME: {region: us}",
        "tenancy.yaml:4: spec.tenants: tenant ids `acme` and `ACME` in `data.tenants` differ only in case",
    ),
]


@pytest.mark.parametrize(("file", "old", "new", "expected"), CASES)
def test_one_mistake_is_one_line_that_says_where_and_what_would_be_right(
    file: str, old: str, new: str, expected: str
) -> None:
    assert errors(changed(file, old, new)) == [expected]


def test_all_mistakes_of_a_bundle_come_at_once_in_order_of_files_and_lines() -> None:
    bundle = {
        **files(),
        "issuer.yaml": ISSUER.replace("ES256", "none").encode(),
        "policy.yaml": POLICY.replace("effect: allow", "effect: maybe").replace("GET", "get").encode(),
        "tenancy.yaml": TENANCY.replace("data.tenants", "data.tenant").encode(),
        "broken.yaml": b"a: [",
    }
    assert errors(bundle) == [
        "broken.yaml:1: not valid YAML: did not find expected node content",
        "issuer.yaml:7: spec.algorithms[0]: `none` is no signature: anybody could write such a token",
        "policy.yaml:5: spec.effect: unknown value `maybe`: allowed are `allow`, `deny`",
        "tenancy.yaml:4: spec.tenants: unknown data file `data.tenant`, did you mean `data.tenants`?",
    ]


def test_who_refers_to_a_broken_document_is_not_blamed() -> None:
    """The profile names the issuer, the test names the policy and the issuer; only the broken ones are reported."""
    bundle = {
        **files(),
        "issuer.yaml": ISSUER.replace("  audiences: [bank]\n", "").encode(),
        "policy.yaml": POLICY.replace("kind: AccessPolicy", "kind: AccesPolicy").encode(),
        "data/tenants.yaml": b"acme: {}\nacme: {}\n",
    }
    assert errors(bundle) == [
        "data/tenants.yaml:2: key `acme` is already set in line 1: remove one",
        (
            "issuer.yaml:4: spec.audiences: `audiences` must name what this service is called in tokens, or any token of "
            "the issuer would do"
        ),
        "policy.yaml:2: kind: unknown kind `AccesPolicy`, did you mean `AccessPolicy`?",
    ]


@pytest.mark.parametrize("file", ["issuer.yaml", "policy.yaml", "tenancy.yaml"])
def test_who_refers_to_a_file_that_cannot_be_parsed_is_not_blamed(file: str) -> None:
    policy = POLICY.replace("- roles: [officer]", "- {roles: [officer], issuers: [bank], tenants: [acme]}")
    assert errors({**files(policy=policy), file: b"- ["}) == [
        f"{file}:1: not valid YAML: did not find expected node content"
    ]


def test_two_documents_of_one_kind_and_name_are_refused_and_both_places_named() -> None:
    assert errors(files(again="# comment\n---\n" + POLICY)) == [
        "policy.yaml:3: metadata.name: AccessPolicy `staff` exists already, see again.yaml:5: remove or rename one"
    ]


def test_there_is_one_tenancy_and_one_bundle_document() -> None:
    assert errors(files(more=TENANCY.replace("name: tenants", "name: more"))) == [
        "tenancy.yaml:3: metadata.name: a bundle has at most one Tenancy, see more.yaml:3: remove or rename one"
    ]


def test_two_profiles_may_not_claim_one_route() -> None:
    """Which of them applied would be chance; `{name}` and `*` cover the same."""
    other = PROFILE.replace("name: api", "name: other").replace('"/api/**"', '"/x", "/api/**"')
    assert errors(files(z_other=other)) == [
        (
            "z_other.yaml:5: spec.match.paths[1]: path `/api/**` on host `api.bank.test` is already a route of profile "
            "`api`: remove one"
        )
    ]


def test_a_directory_without_documents_is_no_bundle() -> None:
    assert errors({}) == ["bundle.yaml: no file was found: is this the directory of a bundle?"]
    assert errors({"data/tenants.yaml": b"a: {}\n"}) == [
        "bundle.yaml: no SecurityProfile and no AccessPolicy was found: is this the directory of a bundle?"
    ]


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("data/a/b.yaml", "x: 1", "data/a/b.yaml: data files lie directly in `data/`: move it there"),
        (
            "data/my-list.json",
            "[]",
            "data/my-list.json: conditions read this file as `data.my-list`: use letters, digits and `_` in its name",
        ),
        ("data/tenants.yml", "x: {}", "data/tenants.yml: `data.tenants` is already read from another file: remove one"),
        ("data/two.yaml", "a: 1\n---\nb: 1\n", "data/two.yaml:3: a data file holds one document, found 2"),
        ("data/none.yaml", "# nothing\n", "data/none.yaml: a data file holds one document, found 0"),
        ("data/bad.json", "{", "data/bad.json: not valid JSON: input data was truncated"),
    ],
)
def test_data_files_have_one_name_and_one_value(path: str, text: str, expected: str) -> None:
    assert errors({**files(), path: text.encode()}) == [expected]
