"""What cannot be told for sure never helps the caller: by threat id."""

from typing import Any

import pytest
from msgspec.structs import replace

from extauthz.model.reasons import Reason
from extauthz.model.request import Peer
from tests.fakes import a_request
from tests.unit.policy.bench import ALICE, allows, compiled, messages, policy_set, rule, verdict

HEADER = "request.headers[x-risk]"


def risk(*values: str, joined: bool = False) -> Any:
    return a_request(headers=[("x-risk", value) for value in values], joined=joined)


def when(values: str = "", not_values: str = "") -> str:
    fields = [f"key: '{HEADER}'"]
    fields += [f"values: [{values}]"] if values else []
    fields += [f"notValues: [{not_values}]"] if not_values else []
    return f"{{when: [{{{', '.join(fields)}}}]}}"


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("condition", [when("low"), when("'*'"), when(not_values="high"), when("'*'", "high")])
def test_t26_a_header_with_more_than_one_value_matches_no_allow_rule(condition: str, joined: bool) -> None:
    assert allows(rule("allow", condition), risk("low"))
    assert not allows(rule("allow", condition), risk("low", "high", joined=joined))
    assert not allows(rule("allow", condition), risk("low", "low", joined=joined))


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("sent", [("high",), ("high", "low"), ("low", "high"), ("low", " high\t"), ("low,high",)])
def test_t26_a_deny_rule_finds_its_value_in_any_part_of_a_header(sent: tuple[str, ...], joined: bool) -> None:
    assert not allows(rule("deny", when("high")), risk(*sent, joined=joined))


def test_t26_a_deny_rule_also_compares_the_whole_header() -> None:
    assert not allows(rule("deny", when("'a,b'")), risk("a", "b"))
    assert allows(rule("deny", when("high")), risk("low", "medium"))


@pytest.mark.parametrize("sent", [("low", "low"), ("low", "high"), ()])
def test_t26_t36_a_deny_with_not_values_spares_only_a_single_present_value(sent: tuple[str, ...]) -> None:
    made = rule("deny", when(not_values="low"))
    assert allows(made, risk("low"))
    assert not allows(made, risk(*sent))


def test_t36_a_deny_with_values_needs_the_header() -> None:
    """Absence is only held against a caller by `notValues`; a deny on a value cannot know of a stripped header."""
    assert allows(rule("deny", when("high")), risk())


def test_t15_a_header_that_is_no_text_is_held_against_the_caller() -> None:
    assert not allows(rule("allow", when(not_values="high")), risk("\udcff"))
    assert not allows(rule("deny", when("high")), risk("\udcff"))
    assert not allows(rule("allow", "{condition: \"request.headers['x-risk'] != 'high'\"}"), risk("\udcff"))


@pytest.mark.parametrize("joined", [True, False])
def test_t26_a_condition_that_reads_a_header_with_two_values_errs(joined: bool) -> None:
    body = "{condition: \"request.headers['x-risk'] != 'high'\"}"
    found = verdict(rule("allow", body), risk("low", "high", joined=joined))
    assert (Reason.NO_POLICY_MATCHED, ("tried/rule-0",)) == (found.reason, found.condition_errors)
    assert Reason.CONDITION_ERROR is verdict(rule("deny", body), risk("low", "high", joined=joined)).reason
    every = "{condition: \"request.headers.all(name, request.headers[name] != 'high')\"}"
    assert not allows(rule("allow", every), risk("low", "high", joined=joined))
    assert allows(rule("allow", every), risk("low"))


def test_t26_headers_that_commonly_hold_commas_can_be_read_by_conditions() -> None:
    made = rule("allow", "{condition: \"request.headers['user-agent'].contains('KHTML, like')\"}")
    agent = ("user-agent", "Mozilla/5.0 (KHTML, like Gecko)")
    assert allows(made, a_request(headers=[agent]))
    assert not allows(made, a_request(headers=[agent, agent]))


@pytest.mark.parametrize("path", ["/ADMIN/users", "/Admin/users", "/admin/USERS"])
def test_t11_deny_rules_match_paths_in_any_case_allow_rules_exactly(path: str) -> None:
    request = a_request(path=path)
    assert not allows(rule("allow", "{to: [{paths: [/admin/users]}]}"), request)
    assert not allows(rule("deny", "{to: [{paths: [/admin/**]}]}"), request)


def test_t11_not_paths_err_on_the_other_side() -> None:
    assert not allows(rule("allow", "{to: [{notPaths: [/admin/**]}]}"), a_request(path="/ADMIN/users"))
    assert not allows(rule("deny", "{to: [{notPaths: [/public/**]}]}"), a_request(path="/PUBLIC/x"))
    assert allows(rule("deny", "{to: [{notPaths: [/public/**]}]}"), a_request(path="/public/x"))


def test_t11_captured_segments_are_compared_likewise() -> None:
    to = "to: [{paths: ['/{area}/**']}]"
    positive = f"{{{to}, when: [{{key: 'params[area]', values: [admin]}}]}}"
    assert not allows(rule("allow", positive), a_request(path="/Admin/x"))
    assert not allows(rule("deny", positive), a_request(path="/Admin/x"))
    spared = f"{{{to}, when: [{{key: 'params[area]', notValues: [public]}}]}}"
    assert not allows(rule("deny", spared), a_request(path="/Public/x"))
    assert allows(rule("deny", spared), a_request(path="/public/x"))


