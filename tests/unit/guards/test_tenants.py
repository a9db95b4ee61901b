"""The registry of tenants and the grants across them, as documents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.guards import CrossTenantSpec, TenancySpec, Tenant, TenantRegistry, compile_registry
from extauthz.model.problems import Problem

GRANT = CrossTenantSpec(name="support", roles=("support",), methods=("GET",))


def read(tenants: object, *grants: CrossTenantSpec, name: str = "data.tenants") -> tuple[TenantRegistry, list[str]]:
    problems: list[Problem] = []
    spec = TenancySpec(tenants=name, cross_tenant=grants)
    registry = compile_registry(spec, {"tenants": tenants}, problems, frozenset({"keycloak"}))
    return registry, [f"{p.severity} {'.'.join(map(str, p.location))}: {p.message}" for p in problems]


def test_a_registry_knows_ids_financial_ids_and_attributes() -> None:
    registry, problems = read({"acme": {"financialId": "F1", "region": "eu"}, "globex": None})
    assert [] == problems
    assert Tenant("acme", "F1", b'{"region":"eu"}') == registry.get("acme")
    assert Tenant("globex") == registry.get("globex")
    assert None is registry.get("ACME")
    assert ["acme", "globex"] == list(registry)
    assert 2 == len(registry)


def test_own_is_the_id_only_if_registered_or_nobody_keeps_a_registry() -> None:
    registry, _ = read({"acme": {}})
    assert "acme" == registry.own("acme")
    assert "" == registry.own("globex")
    assert "globex" == TenantRegistry().own("globex")


def test_without_a_tenancy_document_the_registry_is_empty() -> None:
    problems: list[Problem] = []
    assert 0 == len(compile_registry(None, {"tenants": {"acme": {}}}, problems))
    assert [] == problems


@pytest.mark.parametrize("key", ["", "a b", "a.b", "-a", "a-", "a/b", "{a}", "a,b", "a\n", "x" * 64, "\u00e4"])
def test_t_68_an_id_that_could_not_stand_in_a_host_path_or_label_is_a_problem(key: str) -> None:
    _, (problem,) = read({key: {}})
    assert "must be 1 to 63 letters, digits, `-` or `_`" in problem


@pytest.mark.parametrize("key", ["a", "acme-2", "0", "org_2eondWoxcMIpaLQc", "9188040d-6c67-4c5b-b112-36a304b66dad"])
def test_ids_of_common_identity_providers_are_accepted(key: str) -> None:
    registry, problems = read({key: {}})
    assert ([key], []) == (list(registry), problems)


@pytest.mark.parametrize(
    ("tenants", "problem"),
    [
        ([], "`data.tenants` must be a map from tenant id to its attributes"),
        ({}, "with at least one tenant"),
        ("acme", "must be a map"),
        ({"acme": "F1"}, "tenant `acme` must be a map, e.g. `{financialId: …}`"),
        ({"acme": {"financialId": 17}}, "tenant `acme`: `financialId` must be a text of 1 to 64 printable characters"),
        ({"acme": {"financialId": ""}}, "`financialId` must be a text"),
        ({"acme": {"financialId": "a,b"}}, "`financialId` must be a text"),
        ({"acme": {"financialId": "x" * 65}}, "`financialId` must be a text"),
        ({"acme": {"name": "\ud800"}}, "tenant `acme`: attributes must be JSON"),
        ({"acme": {"name": object()}}, "tenant `acme`: attributes must be JSON"),
        ({"acme": {}, "ACME": {}}, "tenant ids `acme` and `ACME` in `data.tenants` differ only in case"),
        ({7: {}}, "tenant id `7`"),
    ],
)
def test_a_registry_that_says_something_else_is_a_problem(tenants: object, problem: str) -> None:
    _, (found,) = read(tenants)
    assert found.startswith("error spec.tenants: ")
    assert problem in found


@pytest.mark.parametrize("name", ["financialID", "financial_id", "financial-id", "FinancialId"])
def test_a_misspelt_financial_id_is_a_warning(name: str) -> None:
    _, (found,) = read({"acme": {name: "F1"}})
    assert f"warning spec.tenants: tenant `acme`: `{name}` has no meaning, did you mean `financialId`?" == found


def test_a_shared_financial_id_is_a_warning() -> None:
    _, (found,) = read({"acme": {"financialId": "F1"}, "globex": {"financialId": "F1"}})
    assert "tenants `acme` and `globex` have the same `financialId`" in found


def test_an_unknown_data_file_is_named_with_what_was_probably_meant() -> None:
    _, (found,) = read({"acme": {}}, name="data.tenant")
    assert "error spec.tenants: unknown data file `data.tenant`, did you mean `data.tenants`?" == found
    _, (found,) = read({"acme": {}}, name="tenants.yaml")
    assert "must name a file of `data/`, e.g. `data.tenants`" in found


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"roles": ()}, "roles: grant `support` must name the roles that may cross tenants"),
        ({"methods": ()}, "methods: grant `support` must name its methods, e.g. `[GET]`"),
        ({"methods": ("get",)}, "methods.0: `get` is not an upper-case method: write `GET`"),
        ({"methods": ("*",)}, "methods.0: `*` is not an upper-case method: write one such as `GET`"),
        ({"require_header": "X-Ticket"}, "requireHeader: `X-Ticket` is not a lower-case header name: write `x-ticket`"),
        ({"tenants": ("acm",)}, "tenants.0: unknown tenant `acm`, did you mean `acme`?"),
        ({"issuers": ("keycloack",)}, "issuers.0: unknown issuer `keycloack`, did you mean `keycloak`?"),
        ({"name": ""}, "name: a grant needs a name"),
    ],
)
def test_a_grant_that_is_too_wide_or_cannot_apply_is_a_problem(changes: dict[str, object], problem: str) -> None:
    fields = {"name": "support", "roles": ("support",), "methods": ("GET",)} | changes
    _, (found,) = read({"acme": {}}, CrossTenantSpec(**fields))
    assert found.startswith(f"error spec.crossTenant.0.{problem}")


def test_two_grants_of_one_name_are_a_problem() -> None:
    _, (found,) = read({"acme": {}}, GRANT, GRANT)
    assert "spec.crossTenant.1.name: two grants are called `support`" in found


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@given(json, st.text(max_size=12))
def test_any_data_is_read_or_named_as_a_problem(data: object, name: str) -> None:
    registry, problems = read(data, name=name)
    assert len(registry) or problems
    registry, problems = read(data)
    assert len(registry) or problems
