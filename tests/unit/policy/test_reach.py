"""What lint says of rules that never decide: golden, with the near misses beside them that it must leave alone."""

import time

import pytest

from extauthz.policy.reach.examine import Examined
from tests.unit.policy.bench import policies


def found(text: str) -> list[str]:
    """`policy place: message [code]`."""
    given = policies(text)
    problems = Examined(given, {}).problems(lambda _span, _box: "")
    return [
        f"{given[index].name} {'.'.join(map(str, problem.location[2:]))}: {problem.message} [{problem.code}]"
        for index, problem in problems
    ]


def rule(body: str, effect: str = "allow", more: str = "") -> list[str]:
    return found(f"{{name: p, effect: {effect}, {more} rules: [{body}]}}")


REMOVE = "correct it or remove the rule"
EMPTY = [
    ("{from: [{roles: [a], notRoles: [a]}]}", "`from[0].roles` and `from[0].notRoles` contradict each other"),
    ("{from: [{roles: [a, b], notRoles: ['*']}]}", "`from[0].roles` and `from[0].notRoles` contradict each other"),
    ("{from: [{tenants: [a]}], when: [{key: subject.tenant, values: [b]}]}", "`when[0].values` and `from[0].tenants` contradict each other"),
    ("{to: [{methods: [GET], notMethods: [G*]}]}", "`to[0].methods` and `to[0].notMethods` contradict each other"),
    ("{to: [{ports: [80], notPorts: ['80']}]}", "`to[0].ports` and `to[0].notPorts` contradict each other"),
    ("{from: [{ipBlocks: [10.1.0.0/16], notIpBlocks: [10.0.0.0/8]}]}", "`from[0].ipBlocks` and `from[0].notIpBlocks` contradict each other"),
    ("{from: [{ipBlocks: [10.0.0.0/9]}], when: [{key: source.ip, values: [10.128.0.0/9]}]}", "`when[0].values` and `from[0].ipBlocks` contradict each other"),
    ("{when: [{key: 'request.headers[X-A]', values: [a]}, {key: 'request.headers[x-a]', values: [b*]}]}", "`when[0].values` and `when[1].values` contradict each other"),
    ("{to: [{paths: [/a/b], notPaths: [/a/**]}]}", "`to[0].notPaths` excludes every path that the rule names"),
    ("{to: [{paths: [/A/b], notPaths: [/a/**]}]}", "`to[0].notPaths` excludes every path that the rule names"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "why"), EMPTY)
def test_a_rule_that_contradicts_itself_is_unreachable(body: str, why: str) -> None:
    assert [f"p 0: no request can match: {why}: {REMOVE} [unreachable-rule]"] == rule(body)


@pytest.mark.parametrize(
    ("more", "body", "why"),
    [
        ("match: {paths: [/a/**]},", "{to: [{paths: [/b]}]}", "no path is in `match.paths` and in `to[0].paths`"),
        (
            "match: {hosts: [a.test]},",
            "{to: [{hosts: [b.*]}]}",
            "`match.hosts` and `to[0].hosts` contradict each other",
        ),
        (
            "match: {hosts: ['*.a.test']},",
            "{to: [{hosts: [a.test]}]}",
            "no host is in `match.hosts` and in `to[0].hosts`",
        ),
    ],
)
def test_a_rule_outside_of_its_policy_is_unreachable(more: str, body: str, why: str) -> None:
    assert [f"p 0: no request can match: {why}: {REMOVE} [unreachable-rule]"] == rule(body, more=more)


@pytest.mark.parametrize(
    ("effect", "body"),
    [
        ("allow", "{from: [{roles: [a], notRoles: [b]}]}"),
        ("allow", "{from: [{roles: [a]}], when: [{key: subject.roles, values: [b]}]}"),  # a caller may have both
        ("allow", "{from: [{roles: ['a*'], notRoles: [ab]}]}"),
        ("allow", "{to: [{paths: [/a/**], notPaths: [/a/b/**]}]}"),
        ("allow", "{to: [{paths: [/a/*], notPaths: [/a/b]}]}"),
        ("allow", "{from: [{tenants: ['a*']}], when: [{key: subject.tenant, values: ['*b']}]}"),
        # What cannot be told is held against the caller, so a deny rule matches what seems impossible.
        ("deny", "{from: [{ipBlocks: [10.1.0.0/16], notIpBlocks: [10.0.0.0/8]}]}"),
        ("deny", "{when: [{key: 'request.headers[x]', values: [a]}, {key: 'request.headers[x]', values: [b]}]}"),
        ("deny", "{to: [{paths: [/a/b], notPaths: [/a/**]}]}"),  # denies /A/b
        ("deny", "{to: [{methods: [GET], notMethods: [GET]}]}"),  # denies connections without HTTP
    ],
)
def test_what_some_request_matches_is_not_reported(effect: str, body: str) -> None:
    assert [] == rule(body, effect)


