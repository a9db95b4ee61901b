"""What is remembered of one request serves another only where no rule could tell them apart."""

import gc
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from extauthz.model.reasons import Reason
from extauthz.model.request import Peer
from extauthz.model.subject import ANONYMOUS, Subject
from extauthz.policy import AccessPolicySpec, NamedPolicy, Names, PolicySet, compile_policies, evaluate, kinds
from extauthz.policy.asked import Asked
from extauthz.policy.kinds import Kinds
from extauthz.policy.sources import TEXT_FIELDS
from tests.fakes import a_request
from tests.unit.policy.bench import ALICE, NOW, policy_set, verdict
from tests.unit.policy.generated import HOSTS, SEGMENTS, SPECS, SUBJECTS, TENANTS
from tests.unit.policy.test_gates import without_gates

BOB = replace(ALICE, id="bob", roles=("clerk",))
OFFICERS = """
effect: allow
rules:
- name: read
  from: [{roles: [officer]}]
  to: [{methods: [GET], paths: ["/customers/{customer}/**"]}]
"""


def asked_for(path: str, subject: Subject = ALICE, **more: Any) -> tuple[Any, Subject]:
    return a_request(more.pop("method", "GET"), path, **more), subject


def kinds_of(made: PolicySet, *questions: tuple[Any, Subject]) -> int:
    """How many kinds the questions are of."""
    for request, subject in questions:
        made.evaluate(request, subject, "", NOW)
    return len(made._shortlists)


def test_what_no_rule_names_makes_no_kind_of_its_own() -> None:
    made = policy_set(OFFICERS)
    strangers = [replace(ALICE, id=name, client=name, roles=("officer", name), scopes=(name,)) for name in "abc"]
    questions = [asked_for(f"/customers/c-{at}/orders", subject) for at, subject in enumerate(strangers)]
    assert 1 == kinds_of(made, *questions)
    assert 2 == kinds_of(made, asked_for("/customers/c-1/orders", BOB))
    assert 3 == kinds_of(made, asked_for("/customers/c-1"))
    assert 4 == kinds_of(made, asked_for("/customers/c-1", method="BREW"))
    assert 4 == kinds_of(made, asked_for("/customers/c-1", method="PUT"))


def test_a_rule_for_one_caller_is_never_remembered_for_another() -> None:
    made = policy_set("{effect: allow, rules: [{from: [{requestPrincipals: ['https://idp.test/alice']}]}]}")
    for _ in range(2):
        assert Reason.POLICY_ALLOWED is verdict(made, a_request()).reason
        assert Reason.NO_POLICY_MATCHED is verdict(made, a_request(), BOB).reason


@pytest.mark.parametrize("blocks", ["ipBlocks", "remoteIpBlocks"])
def test_an_address_is_looked_at_each_time(blocks: str) -> None:
    made = policy_set(f"{{effect: allow, rules: [{{from: [{{{blocks}: [10.0.0.0/8]}}]}}]}}")
    for _ in range(2):
        for address, reason in (("10.1.2.3", Reason.POLICY_ALLOWED), ("192.0.2.1", Reason.NO_POLICY_MATCHED)):
            request = a_request(source=Peer(address))
            request = replace(request, facts=replace(request.facts, client_address=address))
            assert reason is verdict(made, request).reason


def test_captures_are_those_of_the_request_and_not_of_the_first_of_its_kind() -> None:
    made = policy_set(
        OFFICERS.replace("name: read", "name: read\n  condition: params.customer == 'c-1'")
        + "  obligations: {upstreamHeaders: {x-customer: params.customer}}"
    )
    for _ in range(2):
        found = verdict(made, a_request(path="/customers/c-1/orders"))
        assert (("x-customer", "c-1"),) == found.obligations.upstream_headers
        assert Reason.NO_POLICY_MATCHED is verdict(made, a_request(path="/customers/c-2/orders")).reason
    assert 1 == len(made._shortlists)


def test_one_name_for_two_captures_must_capture_the_same_each_time() -> None:
    made = policy_set(
        "{effect: allow, match: {hosts: ['{t}.test']}, rules: [{to: [{paths: ['/x/{t}']}], "
        "obligations: {upstreamHeaders: {x-t: params.t}}}]}"
    )
    for host, path, allowed in (("a.test", "/x/a", True), ("a.test", "/x/b", False), ("b.test", "/x/b", True)) * 2:
        assert allowed == (Reason.POLICY_ALLOWED is verdict(made, a_request(path=path, host=host)).reason)


def test_t11_the_case_of_a_path_is_part_of_its_kind() -> None:
    made = policy_set(OFFICERS + "---\n{effect: deny, rules: [{to: [{paths: [/Customers/secret/**]}]}]}")
    for path, reason in (
        ("/customers/c-1/x", Reason.POLICY_ALLOWED),
        ("/customers/C-1/x", Reason.POLICY_ALLOWED),
        ("/CUSTOMERS/c-1/x", Reason.NO_POLICY_MATCHED),
        ("/customers/SECRET/x", Reason.POLICY_DENIED),
        ("/customers/secret/x", Reason.POLICY_DENIED),
    ) * 2:
        assert reason is verdict(made, a_request(path=path)).reason, path


def test_every_field_of_from_is_either_of_a_kind_or_looked_at_each_time() -> None:
    """A new field is looked at each time, until somebody says that it belongs to a kind."""
    assert {"request_principals"} == {
        name for name in TEXT_FIELDS if name.replace("service_accounts", "serviceAccounts") not in kinds._CALLERS
    }


