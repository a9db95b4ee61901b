"""Whatever an import cannot carry over is reported where it stands, with what to do; and what is written is narrower."""

import pytest
import yaml

from extauthz.bundle import BundleError
from extauthz.mesh import Imported
from tests.unit.mesh.meshes import imported, notes, policy, tokens, told

ALLOW_REST = policy("{rules: [{}]}", "rest")
JWKS = "jwksUri: https://idp.example/keys"


def documents(found: Imported, kind: str = "AccessPolicy") -> dict[str, dict]:
    read = [yaml.safe_load(text) for name, text in found.files.items() if name.endswith(".yaml")]
    return {each["metadata"]["name"]: each["spec"] for each in read if each["kind"] == kind}


LOST_IN_ALLOW = [
    ("when: [{key: 'experimental.envoy.filters.x[y]', values: [z]}]", "spec.rules[0].when[0].key", "`experimental.envoy.filters.x[y]` is not known"),
    ("when: [{key: request.time, values: [z]}]", "spec.rules[0].when[0].key", "`request.time` is not known"),
    ("when: [{key: 'request.headers[x-roles]', values: ['a,b']}]", "spec.rules[0].when[0].values[0]", "a header with a comma"),
    ("when: [{key: 'request.headers[:path]', values: [/a]}]", "spec.rules[0].when[0].values[0]", "`:path` is no header"),
    ("from: [{source: {trustDomains: [cluster.local]}}]", "spec.rules[0].from[0].source.trustDomains", "`trustDomains` is not known"),
    ("from: [{source: {namespaces: ['w*b']}}]", "spec.rules[0].from[0].source.namespaces[0]", "a `*` that is neither first nor last"),
    ("from: [{source: {serviceAccounts: ['web/*']}}]", "spec.rules[0].from[0].source.serviceAccounts[0]", "not `<namespace>/<name>`"),
    ("from: [{source: {ipBlocks: [10.0.0.300]}}]", "spec.rules[0].from[0].source.ipBlocks[0]", "no IP address"),
    ("to: [{operation: {hosts: [api.example.com.]}}]", "spec.rules[0].to[0].operation.hosts[0]", "this host is `api.example.com` here"),
    ("to: [{operation: {hosts: ['[::1]:80']}}]", "spec.rules[0].to[0].operation.hosts[0]", "only names and IPv4 addresses"),
    ("to: [{operation: {ports: [http]}}]", "spec.rules[0].to[0].operation.ports[0]", "no port"),
    ("to: [{operation: {paths: ['/a/{*}.txt']}}]", "spec.rules[0].to[0].operation.paths[0]", "not a path template"),
    ("to: [{operation: {paths: ['/a/{**}/']}}]", "spec.rules[0].to[0].operation.paths[0]", "Istio documents such a template"),
    ("to: [{operation: {graphql: [x]}}]", "spec.rules[0].to[0].operation.graphql", "`graphql` is not known"),
    ("unless: [x]", "spec.rules[0].unless", "`unless` is not known"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "field", "message"), LOST_IN_ALLOW)
def test_what_an_allow_cannot_say_is_left_out_and_told(rule: str, field: str, message: str) -> None:
    """The policy still counts as an ALLOW policy: without its rule it allows nothing."""
    found = imported(policy(f"{{rules: [{{{rule}}}]}}"))
    ((kind, where, words),) = told(found)
    assert ("lost", field) == (kind, where)
    assert words.startswith(message)
    change = next(each for each in found.changes if each.kind == "lost")
    assert ("mesh.yaml", 4, "AuthorizationPolicy banking/p") == (change.file, change.line, change.document)
    assert change.instead
    assert not found.refuses, "to allow less needs no leave"
    assert {} == documents(found)


@pytest.mark.parametrize(("rule", "field", "message"), LOST_IN_ALLOW)
def test_what_a_deny_cannot_say_is_not_written_without_leave_and_denies_more_with_it(
    rule: str, field: str, message: str
) -> None:
    found = imported(policy(f"{{action: DENY, rules: [{{{rule}}}]}}"), ALLOW_REST)
    if "a,b" in rule:  # a deny rule looks at the whole of a header, too
        assert [] == told(found)
        return
    (kind, where, words) = told(found)[0]
    assert ("lost", field) == (kind, where)
    assert words.startswith(message)
    assert found.refuses
    (denied,) = documents(found)["banking.p"]["rules"]
    assert {"name"} == set(denied) - {"condition"}, "everything is denied"


