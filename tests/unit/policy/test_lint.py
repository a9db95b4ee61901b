"""What lint says about policies: place, message, severity. The messages are what operators read, so they are golden."""

import time

import pytest

from extauthz.model.problems import Problem
from extauthz.policy import Names, compile_policies
from tests.unit.policy.bench import compiled, messages, policies

NAMES = Names(
    roles=frozenset({"banking-officer", "banking-manager"}),
    tenants=frozenset({"acme", "globex"}),
    issuers=frozenset({"keycloak"}),
)
WHO = "from: [{roles: [banking-officer]}]"
R = "spec.rules.0"

ERRORS = [
    ("tenant: acm, rules: [{WHO}]", "spec.tenant: unknown tenant `acm`, did you mean `acme`?"),
    (
        "rules: [{from: [{roles: [banking-oficer]}]}]",
        f"{R}.from.0.roles.0: unknown role `banking-oficer`, did you mean `banking-officer`?",
    ),
    (
        "rules: [{from: [{roles: [banking-officer], notTenants: [zzz]}]}]",
        f"{R}.from.0.notTenants.0: unknown tenant `zzz`: allowed are `acme`, `globex`",
    ),
    ("rules: [{from: [{issuers: [keyclock]}]}]", f"{R}.from.0.issuers.0: unknown issuer `keyclock`, did you mean `keycloak`?"),
    ("rules: []", "spec.rules: a policy without rules allows nothing; `rules: [{}]` matches everything"),
    ("rules: [{name: a, WHO}, {name: a}]", "spec.rules.1.name: `a` is also the name of rule 0"),
    ("rules: [{name: a/b, WHO}]", f"{R}.name: `a/b` has a `/`, which stands between policy and rule"),
    ("rules: [{from: []}]", f"{R}.from: an empty list matches nothing: leave the field out to match anything"),
    ("rules: [{from: [{roles: []}]}]", f"{R}.from.0.roles: an empty list matches nothing: leave the field out to match anything"),
    ("rules: [{WHO, to: [{methods: []}]}]", f"{R}.to.0.methods: an empty list matches nothing: leave the field out to match anything"),
    ("rules: [{WHO, to: [{methods: [get]}]}]", f"{R}.to.0.methods.0: `get` is no method: write it in upper case, as in `GET`"),
    ("rules: [{WHO, to: [{hosts: ['a.test:80']}]}]", f"{R}.to.0.hosts.0: `a.test:80` has a port: hosts are compared without it, use `ports`"),
    ("rules: [{WHO, to: [{hosts: ['*a*']}]}]", f"{R}.to.0.hosts.0: `*a*`: `*` stands only at the beginning or at the end, once"),
    ("rules: [{WHO, to: [{paths: [api]}]}]", f"{R}.to.0.paths.0: path pattern `api` must begin with `/`"),
    ("rules: [{WHO, to: [{ports: [0]}]}]", f"{R}.to.0.ports.0: `0` is no port between 1 and 65535"),
    ("rules: [{WHO, to: [{ports: [http]}]}]", f"{R}.to.0.ports.0: `http` is no port between 1 and 65535"),
    ("match: {hosts: [API.test]}, rules: [{WHO}]", "spec.match.hosts.0: host pattern `API.test` must be written `api.test`"),
    ("match: {paths: ['/a*']}, rules: [{WHO}]", None),
    ("rules: [{from: [{ipBlocks: [10.0.0.1/8]}]}]", f"{R}.from.0.ipBlocks.0: `10.0.0.1/8` has bits set behind its prefix: write `10.0.0.0/8`"),
    ("rules: [{from: [{ipBlocks: [ten]}]}]", f"{R}.from.0.ipBlocks.0: `ten` is not an IP address or CIDR block such as `10.0.0.0/8`"),
    ("rules: [{from: [{serviceAccounts: [front]}]}]", f"{R}.from.0.serviceAccounts.0: `front` must be `<namespace>/<service account>`, without `*`"),
    ("rules: [{from: [{roles: ['']}]}]", f"{R}.from.0.roles.0: an empty value never matches: leave it out"),
    ("rules: [{when: [{key: 'request.header[x]', values: [a]}]}]", f"{R}.when.0.key: unknown key `request.header[x]`, did you mean `request.headers[name]`?"),
    ("rules: [{when: [{key: source.up, values: [a]}]}]", f"{R}.when.0.key: unknown key `source.up`, did you mean `source.ip`?"),
    ("rules: [{when: [{key: source.ip}]}]", f"{R}.when.0: `source.ip` is compared with nothing: give `values` or `notValues`"),
    ("rules: [{when: [{key: 'request.headers[a][b]', values: [a]}]}]", f"{R}.when.0.key: `request.headers[a][b]`: only claims are nested, write `request.headers[a]`"),
    ("rules: [{when: [{key: 'request.headers[:method]', values: [GET]}]}]", f"{R}.when.0.key: `:method` is no header name: write `method` as `to.methods`, `to.paths` or `to.hosts`"),
    ("rules: [{when: [{key: 'request.headers[a b]', values: [GET]}]}]", f"{R}.when.0.key: `a b` is no header name"),
    ("rules: [{when: [{key: 'request.headers[x]', values: ['a,b']}]}]", f"{R}.when.0.values.0: `a,b` has a comma: headers with more than one value never match an allow rule"),
    ("rules: [{to: [{paths: ['/{id}']}], when: [{key: 'params[ids]', values: [a]}]}]", f"{R}.when.0.key: nothing captures `ids`, did you mean `id`?"),
    ("rules: [{when: [{key: 'params[id]', values: [a]}]}]", f"{R}.when.0.key: nothing captures `id`: no path or host pattern of this rule captures anything"),
    ("rules: [{when: [{key: destination.port, values: [http]}]}]", f"{R}.when.0.values.0: `http` is no port between 1 and 65535"),
    ("rules: [{WHO, condition: subject.id}]", f"{R}.condition: a condition must be true or false, this is of type string"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), ERRORS)
