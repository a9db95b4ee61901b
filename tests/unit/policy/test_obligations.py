"""What an allow adds: computed, validated at load, and refused rather than left out."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from extauthz.model.reasons import Reason
from tests.fakes import a_request
from tests.unit.policy.bench import ALICE, compiled, messages, rule, verdict


def made(obligations: str, condition: str = "true") -> Any:
    return rule("allow", f'{{condition: "{condition}", obligations: {obligations}}}')


def test_values_are_texts_integers_truth_values_and_lists() -> None:
    found = verdict(
        made(
            "{upstreamHeaders: {X-Limit: subject.claims.limit, x-roles: subject.roles, x-vip: subject.claims.vip}, "
            "clientHeaders: {x-tier: \"'gold'\"}, removeHeaders: [Cookie], setQuery: {tenant: subject.tenant}, "
            "removeQuery: [debug], metadata: {tier: \"'a' + 'b'\"}}"
        ),
        a_request(),
    ).obligations
    assert (("x-limit", "500"), ("x-roles", "officer,auditor"), ("x-vip", "true")) == found.upstream_headers
    assert (("x-tier", "gold"),) == found.client_headers
    assert ("cookie",) == found.removed_headers
    assert (("tenant", "acme"),) == found.set_query
    assert ("debug",) == found.removed_query
    assert (("tier", "ab"),) == found.metadata


@pytest.mark.parametrize(
    "expression",
    [
        "subject.claims.nothing",
        "subject.claims.address",  # a map
        "subject.claims.text",  # a control character
        "subject.claims.list",  # a member with a comma would read as two
        "subject.claims.long",
        "subject.claims.half",  # a fraction has more than one spelling
    ],
)
def test_t38_an_obligation_that_cannot_be_written_makes_its_rule_not_match(expression: str) -> None:
    claims = b'{"address":{},"text":"a\\r\\nset-cookie: x","list":["a,b"],"half":0.5,"long":"%s"}' % (b"x" * 5_000)
    found = verdict(made(f"{{upstreamHeaders: {{x-a: {expression}}}}}"), a_request(), replace(ALICE, claims=claims))
    assert (Reason.NO_POLICY_MATCHED, ("tried/rule-0",)) == (found.reason, found.condition_errors)


@pytest.mark.parametrize("char", ["\t", "\x00", "\x7f", "\x80", "\x85", "\x9f", "\u2028", "\u2029"])
@pytest.mark.parametrize("field", ["upstreamHeaders", "clientHeaders", "setQuery", "metadata"])
def test_t38_t53_what_ends_a_line_for_anybody_makes_the_rule_not_match(char: str, field: str) -> None:
    """The writer of answers refuses the same characters, with a 503; it must never come to that."""
    claims = json.dumps({"name": f"a{char}b"}).encode()
    found = verdict(made(f"{{{field}: {{x-a: subject.claims.name}}}}"), a_request(), replace(ALICE, claims=claims))
    assert (Reason.NO_POLICY_MATCHED, ("tried/rule-0",)) == (found.reason, found.condition_errors)


def test_t53_half_a_character_makes_the_rule_not_match() -> None:
    for half in ("\ud800", "\udfff"):
        found = verdict(made("{upstreamHeaders: {x-a: subject.id}}"), a_request(), replace(ALICE, id=f"a{half}"))
        assert (Reason.NO_POLICY_MATCHED, ("tried/rule-0",)) == (found.reason, found.condition_errors)


def test_t38_other_letters_than_ascii_may_be_said() -> None:
    found = verdict(made("{upstreamHeaders: {x-a: subject.id}}"), a_request(), replace(ALICE, id="Zo\u00eb \u4e2d"))
    assert (("x-a", "Zo\u00eb \u4e2d"),) == found.obligations.upstream_headers


SEVENTEEN = ", ".join(f"x-{number}: \"'x'\"" for number in range(17))
THIRTY_THREE = ", ".join(f"x{number}: \"'x'\"" for number in range(33))
REFUSED = [
    ("{upstreamHeaders: {content-length: \"'1'\"}}", "frames the message"),
    ("{upstreamHeaders: {Host: \"'x'\"}}", "frames the message"),
    ("{clientHeaders: {transfer-encoding: \"'x'\"}}", "frames the message"),
    ("{removeHeaders: [connection]}", "frames the message"),
    ("{upstreamHeaders: {':path': \"'/x'\"}}", "is a pseudo-header"),
    ("{upstreamHeaders: {'x a': \"'x'\"}}", "is no header name"),
    ("{upstreamHeaders: {X-Auth-Subject: \"'x'\"}}", "is set by the server itself"),
    ("{upstreamHeaders: {x_auth_subject: \"'x'\"}}", "is set by the server itself"),
    ("{removeHeaders: [x-auth-tenant]}", "is set by the server itself"),
    ("{upstreamHeaders: {x-forwarded-for: \"'x'\"}}", "is set by the server itself or by Envoy"),
    ("{removeHeaders: [origin]}", "needed by Envoy's CORS filter"),
    ("{upstreamHeaders: {x-a: \"'x'\"}, removeHeaders: [x-a]}", "both set and removed"),
    ("{setQuery: {'a=b': \"'x'\"}}", "is no name of a query parameter"),
    ("{metadata: {'a b': \"'x'\"}}", "is no metadata key"),
    ("{metadata: {reason: \"'x'\"}}", "is on every answer"),
    ("{metadata: {a: now}}", "a value must be text, an integer, a truth value or a list of texts"),
    ("{metadata: {a: gold}}", "a text is written in quotes"),
    ("{metadata: {a: params.id}}", "nothing captures it"),
    (f"{{upstreamHeaders: {{{SEVENTEEN}}}}}", "17 headers are too many"),
    (f"{{metadata: {{{THIRTY_THREE}}}}}", "33 entries are too many"),
]


@pytest.mark.parametrize(("obligations", "fault"), REFUSED)
def test_names_and_expressions_are_checked_at_load(obligations: str, fault: str) -> None:
    _, problems = compiled(f"{{effect: allow, rules: [{{obligations: {obligations}}}]}}")
    assert [True] == [fault in message for message in messages(problems)]


def test_t72_removing_forwarded_headers_is_possible() -> None:
    assert [] == messages(
        compiled("{effect: allow, rules: [{obligations: {removeHeaders: [x-forwarded-client-cert]}}]}")[1]
    )


def test_a_deny_has_no_obligations() -> None:
    _, problems = compiled("{effect: deny, rules: [{obligations: {removeHeaders: [x-a]}}]}")
    assert ["spec.rules.0.obligations: only an allow has obligations: leave them out of a deny policy"] == messages(
        problems
    )


def test_captures_can_be_used() -> None:
    found = verdict(
        rule("allow", "{to: [{paths: ['/{tenant}/**']}], obligations: {upstreamHeaders: {x-t: params.tenant}}}"),
        a_request(path="/acme/x"),
    )
    assert (("x-t", "acme"),) == found.obligations.upstream_headers