def test_t11_a_capture_keeps_the_spelling_that_was_sent() -> None:
    made = rule("deny", "{to: [{paths: ['/API/{id}']}], condition: \"params.id == 'Ab'\"}")
    assert not allows(made, a_request(path="/api/Ab"))
    assert allows(made, a_request(path="/api/ab"))


T32 = [
    "spiffe://evil.test/ns/web/sa/front",
    "spiffe://cluster.local.evil.test/ns/web/sa/front",
    "spiffe://evil.test/spiffe://cluster.local/ns/web/sa/front",
    "cluster.local/ns/web/sa/front",  # a DNS name that looks like an identity
    "http://cluster.local/ns/web/sa/front",
    "SPIFFE://cluster.local/ns/web/sa/front",
    "spiffe://cluster.local/ns/web/sa/frontier",
    "spiffe://cluster.local/ns/web/sa/front\x00",
    "spiffe://cluster.local/ns/web/sa/front/x",
    "front.web",
    "",
]


@pytest.mark.parametrize("principal", T32)
def test_t32_a_principal_matches_as_a_whole_with_its_scheme(principal: str) -> None:
    request = a_request(source=Peer(principal=principal))
    for pattern in ("cluster.local/ns/web/sa/front", "spiffe://cluster.local/ns/web/sa/front"):
        assert not allows(rule("allow", f"{{from: [{{principals: ['{pattern}']}}]}}"), request)
        assert not allows(rule("deny", f"{{from: [{{notPrincipals: ['{pattern}']}}]}}"), request)


@pytest.mark.parametrize(
    "principal",
    [
        "spiffe://cluster.local/ns/web/x/sa/front",
        "spiffe://cluster.local/x/ns/web/sa/front",
        "https://cluster.local/ns/web/sa/front",
        "spiffe:///ns/web/sa/front",
        "/ns/web/sa/front",
    ],
)
def test_t32_a_namespace_is_read_only_from_a_workload_identity(principal: str) -> None:
    request = a_request(source=Peer(principal=principal))
    assert not allows(rule("allow", "{from: [{namespaces: [web]}]}"), request)
    assert not allows(rule("allow", "{from: [{serviceAccounts: [web/front]}]}"), request)


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("spiffe://cluster.local*", "does not end the trust domain"),
        ("cluster.local", "does not end the trust domain"),
        ("spiffe://cluster.*/ns/web/sa/front", "stands only at the beginning or at the end"),
        ("*front", "a suffix begins with `*/`"),
        ("*web*", "stands only at the beginning or at the end"),
        ("https://cluster.local/ns/web/sa/front", "has another scheme"),
        ("SPIFFE://cluster.local/ns/web/sa/front", "has another scheme"),
    ],
)
def test_t32_a_pattern_that_could_match_part_of_a_name_is_refused(pattern: str, fault: str) -> None:
    _, problems = compiled(f"{{effect: allow, rules: [{{from: [{{principals: ['{pattern}']}}]}}]}}")
    assert [fault] == [fault for message in messages(problems) if fault in message]


@pytest.mark.parametrize(
    "address", ["/run/envoy.sock", "envoy://internal_client_address/", "", "fe80::1%eth0", "10.0.0"]
)
def test_t34_an_unreadable_address_is_held_against_the_caller(address: str) -> None:
    request = a_request(source=Peer(address=address))
    for field in ("ipBlocks", "notIpBlocks"):
        assert not allows(rule("allow", f"{{from: [{{{field}: [10.0.0.0/8]}}]}}"), request)
        assert not allows(rule("deny", f"{{from: [{{{field}: [10.0.0.0/8]}}]}}"), request)


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "::ffff:a01:203"])
def test_t34_an_address_has_one_reading_in_either_version(address: str) -> None:
    request = a_request(source=Peer(address=address))
    assert allows(rule("allow", "{from: [{ipBlocks: ['10.0.0.0/8', '2001:db8::/32']}]}"), request)
    assert allows(rule("allow", "{from: [{ipBlocks: ['::ffff:10.0.0.0/104']}]}"), request)
    assert not allows(rule("allow", "{from: [{ipBlocks: ['::/0']}]}"), request)


def test_t34_ip_blocks_see_the_peer_and_remote_ip_blocks_the_client() -> None:
    request = a_request(source=Peer(address="10.1.2.3"))
    request = replace(request, facts=replace(request.facts, client_address="203.0.113.9"))
    assert allows(rule("allow", "{from: [{ipBlocks: [10.1.2.3], remoteIpBlocks: [203.0.113.9]}]}"), request)
    assert not allows(rule("allow", "{from: [{ipBlocks: [203.0.113.9]}]}"), request)


