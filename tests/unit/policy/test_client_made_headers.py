"""T-27: an upstream trusts the headers that policies set, so none of them ever arrives as the client made it."""

import pytest

from extauthz.model.decision import NO_OBLIGATIONS, Obligations
from extauthz.model.problems import Problem
from extauthz.model.reasons import Reason
from extauthz.policy import Names, PolicySet, compile_policies
from extauthz.policy.guard import MAX_READ_HEADERS, MAX_UPSTREAM_HEADERS
from tests.fakes import a_request
from tests.unit.policy.bench import compiled, messages, policies, policy_set, verdict

LIMITS = """
name: limits
effect: allow
rules:
- {name: managers, to: [{paths: [/loans]}], obligations: {upstreamHeaders: {X-Limit: "'9'", x-level: "'manager'"}}}
- {name: clerks, to: [{paths: [/letters]}], obligations: {upstreamHeaders: {x-level: "'clerk'"}, removeHeaders: [cookie]}}
- {name: anyone, to: [{paths: [/news]}]}
---
name: planned
effect: allow
mode: shadow
rules: [{to: [{paths: [/never]}], obligations: {upstreamHeaders: {x-planned: "'1'"}}}]
"""


@pytest.mark.parametrize(
    ("path", "rule", "removed"),
    [
        ("/loans", "managers", {"x-planned"}),
        ("/letters", "clerks", {"cookie", "x-limit", "x-planned"}),
        ("/news", "anyone", {"x-level", "x-limit", "x-planned"}),
    ],
)
def test_t27_what_another_rule_sets_is_removed_where_the_matching_rule_does_not_set_it(
    path: str, rule: str, removed: set[str]
) -> None:
    found = verdict(policy_set(LIMITS), a_request(path=path))
    assert (rule, removed) == (found.rule, set(found.obligations.removed_headers))
    assert set() == {name for name, _ in found.obligations.upstream_headers} & removed


def test_allows_without_obligations_share_one_object() -> None:
    made = policy_set(LIMITS)
    assert verdict(made, a_request(path="/news")).obligations is verdict(made, a_request(path="/news/")).obligations
    assert NO_OBLIGATIONS is verdict(policy_set("{effect: allow, rules: [{}]}"), a_request()).obligations


def test_t28_a_spelling_with_underscores_is_the_same_header() -> None:
    """The writer removes such spellings of a header that is set; to name one here would remove the header itself."""
    one = "{name: one, effect: allow, rules: [{to: [{paths: [/one]}], obligations: {upstreamHeaders: {x-limit: \"'1'\"}}}]}"
    two = "{name: two, effect: allow, rules: [{obligations: {upstreamHeaders: {x_limit: \"'2'\"}}}]}"
    made = policy_set(f"{one}\n---\n{two}")
    assert () == verdict(made, a_request(path="/one")).obligations.removed_headers
    assert () == verdict(made, a_request(path="/two")).obligations.removed_headers


def test_t28_other_spellings_of_headers_that_decide_anywhere_are_removed_wherever_a_rule_allows() -> None:
    """In rules that did not match, in shadow rules, in values of obligations and in guards; not if there are none."""
    documents = """
{name: a, effect: allow, rules: [{name: r, to: [{paths: [/a]}], obligations: {metadata: {m: 'request.headers["X-Mark"]'}}}]}
---
{name: b, effect: deny, rules: [{when: [{key: "request.headers[X-Channel]", values: [x]}], to: [{paths: [/b]}]}]}
---
{name: c, effect: allow, mode: shadow, rules: [{condition: '"x-plan" in request.headers && request.headers.dpop != ""'}]}
---
{name: d, effect: allow, rules: [{name: r, to: [{paths: [/d]}]}]}
"""
    made = policy_set(documents)
    sole = ("x-channel", "x-mark", "x-plan")
    bare = verdict(made, a_request(path="/d")).obligations
    assert Obligations(removed_twins=sole) == bare
    assert sole == verdict(made, a_request(path="/a", headers=[("x-mark", "1")])).obligations.removed_twins
    guarded, problems = compile_with_guards(documents, frozenset({"x-fapi-financial-id", "authorization"}))
    assert [] == problems
    found = verdict(guarded, a_request(path="/d")).obligations.removed_twins
    assert (*sole[:1], "x-fapi-financial-id", *sole[1:]) == found


def compile_with_guards(text: str, read_headers: frozenset[str]) -> tuple[PolicySet, list[str]]:
    found = policies(text)
    problems: list[list[Problem]] = [[] for _ in found]
    made = compile_policies(found, Names(), {}, problems, read_headers)
    return made, messages([problem for each in problems for problem in each])


def test_t28_a_bundle_reads_a_bounded_number_of_different_headers() -> None:
    """Those with one spelling do not count, those of guards do."""

    def reading(*names: str) -> str:
        whens = ", ".join(f'{{key: "request.headers[{name}]", values: [a]}}' for name in names)
        return f"{{name: {names[0]}, effect: deny, rules: [{{when: [{whens}]}}]}}"

    names = [f"x-{number:03}" for number in range(MAX_READ_HEADERS)]
    documents = "\n---\n".join([reading(*names[:100], "accept"), reading(*names[90:])])
    assert [] == compile_with_guards(documents, frozenset({"x-000", "dpop"}))[1]
    fault = "spec.rules: policies read more than 128 different request headers with `-` or `_`, `x-127` is one more"
    assert [fault] == compile_with_guards(documents, frozenset({"x-v"}))[1]


def test_a_refusal_has_no_obligations() -> None:
    found = verdict(policy_set(LIMITS), a_request(path="/elsewhere"))
    assert (Reason.NO_POLICY_MATCHED, NO_OBLIGATIONS) == (found.reason, found.obligations)


def test_a_bundle_sets_a_bounded_number_of_different_headers() -> None:
    """Every allow would carry them all."""
    names = [f"x-{number}" for number in range(MAX_UPSTREAM_HEADERS + 1)]
    documents = [
        f"{{name: p{at:04}, effect: allow, rules: [{{obligations: {{upstreamHeaders: {{{name}: \"'1'\"}}}}}}]}}"
        for at, name in enumerate(names)
    ]
    fault = f"spec.rules: policies set more than {MAX_UPSTREAM_HEADERS} different upstream headers, `x-128` is one more"
    assert [fault] == messages(compiled("\n---\n".join(documents))[1])
    assert [] == messages(compiled("\n---\n".join(documents[:-1]))[1])


@pytest.mark.parametrize(
    ("obligations", "fault"),
    [
        ("{upstreamHeaders: {origin: \"'x'\"}}", "needed by Envoy's CORS filter"),
        ("{upstreamHeaders: {x-a-b-c-d-e-f: \"'x'\"}}", "more than 5 hyphens"),
        ("{upstreamHeaders: {x_a_b_c_d_e_f: \"'x'\"}}", "more than 5 hyphens"),
        (f"{{upstreamHeaders: {{x-{'a' * 127}: \"'x'\"}}}}", "longer than 128 characters"),
        ("{upstreamHeaders: {x-a: \"'x'\", x_a: \"'x'\"}}", "`x-a` and `x_a` are one header to many upstreams"),
    ],
)
def test_t27_what_could_not_be_removed_elsewhere_cannot_be_set(obligations: str, fault: str) -> None:
    _, problems = compiled(f"{{effect: allow, rules: [{{obligations: {obligations}}}]}}")
    assert [True] == [fault in message for message in messages(problems)]
