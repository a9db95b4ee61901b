"""Tenants are kept apart, whoever names the tenant and however."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from extauthz.guards import (
    CrossTenantSpec,
    ProfileTenancySpec,
    Refusal,
    Resolved,
    TenancyGuard,
    TenancySpec,
    TenantSourceSpec,
    compile_registry,
    compile_tenancy,
)
from extauthz.guards.tenancy import spellings
from extauthz.model.problems import Problem
from extauthz.model.reasons import Reason
from extauthz.model.shapes import Shapes
from extauthz.model.subject import ANONYMOUS, Subject
from tests.fakes import FakeHeaders, a_request

TENANTS = {"acme": {}, "globex": {}, "initech": {}}
PATH = TenantSourceSpec(path="/open-banking/{tenant}/**")
TAIL = TenantSourceSpec(path="/**/of/{tenant}")
HOST = TenantSourceSpec(host="{tenant}.api.bank.test")
HEADER = TenantSourceSpec(header="x-tenant-id")
SUPPORT = CrossTenantSpec(
    name="support", roles=("platform-support", "platform-admin"), methods=("GET",), require_header="x-support-ticket"
)


def guard(
    *sources: TenantSourceSpec, grants: tuple[CrossTenantSpec, ...] = (SUPPORT,), **profile: object
) -> TenancyGuard:
    problems: list[Problem] = []
    tenancy = TenancySpec(tenants="data.tenants", cross_tenant=grants)
    registry = compile_registry(tenancy, {"tenants": TENANTS}, problems)
    spec = ProfileTenancySpec(resource_tenant=sources, **profile)
    compiled = compile_tenancy(spec, tenancy, registry, problems, ("spec", "tenancy"))
    assert problems == []
    assert compiled is not None
    return compiled


def subject(tenant: str = "acme", *roles: str, **more: object) -> Subject:
    return Subject(issuer="https://idp.test", id="u", issuer_name="keycloak", tenant=tenant, roles=roles, **more)


def reason(found: Resolved | Refusal) -> Reason | str:
    return found.reason if isinstance(found, Refusal) else found.tenant


ALL = guard(PATH, TAIL, HOST, HEADER)


def ask(
    caller: Subject,
    path: str = "/",
    host: str = "api.bank.test",
    *tenant_headers: str,
    joined: bool = False,
) -> Reason | str:
    headers = [("x-tenant-id", value) for value in tenant_headers]
    return reason(ALL.resolve(a_request(path=path, host=host, headers=headers, joined=joined), caller))


@pytest.mark.parametrize(
    ("path", "host", "header"),
    [
        ("/open-banking/acme/accounts", "api.bank.test", []),
        ("/open-banking/acme", "api.bank.test", []),
        ("/", "acme.api.bank.test", []),
        ("/", "api.bank.test", ["acme"]),
        ("/open-banking/acme/accounts", "acme.api.bank.test", ["acme"]),
        ("/", "api.bank.test", []),
    ],
)
def test_jwt_20_the_subjects_own_tenant_is_reached_by_any_source(path: str, host: str, header: list[str]) -> None:
    assert "acme" == ask(subject("acme"), path, host, *header)


@pytest.mark.parametrize(
    ("path", "host", "header"),
    [
        ("/open-banking/globex/accounts", "api.bank.test", []),
        ("/", "globex.api.bank.test", []),
        ("/", "api.bank.test", ["globex"]),
        ("/open-banking/globex/accounts", "globex.api.bank.test", ["globex"]),
    ],
)
def test_jwt_20_another_tenant_is_reached_by_none(path: str, host: str, header: list[str]) -> None:
    assert Reason.TENANT_MISMATCH is ask(subject("acme"), path, host, *header)
    assert Reason.TENANT_MISMATCH is ask(subject(""), path, host, *header)
    assert Reason.TENANT_MISMATCH is ask(ANONYMOUS, path, host, *header)


@pytest.mark.parametrize(
    ("path", "host", "header"),
    [
        ("/open-banking/acme/x", "api.bank.test", ["globex"]),
        ("/open-banking/globex/x", "api.bank.test", ["acme"]),
        ("/open-banking/acme/x", "globex.api.bank.test", []),
        ("/open-banking/globex/x", "acme.api.bank.test", []),
        ("/", "acme.api.bank.test", ["globex"]),
        ("/open-banking/acme/of/globex", "api.bank.test", []),
        ("/open-banking/globex/of/acme", "api.bank.test", []),
        ("/open-banking/acme/x", "api.bank.test", [""]),
        ("/open-banking/acme/x", "api.bank.test", ["nobody"]),
        ("/open-banking/acme/x", "api.bank.test", ["ACME"]),
        ("/", "api.bank.test", ["acme", "globex"]),
        ("/", "api.bank.test", ["acme", "acme"]),
        ("/", "api.bank.test", ["acme,globex"]),
        ("/", "api.bank.test", ["acme, acme"]),
    ],
)
@pytest.mark.parametrize("joined", [False, True])
def test_t_57_sources_that_disagree_are_refused(path: str, host: str, header: list[str], joined: bool) -> None:
    assert Reason.TENANT_CONFLICT is ask(subject("acme"), path, host, *header, joined=joined)


@pytest.mark.parametrize(
    ("path", "host", "header"),
    [
        ("/open-banking/nobody/x", "api.bank.test", []),
        ("/open-banking/ACME/x", "api.bank.test", []),
        ("/open-banking/acme%20x/x", "api.bank.test", []),
        ("/open-banking/%C3%A4cme/x", "api.bank.test", []),
        ("/", "nobody.api.bank.test", []),
        ("/", "api.bank.test", ["nobody"]),
        ("/", "api.bank.test", ["Acme"]),
        ("/", "api.bank.test", [""]),
        ("/", "api.bank.test", [" acme"]),
    ],
)
def test_t_57_only_registered_tenants_exist(path: str, host: str, header: list[str]) -> None:
    assert Reason.TENANT_UNKNOWN is ask(subject("acme"), path, host, *header)
    assert Reason.TENANT_UNKNOWN is ask(subject("nobody", "platform-support"), path, host, *header)


@pytest.mark.parametrize("tenant", ["ACME", "acme ", " acme", "acm\u0435"])
def test_t_57_a_token_that_names_the_tenant_in_another_spelling_names_another(tenant: str) -> None:
    assert Reason.TENANT_MISMATCH is ask(subject(tenant), "/open-banking/acme/x")
    assert Reason.TENANT_UNKNOWN is ask(subject(tenant))


class FirstOnly(FakeHeaders):
    """Shows the first of several lines, as careless parsers do."""

    def get(self, name: str) -> str | None:
        found = super().get(name)
        return found and found.partition(",")[0]


def test_t_26_a_repeated_header_is_refused_even_if_only_one_of_its_lines_is_shown() -> None:
    twice = FirstOnly([("x-tenant-id", "acme"), ("x-tenant-id", "globex")])
    assert Reason.TENANT_CONFLICT is reason(ALL.resolve(replace(a_request(), headers=twice), subject("acme")))
    tickets = FirstOnly([TICKET, TICKET, ("x-tenant-id", "globex")])
    support = subject("acme", "platform-support")
    assert Reason.TENANT_MISMATCH is reason(ALL.resolve(replace(a_request(), headers=tickets), support))


@pytest.mark.parametrize("path", ["/Open-Banking/globex/x", "/OPEN-BANKING/acme/x", "/a/OF/globex"])
def test_t_11_a_path_that_names_a_tenant_only_to_a_case_insensitive_upstream_is_refused(path: str) -> None:
    assert Reason.PATH_AMBIGUOUS is ask(subject("acme"), path)


@pytest.mark.parametrize("twin", ["x_tenant_id", "x-tenant_id", "x_tenant-id"])
def test_t_28_an_underscore_twin_of_the_tenant_header_must_agree_too(twin: str) -> None:
    for headers in ([("x-tenant-id", "acme"), (twin, "globex")], [(twin, "globex"), ("x-tenant-id", "acme")]):
        request = a_request(headers=headers)
        assert Reason.TENANT_CONFLICT is reason(ALL.resolve(request, subject("acme")))
    assert Reason.TENANT_MISMATCH is reason(ALL.resolve(a_request(headers=[(twin, "globex")]), subject("acme")))
    assert "acme" == reason(ALL.resolve(a_request(headers=[(twin, "acme")]), subject("acme")))


def test_headers_with_many_hyphens_do_not_cost_many_lookups() -> None:
    assert ["x-a", "x_a"] == spellings("x-a")
    assert ["tenant"] == spellings("tenant")
    assert 8 == len(set(spellings("x-a-b-c")))
    assert 32 == len(set(spellings("x-a-b-c-d-e")))
    assert ["x-a-b-c-d-e-f", "x_a_b_c_d_e_f"] == spellings("x-a-b-c-d-e-f")


@pytest.mark.parametrize("host", ["api.bank.test", "xapi.bank.test"])
def test_a_host_outside_of_the_pattern_names_no_tenant(host: str) -> None:
    assert "globex" == ask(subject("globex"), "/", host)


@pytest.mark.parametrize("host", ["a.acme.api.bank.test", "big_co.api.bank.test", "x.globex.api.bank.test"])
def test_t57_a_host_that_names_a_tenant_in_a_way_of_its_own_is_refused(host: str) -> None:
    """It names somebody: not the same as a request that names nobody and means the caller's own tenant."""
    assert Reason.TENANT_UNKNOWN is ask(subject("globex"), "/", host)