def test_an_alternative_that_no_request_can_be_is_reported_alone() -> None:
    assert ["p 0.from.1: no request can be this: `from[1].roles` and `from[1].notRoles` contradict each other: correct it or remove it [dead-alternative]"] == rule("{from: [{roles: [a]}, {roles: [b], notRoles: [b]}]}")  # fmt: skip


NEVER = [
    ("{condition: '1 > 2'}", "can never be true, whatever the request"),
    ("{condition: \"int('x') == 1\"}", "can never be true, for it always errs"),
    ("{condition: \"request.method == 'GET' && request.method == 'PUT'\"}", "can never be true, whatever the request"),
    ("{condition: subject.claims.limit > 10 && subject.claims.limit < 10}", "can never be true, whatever the request"),
    ("{condition: 'request.port > 10 && request.port < 11'}", "can never be true, whatever the request"),
    ("{to: [{methods: [GET, HEAD]}], condition: \"request.method == 'PUT'\"}", "can never be true, for it contradicts `to[0].methods`"),
    ("{to: [{notMethods: [PUT]}], condition: \"request.method == 'PUT'\"}", "can never be true, for it contradicts `to[0].notMethods`"),
    ("{to: [{methods: [GET]}], condition: \"request.method in ['PUT', 'POST'] && subject.id != ''\"}", "can never be true, for it contradicts `to[0].methods`"),
    ("{from: [{tenants: [acme]}], condition: \"subject.tenant == 'globex'\"}", "can never be true, for it contradicts `from[0].tenants`"),
    ("{from: [{notRoles: [clerk]}], condition: \"'clerk' in subject.roles\"}", "can never be true, for it contradicts `from[0].notRoles`"),
    ("{from: [{roles: [clerk]}], condition: \"!('clerk' in subject.roles)\"}", "can never be true, for it contradicts `from[0].roles`"),
    ("{to: [{paths: [/a/**]}], condition: \"request.path == '/b'\"}", "can never be true, for it contradicts `to[0].paths`"),
    ("{when: [{key: 'request.headers[x-a]', values: [a]}], condition: \"request.headers['X-A'] == 'b'\"}", "can never be true, for it contradicts `when[0].values`"),
    ("{when: [{key: 'request.query[x]', values: [app*]}], condition: \"request.query.x == 'web'\"}", "can never be true, for it contradicts `when[0].values`"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "why"), NEVER)
def test_a_condition_that_is_never_true_is_reported_with_what_it_contradicts(body: str, why: str) -> None:
    assert [f"p 0.condition: {why}: {REMOVE} [never-true-condition]"] == rule(body)


def test_the_tenant_of_the_policy_counts() -> None:
    said = rule("{condition: \"resource.tenant == 'globex'\"}", more="tenant: acme,")
    assert [f"p 0.condition: can never be true, for it contradicts `tenant`: {REMOVE} [never-true-condition]"] == said


def test_a_deny_rule_still_denies_what_it_cannot_compute_and_is_told_so() -> None:
    said = rule("{condition: \"request.method == 'GET' && request.method == 'PUT'\"}", "deny")
    assert ["p 0.condition: can never be true, whatever the request: only what cannot be computed is denied, correct it or remove the rule [never-true-condition]"] == said  # fmt: skip


@pytest.mark.parametrize(
    "condition",
    [
        "request.method == 'GET' || request.method == 'PUT'",
        "subject.claims.limit > 10 && subject.claims.limit < 11",  # 10.5
        "request.headers['x-a'].startsWith('a') && request.headers['x-a'].endsWith('b')",
        "request.method == 'GET' && request.method.startsWith('G')",
        "!('clerk' in subject.roles)",
        "subject.roles.exists(r, r == 'a')",
        "now > timestamp('2020-01-01T00:00:00Z')",
        "subject.tenant == ''",
        "request.query.a == 'x' && request.query.b == 'y'",
    ],
)
def test_a_condition_that_can_be_true_is_not_reported(condition: str) -> None:
    assert [] == rule(f'{{to: [{{methods: [GET, PUT]}}], condition: "{condition}"}}')


SHADOWED = "remove it, or narrow what comes before [shadowed-rule]"


@pytest.mark.parametrize(
    ("allow", "deny"),
    [
        ("{from: [{roles: [a]}], to: [{paths: [/x/y]}]}", "{to: [{paths: [/x/**]}]}"),
        ("{from: [{roles: [a]}], to: [{paths: [/X/y]}]}", "{to: [{paths: [/x/**]}]}"),  # deny rules cover every case
        ("{from: [{tenants: [acme]}]}", "{from: [{notTenants: [globex]}]}"),
        ("{from: [{ipBlocks: [10.1.0.0/16]}], to: [{methods: [GET]}]}", "{from: [{ipBlocks: [10.0.0.0/8]}]}"),
        (
            "{to: [{methods: [GET]}], condition: subject.id == 'x' && subject.tenant == 'y'}",
            "{condition: subject.tenant == 'y'}",
        ),
        ("{to: [{methods: [GET]}, {methods: [PUT]}]}", "{to: [{methods: ['*']}]}"),
    ],
)
def test_an_allow_under_a_deny_is_shadowed(allow: str, deny: str) -> None:
    said = found(f"{{name: p, effect: allow, rules: [{allow}]}}\n---\n{{name: z, effect: deny, rules: [{deny}]}}")
    assert [f"p 0: never decides: `z/rule-0` denies and covers all of it: {SHADOWED}"] == said