def test_an_alternative_that_is_lost_leaves_the_others() -> None:
    found = imported(
        policy(
            "{rules: [{from: [{source: {namespaces: ['w*b', ops]}}, {source: {trustDomains: [x]}}], to: [{operation: {ports: ['80']}}]}]}"
        )
    )
    assert [{"namespaces": ["ops"]}] == documents(found)["banking.p"]["rules"][0]["from"]
    assert 2 == len(told(found))


def test_a_lost_exception_leaves_the_whole_alternative_of_an_allow_out() -> None:
    """`notNamespaces` with one value fewer would allow more."""
    found = imported(policy("{rules: [{from: [{source: {notNamespaces: ['w*b', ops]}}]}]}"))
    assert {} == documents(found)


def test_a_path_that_no_request_gets_through_with_is_told_in_an_allow_alone() -> None:
    allow = imported(policy("{rules: [{to: [{operation: {paths: [/a//b]}}]}]}"))
    assert [
        (
            "narrower",
            "spec.rules[0].to[0].operation.paths[0]",
            "such a path is refused before any policy: an empty segment",
        )
    ] == told(allow)
    deny = imported(policy("{action: DENY, rules: [{to: [{operation: {paths: [/a//b]}}]}]}"), ALLOW_REST)
    assert [] == told(deny)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("from: [{source: {principals: ['spiffe://cluster.local/ns/a/sa/b']}}]", "Istio's principals have no scheme"),
        ("to: [{operation: {paths: [admin]}}]", "no path begins so"),
        ("to: [{operation: {paths: ['/a?b=c']}}]", "Istio compares the path without its query"),
        ("to: [{operation: {ports: ['0']}}]", "no connection has the port 0"),
    ],
)
def test_what_never_matches_in_istio_never_matches_here_and_is_noted(rule: str, words: str) -> None:
    found = imported(policy(f"{{rules: [{{{rule}}}]}}"))
    assert words in notes(found)[0].message
    assert found.is_whole
    assert {} == documents(found)


def test_a_server_name_that_nobody_sent_counts_against_the_caller() -> None:
    """`connection.sni` reaches the server only if Envoy is told to send it: without it a deny would never deny."""
    found = imported(
        policy("{action: DENY, rules: [{when: [{key: connection.sni, values: [old.example.com]}]}]}"), ALLOW_REST
    )
    assert [
        (
            "narrower",
            "spec.rules[0].when[0].values[0]",
            "a connection whose server name is not known counts as one that this means",
        )
    ] == told(found)
    assert (
        'connection.sni == "" || connection.sni == "old.example.com"'
        == documents(found)["banking.p"]["rules"][0]["condition"]
    )
    allow = imported(policy("{rules: [{when: [{key: connection.sni, values: [old.example.com]}]}]}"))
    assert [] == told(allow)


def test_remote_addresses_come_with_a_word_about_trusted_hops() -> None:
    found = imported(policy("{rules: [{from: [{source: {remoteIpBlocks: [192.0.2.0/24]}}]}]}"))
    assert "xffTrustedHops" in notes(found)[0].message


def test_request_principals_that_documentation_and_proxy_read_differently_are_the_narrower_of_both() -> None:
    """`https://idp.example/*` is documented as a prefix; the proxy takes it for all subjects of that very issuer."""
    rules = f"[{{issuer: https://idp.example/realms/a, {JWKS}, audiences: [x], forwardOriginalToken: true}}]"
    allow = policy("{rules: [{from: [{source: {requestPrincipals: ['https://idp.example/*']}}]}]}")
    found = imported(allow, tokens(rules))
    assert [("narrower", "spec.rules[0].from[0].source.requestPrincipals[0]")] == [each[:2] for each in told(found)]
    assert 'subject.issuer == "https://idp.example"' == documents(found)["banking.p"]["rules"][0]["condition"]
    deny = policy("{action: DENY, rules: [{from: [{source: {requestPrincipals: ['https://idp.example/*']}}]}]}")
    assert [] == told(imported(deny, ALLOW_REST, tokens(rules))), "a deny takes the wider of both"


def test_another_external_authorizer_is_not_lost_in_silence() -> None:
    opa = policy("{action: CUSTOM, provider: {name: opa}, rules: [{to: [{operation: {paths: [/admin/*]}}]}]}")
    found = imported(opa, ALLOW_REST)
    assert found.refuses
    assert "another server decides here too" in told(found)[0][2]
    spec = documents(found)["banking.p"]
    assert ("deny", ["/admin/**"]) == (spec["effect"], spec["rules"][0]["to"][0]["paths"]), (
        "what it would be asked about is denied"
    )