def test_a_request_that_names_no_tenant_means_the_subjects_or_is_refused_as_configured() -> None:
    strict = guard(HEADER, when_absent="deny")
    assert Reason.TENANT_MISSING is reason(strict.resolve(a_request(), subject("acme")))
    assert "acme" == reason(strict.resolve(a_request(headers=[("x-tenant-id", "acme")]), subject("acme")))
    assert Reason.TENANT_MISSING is ask(subject(""))
    assert Reason.TENANT_MISSING is ask(ANONYMOUS)
    assert Reason.TENANT_UNKNOWN is ask(subject("nobody"))


TICKET = ("x-support-ticket", "T-1")


@pytest.mark.parametrize(
    ("method", "roles", "headers", "crosses"),
    [
        ("GET", ("platform-support",), [TICKET], True),
        ("GET", ("clerk", "platform-admin"), [TICKET], True),
        ("GET", ("platform-support",), [], False),
        ("GET", ("platform-support",), [(TICKET[0], "")], False),
        ("GET", ("platform-support",), [TICKET, TICKET], False),
        ("GET", ("platform-support",), [(TICKET[0], "T-1,T-2")], False),
        ("HEAD", ("platform-support",), [TICKET], False),
        ("POST", ("platform-support",), [TICKET], False),
        ("GET", (), [TICKET], False),
        ("GET", ("Platform-Support",), [TICKET], False),
        ("GET", ("platform-support-x",), [TICKET], False),
    ],
)
def test_a_grant_crosses_only_when_every_part_of_it_holds(
    method: str, roles: tuple[str, ...], headers: list[tuple[str, str]], crosses: bool
) -> None:
    request = a_request(method, "/open-banking/globex/x", headers=headers)
    found = ALL.resolve(request, subject("acme", *roles))
    assert found == (
        Resolved("globex", "support")
        if crosses
        else Refusal(Reason.TENANT_MISMATCH, "JWT-20", "the resource belongs to another tenant")
    )