def test_too_many_candidates_or_too_long_names_are_looked_up_each_time() -> None:
    rules = ", ".join(f'{{name: r{at}, condition: \'request.headers["x"] == "{at}"\'}}' for at in range(70))
    made = policy_set(f"{{effect: allow, rules: [{rules}]}}")
    for _ in range(2):
        assert "r69" == verdict(made, a_request(headers=[("x", "69")])).rule
    assert [evaluate._LONG] == [*made._shortlists.young.values()]
    wild = policy_set("{effect: allow, rules: [{from: [{roles: ['of*']}]}]}")
    assert Reason.POLICY_ALLOWED is verdict(wild, a_request(), replace(ALICE, roles=("x" * 4000, "officer"))).reason
    assert 0 == len(wild._shortlists)


def test_shortlists_are_bounded_and_invisible_to_the_collector() -> None:
    """A client that names ever other hosts fills no memory and causes no pause."""
    made = policy_set("{effect: allow, match: {hosts: ['*.test']}, rules: [{from: [{roles: [officer]}]}]}")
    for number in range(evaluate._MAX_SHORTLISTS + 100):
        assert Reason.POLICY_ALLOWED is verdict(made, a_request(host=f"h{number}.test")).reason
    assert evaluate._MAX_SHORTLISTS // 2 <= len(made._shortlists) <= evaluate._MAX_SHORTLISTS
    gc.collect()
    young = made._shortlists.young
    assert not any(gc.is_tracked(item) for pair in young.items() for item in pair)
    assert not any(gc.is_tracked(kind.shape) for kind in young)
    assert not gc.is_tracked(young)


CONDITIONS = [
    "",
    "",
    "true",
    "false",
    "subject.claims.nothing == 1",
    "request.path.size() > 4",
    "subject.id == 'alice'",
]
CAPTURING = ["params.id == 'c1'", "params.id != 'c1'"]
REQUESTS = st.builds(
    lambda method, host, segments, peer: a_request(
        method, "/" + "/".join(segments), host=host, source=peer, destination=Peer(port=443 if method == "GET" else 80)
    ),
    st.sampled_from(["GET", "POST", "PUT"]),
    st.sampled_from(HOSTS),
    st.lists(st.sampled_from([*SEGMENTS, "c2", "C1"]), max_size=4),
    st.sampled_from(
        [Peer("10.1.0.1"), Peer("10.2.0.1", principal="spiffe://td/ns/a/sa/b"), Peer("192.0.2.1")],
    ),
)


@st.composite
def documents(draw: Any) -> dict[str, Any]:
    document = draw(SPECS)
    for rule in document["rules"]:
        captured = any(
            "{id}" in path for place in (document["match"], *rule.get("to", ())) for path in place.get("paths", ())
        )
        rule["condition"] = draw(st.sampled_from([*CONDITIONS, *(CAPTURING if captured else [])]))
        if draw(st.booleans()):
            for operation in rule.get("to", ()):
                operation[draw(st.sampled_from(["ports", "notPorts"]))] = [443]
        if draw(st.booleans()):
            for source in rule.get("from", ()):
                field = draw(st.sampled_from(["namespaces", "notNamespaces", "serviceAccounts", "actors", "notActors"]))
                source[field] = ["a/b" if field == "serviceAccounts" else draw(st.sampled_from(["a", "portal-web"]))]
        if document["effect"] == "allow" and draw(st.booleans()):
            rule["obligations"] = {"upstreamHeaders": {"x-a": "params.id" if captured else "request.path"}}
    return document  # type: ignore[no-any-return]


@settings(deadline=None, max_examples=60)
@given(
    found=st.lists(documents(), min_size=1, max_size=6),
    questions=st.lists(
        st.tuples(REQUESTS, st.one_of(SUBJECTS, st.just(ANONYMOUS)), st.sampled_from(["", *TENANTS])),
        min_size=10,
        max_size=20,
    ),
)
def test_what_is_remembered_changes_nothing_of_a_verdict(found: list[Any], questions: list[Any]) -> None:
    """Conditions over captures, obligations, ports, actors, services, shadow matches and missing scopes included."""
    policies = [NamedPolicy(f"p{at}", msgspec.convert(each, AccessPolicySpec)) for at, each in enumerate(found)]
    problems: list[Any] = [[] for _ in policies]
    made = compile_policies(policies, Names(), {}, problems)
    for request, subject, tenant in (*questions, *questions):
        assert without_gates(made, request, subject, tenant) == made.evaluate(request, subject, tenant, NOW)


@settings(deadline=None, max_examples=50)
@given(
    found=st.lists(documents(), min_size=1, max_size=4), questions=st.lists(st.tuples(REQUESTS, SUBJECTS), max_size=8)
)
def test_a_kind_does_not_depend_on_ids(found: list[Any], questions: list[Any]) -> None:
    policies = [NamedPolicy(f"p{at}", msgspec.convert(each, AccessPolicySpec)) for at, each in enumerate(found)]
    made = Kinds(compile_policies(policies, Names(), {}, [[] for _ in policies])._rules)
    for request, subject in questions:
        other = replace(subject, id="somebody", token_id="t", session="s", claims=b'{"a":1}')
        assert made.of(Asked(request, subject, "", NOW)) == made.of(Asked(request, other, "", NOW + 1))