def test_errors_name_the_place_and_what_would_be_right(body: str, expected: str | None) -> None:
    _, problems = compiled(f"{{effect: allow, {body.replace('WHO', WHO)}}}", names=NAMES)
    assert messages(problems)
    if expected is not None:
        assert [expected] == messages(problems)


WARNINGS = [
    ("allow", "{}", "allows anyone to everything"),
    ("allow", "{to: [{methods: [GET]}]}", "allows anyone: name who may in `from`"),
    ("allow", "{from: [{notRoles: [banking-officer]}]}", "only excludes, so whoever sends no credential matches"),
    ("allow", "{from: [{}]}", "names nobody, so it matches anyone"),
    ("allow", "{when: [{key: subject.tenant, notValues: [acme]}]}", "also matches when `subject.tenant` is absent"),
]


@pytest.mark.parametrize(("effect", "body", "expected"), WARNINGS)
def test_what_is_only_suspicious_is_a_warning(effect: str, body: str, expected: str) -> None:
    _, problems = compiled(f"{{effect: {effect}, rules: [{body}]}}", names=NAMES)
    assert [] == messages(problems)
    assert [True] == [expected in message for message in messages(problems, "warning")]


def test_a_sound_policy_has_no_findings() -> None:
    text = f"{{effect: allow, tenant: acme, rules: [{{{WHO}, to: [{{methods: [GET], paths: ['/api/{{id}}']}}]}}]}}"
    assert [] == compiled(text, names=NAMES)[1]
    assert [] == compiled("{effect: deny, rules: [{from: [{notRoles: [banking-officer]}]}]}", names=NAMES)[1]


def test_patterns_are_no_unknown_names_and_unknown_sets_are_not_checked() -> None:
    text = "{effect: allow, tenant: other, rules: [{from: [{roles: ['banking-*', other], issuers: [other]}]}]}"
    assert [] == messages(compiled(text)[1])
    assert 3 == len(messages(compiled(text, names=NAMES)[1]))


def test_problems_come_in_the_order_of_the_policies_given() -> None:
    found = policies("{name: z, effect: allow, rules: []}\n---\n{name: a, effect: deny, rules: []}")
    problems: list[list[Problem]] = [[], []]
    compile_policies(found, Names(), {}, problems)
    assert ["allows nothing" in problems[0][0].message, "denies nothing" in problems[1][0].message] == [True, True]


def test_many_unknown_tenants_do_not_list_thousands_of_names() -> None:
    names = Names(tenants=frozenset(f"tenant-{number}" for number in range(1_000)))
    _, problems = compiled("{effect: deny, tenant: zzzz, rules: [{}]}", names=names)
    assert ["spec.tenant: unknown tenant `zzzz`"] == messages(problems)


def test_ten_thousand_policies_compile_in_time_proportional_to_their_number() -> None:
    def seconds(count: int) -> float:
        text = "{effect: allow, rules: [{from: [{roles: [x]}], to: [{paths: ['/api/%d/{id}']}]}]}"
        found = policies(text % 0) * count
        problems: list[list[Problem]] = [[] for _ in found]
        start = time.perf_counter()
        compile_policies(found, NAMES, {}, problems)
        return time.perf_counter() - start

    seconds(100)
    assert min(seconds(2_000) for _ in range(3)) < 60 * min(seconds(200) for _ in range(3))  # squared, it would be 100