def test_a_grant_is_not_recorded_where_it_was_not_needed() -> None:
    request = a_request(path="/open-banking/acme/x", headers=[TICKET])
    assert Resolved("acme") == ALL.resolve(request, subject("acme", "platform-support"))


def test_a_grant_may_be_limited_to_tenants_scopes_and_issuers() -> None:
    limited = CrossTenantSpec(
        name="audit",
        roles=("auditor",),
        methods=("GET",),
        tenants=("globex",),
        scopes=("a", "b"),
        issuers=("keycloak",),
    )
    crossing = guard(PATH, grants=(limited,))

    def cross(tenant: str, *scopes: str, issuer: str = "keycloak") -> Reason | str:
        caller = Subject(issuer="i", id="u", issuer_name=issuer, tenant="acme", roles=("auditor",), scopes=scopes)
        return reason(crossing.resolve(a_request(path=f"/open-banking/{tenant}"), caller))

    assert "globex" == cross("globex", "a", "b", "c")
    assert Reason.TENANT_MISMATCH is cross("globex", "a")
    assert Reason.TENANT_MISMATCH is cross("initech", "a", "b")
    assert Reason.TENANT_MISMATCH is cross("globex", "a", "b", issuer="partner")


def test_t_70_an_unknown_and_a_wrong_tenant_look_the_same_to_the_client() -> None:
    alike = [Reason.TENANT_UNKNOWN, Reason.TENANT_MISMATCH, Reason.TENANT_CONFLICT, Reason.TENANT_MISSING]
    assert {(403, "none", "not permitted")} == {(r.status, r.shape, r.words) for r in alike}