@pytest.mark.parametrize(
    ("allow", "deny"),
    [
        ("{from: [{roles: [a]}], to: [{paths: [/x/**]}]}", "{to: [{paths: [/x/y]}]}"),
        ("{to: [{paths: [/x/y]}]}", "{to: [{paths: [/x/**], notPaths: [/x/y]}]}"),
        ("{from: [{roles: [a]}]}", "{from: [{notRoles: [b]}]}"),
        ("{to: [{methods: [GET]}]}", "{to: [{methods: ['*']}], condition: subject.tenant == 'y'}"),
        # The client is told which scope is missing: without the allow rule it would not be.
        ("{from: [{roles: [a], scopes: [s]}]}", "{from: [{roles: [a], scopes: [s]}]}"),
        # A policy with a host says nothing about connections without HTTP.
        ("{from: [{principals: [td/ns/a/sa/b]}]}", "{to: [{hosts: ['*']}]}"),
    ],
)
def test_an_allow_that_some_request_still_reaches_is_not_shadowed(allow: str, deny: str) -> None:
    given = f"{{name: p, effect: allow, rules: [{allow}]}}\n---\n{{name: z, effect: deny, match: {{hosts: ['*']}}, rules: [{deny}]}}"
    assert [] == found(given)


def test_a_rule_that_repeats_an_earlier_one_never_decides() -> None:
    said = found(
        "{name: b, effect: allow, rules: [{name: y, from: [{roles: [officer]}], obligations: {}}]}\n---\n"
        "{name: a, effect: allow, rules: [{name: x, from: [{roles: [officer]}]}]}\n---\n"
        "{name: c, effect: deny, rules: [{name: z, from: [{roles: [clerk]}]}]}"
    )
    assert [f"b 0: never decides: `a/x` is tried before and covers all of it: {SHADOWED}"] == said


def test_an_earlier_allow_whose_obligations_may_fail_shadows_nothing() -> None:
    """It then does not match, and the second rule decides."""
    text = "{name: p, effect: allow, rules: [{name: a, WHO, obligations: {metadata: {a: subject.claims.x}}}, {name: b, WHO}]}"
    assert [] == found(text.replace("WHO", "from: [{roles: [officer]}]"))
    text = text.replace("subject.claims.x", "\"'x'\"")
    assert 1 == len(found(text.replace("WHO", "from: [{roles: [officer]}]")))


def test_several_rules_may_cover_one_together() -> None:
    said = found(
        "{name: p, effect: allow, rules: [{from: [{roles: [a]}], to: [{paths: [/x]}, {paths: [/y]}]}]}\n---\n"
        "{name: z, effect: deny, rules: [{to: [{paths: [/x/**]}]}, {to: [{paths: [/y/**]}]}]}"
    )
    assert [f"p 0: never decides: `z/rule-0` and `z/rule-1` deny and together cover all of it: {SHADOWED}"] == said


def test_captures_are_compared_only_between_rules_that_say_the_same() -> None:
    same = "{name: p, effect: allow, rules: [{to: [{paths: ['/{a}/x']}], condition: params.a == 'b'}, {to: [{paths: ['PATH']}], condition: params.a == 'b'}]}"
    assert 1 == len(found(same.replace("PATH", "/{a}/x")))
    assert [] == found(same.replace("PATH", "/x/{a}").replace("'/{a}/x'", "'/{a}/**'"))


def test_shadow_policies_neither_hide_others_nor_are_hidden() -> None:
    deny = "{name: z, effect: deny, mode: MODE, rules: [{}]}"
    allow = "{name: p, effect: allow, mode: MODE, rules: [{from: [{roles: [a]}]}]}"
    for modes in (("shadow", "enforce"), ("enforce", "shadow")):
        assert [] == found(f"{deny.replace('MODE', modes[0])}\n---\n{allow.replace('MODE', modes[1])}")
    assert [f"p 1: never is recorded: `p/rule-0` is tried before and covers all of it: {SHADOWED}"] == found(
        "{name: p, effect: deny, mode: shadow, rules: [{}, {from: [{roles: [a]}]}]}"
    )


def test_ten_thousand_rules_are_compared_in_time_proportional_to_their_number() -> None:
    def seconds(count: int) -> float:
        text = "{name: p%d, effect: allow, rules: [{from: [{roles: [x]}], to: [{paths: ['/api/%d/{id}']}]}]}"
        given = [policies(text % (number, number))[0] for number in range(count)]
        start = time.perf_counter()
        assert [] == list(Examined(given, {}).problems(lambda _span, _box: ""))
        return time.perf_counter() - start

    seconds(100)
    assert min(seconds(2_000) for _ in range(3)) < 60 * min(seconds(200) for _ in range(3))  # squared, it would be 100