def test_the_policy_that_asks_extauthz_itself_is_no_policy_here() -> None:
    whole = imported(
        policy("{action: CUSTOM, provider: {name: extauthz}, rules: [{}]}"),
        ALLOW_REST,
        providers=frozenset({"extauthz"}),
    )
    assert whole.is_whole
    assert {"banking.rest"} == set(documents(whole))
    with pytest.raises(BundleError, match="never sent to extauthz"):
        imported(
            policy("{action: CUSTOM, provider: {name: extauthz}, rules: [{unless: [x]}]}"),
            ALLOW_REST,
            providers=frozenset({"extauthz"}),
        )
    partly = policy("{action: CUSTOM, provider: {name: extauthz}, rules: [{to: [{operation: {paths: [/admin*]}}]}]}")
    with pytest.raises(
        BundleError,
        match=r"mesh\.yaml:4: spec\.rules: requests that these rules do not match are never sent to extauthz",
    ):
        imported(partly, ALLOW_REST, providers=frozenset({"extauthz"}))


def test_without_an_allow_policy_what_nothing_denies_is_allowed_and_noted() -> None:
    found = imported(policy("{action: DENY, rules: [{to: [{operation: {ports: ['22']}}]}]}"))
    assert {"banking.p", "istio-without-allow-policy"} == set(documents(found))
    assert "no ALLOW policy applies to the workload" in notes(found)[0].message
    assert found.is_whole


@pytest.mark.parametrize("spec", ["{}", "{action: ALLOW}", "{rules: []}", "{action: ALLOW, selector: {}}"])
def test_an_allow_policy_without_rules_allows_nothing(spec: str) -> None:
    found = imported(policy(spec))
    assert {} == documents(found)
    assert "a policy without rules allows nothing" in notes(found)[0].message


def test_an_allow_with_an_empty_rule_allows_everything() -> None:
    assert {"effect": "allow", "rules": [{"name": "rule-0"}]} == documents(imported(ALLOW_REST))["banking.rest"]


@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
def test_dry_run_and_audit_are_recorded_and_decide_nothing(action: str) -> None:
    dry = policy(f"{{action: {action}, rules: [{{}}]}}").replace(
        "namespace: banking}", "namespace: banking, annotations: {istio.io/dry-run: 'true'}}"
    )
    found = documents(imported(dry))
    assert ("shadow", action.lower()) == (found["banking.p"]["mode"], found["banking.p"]["effect"])
    assert "istio-without-allow-policy" in found, "a dry run is no ALLOW policy"
    audit = documents(imported(policy("{action: AUDIT, rules: [{}]}")))
    assert "shadow" == audit["banking.p"]["mode"]


LOST_TOKENS = [
    (f"{{issuer: 'testing@secure.istio.io', {JWKS}, audiences: [x]}}", "issuer", "`testing@secure.istio.io` is not a URL"),
    (f"{{{JWKS}, audiences: [x]}}", "issuer", "a rule without an issuer takes tokens of anybody"),
    (f"{{issuer: https://a.example, {JWKS}}}", "audiences", "no audiences, so any token of the issuer would do"),
    ("{issuer: https://a.example, jwksUri: 'http://a.example/keys', audiences: [x]}", "jwksUri", "`http://a.example/keys` must begin with `https://`"),
    ("{issuer: https://a.example, jwks: 'no json', audiences: [x]}", "jwks", "no key set"),
    ('{issuer: https://a.example, jwks: \'{"keys": [{"kty": "oct", "k": "AAAA"}]}\', audiences: [x]}', "jwks", "keys[0]"),
    (f"{{issuer: https://a.example, {JWKS}, audiences: [x], cacheDuration: 5s}}", "cacheDuration", "`cacheDuration` is not known"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "field", "message"), LOST_TOKENS)
def test_tokens_that_no_issuer_document_can_verify_are_refused(rule: str, field: str, message: str) -> None:
    """Not ignored: whoever sends one would pass as nobody."""
    found = imported(ALLOW_REST, tokens(f"[{rule}]"))
    lost = told(found)[0]
    assert ("lost", f"spec.jwtRules[0].{field}") == lost[:2]
    assert lost[2].startswith(message)
    assert lost[2].endswith("are refused")
    assert {} == documents(found, "Issuer")
    (guard,) = documents(found)["istio-unread-tokens"]["rules"]
    assert '"authorization" in request.headers || "access_token" in request.query' == guard["condition"]
    assert "none" == documents(found, "SecurityProfile")["banking"]["authentication"]["mode"]