tenant_ids = st.sampled_from([*TENANTS, "nobody", "ACME", "", "acme,globex", "acme "])
sources = st.permutations([PATH, TAIL, HOST, HEADER]).flatmap(
    lambda order: st.integers(0, 4).map(lambda count: order[:count])
)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, object]:
    first, last, label = draw(tenant_ids), draw(tenant_ids), draw(st.sampled_from([*TENANTS, "nobody"]))
    names = ["x-tenant-id", "x_tenant_id", "x-support-ticket"]
    path = draw(
        st.sampled_from(["/", f"/open-banking/{first or 'x'}/a", f"/open-banking/{first or 'x'}/of/{last or 'x'}"])
    )
    return {
        "method": draw(st.sampled_from(["GET", "POST"])),
        "path": path.replace(" ", "x"),
        "host": draw(st.sampled_from(["api.bank.test", f"{label}.api.bank.test"])),
        "headers": draw(st.lists(st.tuples(st.sampled_from(names), tenant_ids), max_size=4)),
        "joined": draw(st.booleans()),
    }


callers = st.builds(
    lambda tenant, roles: subject(tenant, *roles),
    st.sampled_from([*TENANTS, "", "nobody"]),
    st.lists(st.sampled_from(["clerk", "platform-support"]), max_size=2),
)


@given(sources, requests(), callers)
def test_no_tenant_but_the_subjects_is_ever_reached_without_a_grant(
    order: list[TenantSourceSpec], asked: dict[str, object], caller: Subject
) -> None:
    """For any sources, any request and any two tenants."""
    found = guard(*order).resolve(a_request(**asked), caller)
    without_grants = guard(*order, grants=()).resolve(a_request(**asked), caller)
    if isinstance(found, Resolved):
        assert found.tenant in TENANTS
        if found.cross_tenant:
            assert "platform-support" in caller.roles
            assert "GET" == asked["method"]
            assert any(name == "x-support-ticket" and value for name, value in asked["headers"])
        else:
            assert caller.tenant == found.tenant
    assert isinstance(without_grants, Refusal) or without_grants.tenant == caller.tenant


@given(requests(), callers)
def test_the_order_of_the_sources_does_not_matter(asked: dict[str, object], caller: Subject) -> None:
    request = a_request(**asked)
    answers = {
        repr(guard(*order).resolve(request, caller)) for order in itertools.permutations([PATH, TAIL, HOST, HEADER])
    }
    assert 1 == len(answers)


@given(requests(), callers, sources)
def test_another_source_never_opens_what_fewer_sources_refuse(
    asked: dict[str, object], caller: Subject, order: list[TenantSourceSpec]
) -> None:
    """Adding a source can only refuse more: the same tenant, or a refusal; never another tenant."""
    request = a_request(**asked)
    fewer = guard(*order[:-1]).resolve(request, caller)
    more = guard(*order).resolve(request, caller)
    if isinstance(fewer, Resolved) and isinstance(more, Resolved) and not more.cross_tenant:
        assert fewer.tenant == more.tenant


def problems_of(profile: ProfileTenancySpec, tenancy: TenancySpec | None = None, **tenants: object) -> list[str]:
    problems: list[Problem] = []
    tenancy = tenancy or TenancySpec(tenants="data.tenants")
    registry = compile_registry(tenancy, {"tenants": tenants or TENANTS}, [])
    compile_tenancy(profile, tenancy, registry, problems, ("spec", "tenancy"))
    return [f"{problem.severity} {'.'.join(map(str, problem.location))}: {problem.message}" for problem in problems]


