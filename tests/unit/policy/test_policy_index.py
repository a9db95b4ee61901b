"""The index: what cannot match is not visited, and nothing that can match is missed."""

import pytest

from extauthz.policy.index import MAX_ENTRIES, RouteIndex
from tests.unit.policy.bench import policy_set


def index(text: str) -> tuple[RouteIndex, list[str]]:
    rules = policy_set(text)._rules
    return RouteIndex(rules), [rule.policy for rule in rules]


def candidates(text: str, path: str, *, host: str = "api.test", tenant: str = "", method: str = "GET") -> list[str]:
    found, names = index(text)
    folded = tuple(path.casefold().split("/")[1:]) if path != "/" else ()
    return [names[position] for position in found.candidates(tenant, host, folded, method)]


def allow(name: str, rest: str) -> str:
    return f"{{name: {name}, effect: allow, {rest}}}"


PATHS = "\n---\n".join(
    [
        allow("literal", "rules: [{to: [{paths: [/api/customers]}]}]"),
        allow("one", "rules: [{to: [{paths: [/api/*]}]}]"),
        allow("capture", "rules: [{to: [{paths: ['/{area}/customers']}]}]"),
        allow("rest", "rules: [{to: [{paths: [/api/**]}]}]"),
        allow("tail", "rules: [{to: [{paths: [/**/customers]}]}]"),
        allow("other", "rules: [{to: [{paths: [/api/loans]}]}]"),
        allow("root", "rules: [{to: [{paths: [/]}]}]"),
        allow("all", "rules: [{}]"),
    ]
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/customers", {"literal", "one", "capture", "rest", "tail", "all"}),
        ("/API/Customers", {"literal", "one", "capture", "rest", "tail", "all"}),  # T-11: a superset, in any case
        ("/api/loans", {"one", "rest", "tail", "other", "all"}),
        ("/api", {"rest", "tail", "all"}),
        ("/", {"root", "tail", "all"}),
        ("/api/customers/c1", {"rest", "tail", "all"}),
    ],
)
def test_paths_lead_to_their_patterns(path: str, expected: set[str]) -> None:
    assert expected == set(candidates(PATHS, path))


HOSTS = "\n---\n".join(
    [
        allow("exact", "match: {hosts: [a.shop.test]}, rules: [{}]"),
        allow("below", "match: {hosts: ['*.shop.test']}, rules: [{}]"),
        allow("capture", "match: {hosts: ['{tenant}.shop.test']}, rules: [{}]"),
        allow("any", "match: {hosts: ['*']}, rules: [{}]"),
        allow("operation", "match: {hosts: ['*']}, rules: [{to: [{hosts: [A.shop.test]}]}]"),
        allow("other", "match: {hosts: [b.shop.test]}, rules: [{}]"),
    ]
)


def test_hosts_lead_to_their_policies() -> None:
    assert {"exact", "below", "capture", "any", "operation"} == set(candidates(HOSTS, "/", host="a.shop.test"))
    assert {"any"} == set(candidates(HOSTS, "/", host="shop.test"))
    assert {"below", "any"} <= set(candidates(HOSTS, "/", host="x.y.shop.test"))


def test_other_tenants_and_methods_are_not_visited() -> None:
    text = "\n---\n".join(
        [
            *(allow(f"t{number}", f"tenant: t{number}, rules: [{{}}]") for number in range(50)),
            allow("get", "rules: [{to: [{methods: [GET]}]}]"),
            allow("post", "rules: [{to: [{methods: [POST]}]}]"),
            allow("pattern", "rules: [{to: [{methods: ['P*']}]}]"),
        ]
    )
    assert {"t7", "get", "pattern"} == set(candidates(text, "/x", tenant="t7"))
    assert {"get", "pattern"} == set(candidates(text, "/x", tenant=""))
    assert {"post", "pattern"} == set(candidates(text, "/x", method="POST"))


def test_a_rule_with_very_many_routes_is_found_by_its_hosts_alone() -> None:
    hosts = ", ".join(f"h{number}.test" for number in range(MAX_ENTRIES))
    text = allow("many", f"rules: [{{to: [{{hosts: [{hosts}], paths: [/a, /b]}}]}}]")
    assert ["many"] == candidates(text, "/zzz", host="h3.test")
    assert [] == candidates(text, "/a", host="other.test")


def test_candidates_come_in_the_order_in_which_they_are_tried() -> None:
    routes = "rules: [{to: [{paths: [/x, /x/**, '/{a}']}]}]"
    everything = ("allow c", "deny b", "allow d, mode: shadow")
    rest = [f"{{effect: {each.replace(' ', ', name: ', 1)}, rules: [{{}}]}}" for each in everything]
    text = "\n---\n".join([allow("a", routes), *rest])
    assert ["d", "b", "a", "c"] == candidates(text, "/x")