def test_an_audience_can_be_given_for_a_rule_that_names_none() -> None:
    rules = f"[{{issuer: https://a.example, {JWKS}}}]"
    found = imported(ALLOW_REST, tokens(rules), audiences={"https://a.example": "accounts"})
    assert found.is_whole
    assert ["accounts"] == documents(found, "Issuer")["a-example"]["audiences"]


@pytest.mark.parametrize(
    ("place", "field", "condition"),
    [
        ("fromHeaders: [{name: X-Jwt}]", "fromHeaders[0]", '"x-jwt" in request.headers'),
        ("fromParams: [token]", "fromParams[0]", '"token" in request.query'),
        (
            "fromCookies: [session]",
            "fromCookies[0]",
            '"cookie" in request.headers && request.headers["cookie"].contains("session=")',
        ),
    ],
)
def test_tokens_in_other_places_are_refused(place: str, field: str, condition: str) -> None:
    found = imported(ALLOW_REST, tokens(f"[{{issuer: https://a.example, {JWKS}, audiences: [x], {place}}}]"))
    assert [("narrower", f"spec.jwtRules[0].{field}")] == [each[:2] for each in told(found)]
    assert [condition] == [rule["condition"] for rule in documents(found)["istio-unread-tokens"]["rules"]]


def test_a_token_goes_on_to_upstreams_only_where_istio_forwards_it() -> None:
    rule = f"issuer: https://a.example, {JWKS}, audiences: [x]"
    stripped = documents(imported(ALLOW_REST, tokens(f"[{{{rule}}}]")))["banking.rest"]["rules"][0]
    assert {"removeHeaders": ["authorization"]} == stripped["obligations"]
    forwarded = documents(imported(ALLOW_REST, tokens(f"[{{{rule}, forwardOriginalToken: true}}]")))["banking.rest"][
        "rules"
    ][0]
    assert "obligations" not in forwarded
    both = imported(
        ALLOW_REST,
        tokens(f"[{{{rule}, forwardOriginalToken: true}}, {{issuer: https://b.example, {JWKS}, audiences: [x]}}]"),
    )
    assert [("narrower", "spec.jwtRules[0].forwardOriginalToken")] == [each[:2] for each in told(both)]


def test_a_payload_header_is_lost_and_nobody_can_forge_it() -> None:
    found = imported(
        ALLOW_REST, tokens(f"[{{issuer: https://a.example, {JWKS}, audiences: [x], outputPayloadToHeader: x-payload}}]")
    )
    assert [("lost", "spec.jwtRules[0].outputPayloadToHeader")] == [each[:2] for each in told(found)]
    assert "x-payload" in documents(found)["banking.rest"]["rules"][0]["obligations"]["removeHeaders"]


def test_two_rules_for_one_issuer_are_one_issuer_if_they_differ_in_audiences_alone() -> None:
    rule = "issuer: https://a.example"
    same = imported(ALLOW_REST, tokens(f"[{{{rule}, {JWKS}, audiences: [x]}}, {{{rule}, {JWKS}, audiences: [y]}}]"))
    assert same.is_whole
    assert ["x", "y"] == documents(same, "Issuer")["a-example"]["audiences"]
    other = imported(ALLOW_REST, tokens(f"[{{{rule}, {JWKS}, audiences: [x]}}, {{{rule}, audiences: [y]}}]"))
    assert [("narrower", "spec.jwtRules[1].issuer")] == [each[:2] for each in told(other)]
    assert ["x"] == documents(other, "Issuer")["a-example"]["audiences"]


@pytest.mark.parametrize(
    "text", [policy("{action: DENY, rules: [{}], onlyOn: [tuesday]}"), tokens("[], onlyOn: [tuesday]")]
)
def test_what_a_document_refuses_by_a_field_that_nobody_knows_cannot_be_made_up_for(text: str) -> None:
    with pytest.raises(
        BundleError, match=r"mesh\.yaml:4: spec\.onlyOn: `onlyOn` is not known to extauthz: write this \w+ by hand"
    ):
        imported(text, ALLOW_REST)


def test_an_allow_with_a_field_that_nobody_knows_is_left_out_and_not_forgotten() -> None:
    allow = imported(policy("{rules: [{}], onlyOn: [tuesday]}"))
    assert not allow.refuses
    assert {} == documents(allow), "it counts as an ALLOW policy, so nothing is allowed"