@pytest.mark.parametrize(
    ("source", "where", "what"),
    [
        (TenantSourceSpec(path="/open-banking/{tenat}/**"), ".path", "must capture `{tenant}`"),
        (TenantSourceSpec(path="/open-banking/*/**"), ".path", "must capture `{tenant}`"),
        (TenantSourceSpec(path="open-banking/{tenant}"), ".path", "must begin with `/`"),
        (TenantSourceSpec(host="*.api.bank.test"), ".host", "must capture `{tenant}`"),
        (TenantSourceSpec(host="{tenant}"), ".host", "must be a host without port"),
        (TenantSourceSpec(header="X-Tenant-ID"), ".header", "write `x-tenant-id`"),
        (TenantSourceSpec(), "", "exactly one of `path`, `host` and `header`"),
        (TenantSourceSpec(path="/{tenant}", header="x-tenant-id"), "", "exactly one of `path`, `host` and `header`"),
    ],
)
def test_t_74_a_source_that_cannot_name_a_tenant_is_a_problem(source: TenantSourceSpec, where: str, what: str) -> None:
    (found,) = problems_of(ProfileTenancySpec(resource_tenant=(HEADER, source)))
    assert found.startswith(f"error spec.tenancy.resourceTenant.1{where}: ")
    assert what in found


def test_refusing_everything_by_mistake_is_a_problem() -> None:
    (found,) = problems_of(ProfileTenancySpec(when_absent="deny"))
    assert "refuses every request" in found


def test_tenancy_without_a_registry_is_a_problem() -> None:
    problems: list[Problem] = []
    registry = compile_registry(None, {}, problems)
    assert compile_tenancy(ProfileTenancySpec(), None, registry, problems, ("spec", "tenancy")) is None
    assert ["the bundle has no `kind: Tenancy`, which says who the tenants are"] == [p.message for p in problems]


def test_a_tenant_that_no_host_can_name_is_a_warning() -> None:
    (found,) = problems_of(ProfileTenancySpec(resource_tenant=(HOST,)), org_2E={})
    assert "warning spec.tenancy.resourceTenant.0.host: tenant `org_2E` can never be named by a host" in found


SEGMENTS = st.sampled_from(["open-banking", "Open-Banking", "of", "OF", "acme", "globex", "Acme", "v1", "x"])
PATHS = st.lists(SEGMENTS, max_size=5).map(lambda found: "/" + "/".join(found))
HOSTS = st.sampled_from(
    ["api.bank.test", "acme.api.bank.test", "globex.api.bank.test", "a_b.api.bank.test", "bank.test"]
)
OF_HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["x-tenant-id", "x_tenant_id", "x-tenant_id"]),
        st.sampled_from(["acme", "globex", "acme,acme", ""]),
    ),
    max_size=2,
)


@given(
    st.lists(st.tuples(PATHS, OF_HEADERS), min_size=1, max_size=8),
    HOSTS,
    st.sets(st.sampled_from([PATH, TAIL, HOST, HEADER])),
    st.booleans(),
    st.sampled_from(["acme", "globex", "nobody", ""]),
    st.booleans(),
)
def test_where_tenants_are_named_is_the_same_for_all_paths_of_a_shape(
    asked: list[tuple[str, list[tuple[str, str]]]],
    host: str,
    sources: set[TenantSourceSpec],
    denies: bool,
    tenant: str,
    joined: bool,
) -> None:
    """What is found for the first of a shape serves the others: the same tenant as `resolve` finds, or none."""
    if denies and not sources:
        return
    tenancy = guard(*sources, when_absent="deny" if denies else "subject")
    shapes, known = Shapes(tenancy.literals), {}
    caller = subject(tenant)
    for path, lines in asked:
        request = a_request(path=path, host=host, headers=lines, joined=joined)
        spots = known.setdefault(shapes.of(request.segments, request.folded), tenancy.spots(request))
        found = None if spots is None else tenancy.own(spots, request, caller)
        resolved = tenancy.resolve(request, caller)
        if found is not None:
            assert resolved == Resolved(found)
        elif isinstance(resolved, Resolved):  # left to it: another names the tenant too, or a grant leads there
            assert lines or resolved.cross_tenant