QUERIES = ["a=1&a=2", "a=1&A=1", "a=1&%61=2", "a=1;b=2", "a=%zz", "a=%ff", "a=1&b=%c3"]


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize(
    "body",
    [
        "{when: [{key: 'request.query[a]', values: ['1']}]}",
        "{when: [{key: 'request.query[a]', notValues: ['9']}]}",
        "{condition: \"request.query.a == '1'\"}",
        "{condition: \"!('9' in request.query)\"}",
        "{condition: request.query.size() > 0}",
    ],
)
def test_t07_a_query_that_parsers_read_differently_is_a_condition_error(query: str, body: str) -> None:
    if query in {"a=1&a=2", "a=1&A=1", "a=1&%61=2"} and "'9' in" in body:
        return  # another parameter is repeated, which this condition does not read
    request = a_request(path=f"/x?{query}")
    found = verdict(rule("allow", body), request)
    assert (Reason.NO_POLICY_MATCHED, ("tried/rule-0",)) == (found.reason, found.condition_errors)
    denied = verdict(rule("deny", body), request)
    assert (Reason.CONDITION_ERROR, ("tried/rule-0",)) == (denied.reason, denied.condition_errors)


@pytest.mark.parametrize(("query", "value"), [("a=1+2", "1 2"), ("a=%C3%BC", "ü"), ("a", ""), ("b=1&a=x=y", "x=y")])
def test_query_parameters_are_decoded_once(query: str, value: str) -> None:
    made = rule("allow", f"{{condition: \"request.query.a == '{value}'\"}}")
    assert allows(made, a_request(path=f"/x?{query}"))


def test_t57_the_policy_tenant_is_the_resource_not_the_subject() -> None:
    made = policy_set("{effect: allow, tenant: acme, rules: [{from: [{tenants: [acme]}]}]}")
    assert not allows(made, a_request(), ALICE, tenant="globex")
    assert not allows(made, a_request(), replace(ALICE, tenant="globex"), tenant="acme")


def test_t74_header_names_in_any_spelling_read_the_same_header() -> None:
    for body in (
        "{when: [{key: 'request.headers[X-Risk]', values: [low]}]}",
        "{condition: \"request.headers['X-Risk'] == 'low'\"}",
        "{condition: \"'X-RISK' in request.headers\"}",
    ):
        assert allows(rule("allow", body), risk("low"))


@pytest.mark.parametrize("claims", [b"", b"[]", b"{", b'"x"', b"\xff"])
def test_claims_that_are_no_object_are_a_condition_error(claims: bytes) -> None:
    caller = replace(ALICE, claims=claims)
    for body in (
        "{when: [{key: 'request.auth.claims[a]', notValues: [x]}]}",
        '{condition: "!has(subject.claims.a)"}',
        "{condition: subject.claims.size() == 0}",
    ):
        assert Reason.CONDITION_ERROR is verdict(rule("deny", body), a_request(), caller).reason
        assert not allows(rule("allow", body), a_request(), caller)


@pytest.mark.parametrize("number", ["9223372036854775808", "-9223372036854775809", "1" + "0" * 400])
def test_integers_beyond_64_bits_are_a_condition_error(number: str) -> None:
    caller = replace(ALICE, claims=f'{{"limit":{number},"deep":{{"list":[{number}]}}}}'.encode())
    for text in ("subject.claims.limit > 5", "subject.claims.deep.list.size() > 0", "subject.claims.size() > 0"):
        assert Reason.CONDITION_ERROR is verdict(rule("deny", f"{{condition: {text}}}"), a_request(), caller).reason
        assert not allows(rule("allow", f"{{condition: {text}}}"), a_request(), caller)


def test_a_condition_error_counts_only_when_nothing_else_speaks_against_the_rule() -> None:
    body = "{when: [{key: 'request.query[a]', values: [x]}, {key: subject.tenant, values: [other]}]}"
    found = verdict(rule("deny", body), a_request(path="/?a=1&a=2"))
    assert (Reason.POLICY_ALLOWED, ()) == (found.reason, found.condition_errors)


def test_an_erring_allow_is_skipped_and_a_later_one_decides() -> None:
    made = policy_set(
        "{name: a, effect: allow, rules: [{condition: \"request.query.a == 'x'\"}]}\n---\n"
        "{name: b, effect: allow, rules: [{}]}"
    )
    found = verdict(made, a_request())
    assert (Reason.POLICY_ALLOWED, "b", ("a/rule-0",)) == (found.reason, found.policy, found.condition_errors)


@pytest.mark.parametrize("claim", ["1.0", '{"a":1}', '["x",["y"]]', '["x",0.5]'])
def test_a_claim_without_one_text_is_held_against_the_caller(claim: str) -> None:
    caller = replace(ALICE, claims=f'{{"level":{claim}}}'.encode())
    for field in ("values: ['1', x]", "notValues: [y]"):
        body = f"{{when: [{{key: 'request.auth.claims[level]', {field}}}]}}"
        assert not allows(rule("allow", body), a_request(), caller)
        assert not allows(rule("deny", body), a_request(), caller)


def test_a_null_claim_is_absent() -> None:
    caller = replace(ALICE, claims=b'{"level":null}')
    assert not allows(
        rule("allow", "{when: [{key: 'request.auth.claims[level]', values: ['*']}]}"), a_request(), caller
    )
