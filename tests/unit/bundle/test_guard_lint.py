"""What an author is told about guards that would not do what they seem to."""

import pytest

from extauthz.bundle import BundleError, read_bundle
from extauthz.model.ports import NoTokenCache
from tests.unit.bundle.small_bundle import FILES, PROFILE

TENANCY = PROFILE[PROFILE.index("  tenancy:") :]
BARE = PROFILE[: PROFILE.index("  tenancy:")]


def told(**changes: str) -> list[str]:
    """The findings about the small bundle, its files changed by their stem."""
    bundle = {path: text.encode() for path, text in FILES.items() if not path.startswith("tests/")}
    names = {path.rpartition("/")[2].partition(".")[0]: path for path in bundle} | {"tenants": "data/tenants.yaml"}
    bundle |= {names.get(stem, f"{stem}.yaml"): text.encode() for stem, text in changes.items()}
    try:
        return [f"warning: {finding}" for finding in read_bundle(bundle, NoTokenCache()).warnings]
    except BundleError as error:
        return [f"{finding.severity}: {finding}" for finding in error.findings]


def test_the_small_bundle_is_fine() -> None:
    assert [] == told()


def test_t57_a_place_that_no_request_of_the_profile_has_is_an_error() -> None:
    """Every request would name no tenant, which may mean the caller's own."""
    sources = """\
    - path: "/apis/{tenant}/**"
    - host: "{tenant}.bank.test"
    - host: "{tenant}.shop.test"
    - path: "/**/{tenant}"
"""
    assert [
        (
            "error: profile.yaml:9: spec.tenancy.resourceTenant[0].path: no path of this profile can be "
            "`/apis/{tenant}/**`, so it never names a tenant: its paths are `/api/**`"
        ),
        (
            "error: profile.yaml:11: spec.tenancy.resourceTenant[2].host: no host of this profile can be "
            "`{tenant}.shop.test`, so it never names a tenant: its hosts are `api.bank.test`"
        ),
    ] == [line for line in told(profile=BARE + TENANCY[: TENANCY.index("    -")] + sources) if "error" in line]


@pytest.mark.parametrize(
    ("sources", "path", "read"),
    [
        ('{path: "/api/{tenant}/**"}', "/api/{tenant}/accounts/**", True),
        ('{path: "/api/{tenant}/**"}', "/*/{tenant}/accounts", True),
        ('{path: "/**/{tenant}"}', "/api/x/{tenant}", True),
        ('{path: "/**/{tenant}"}, {path: "/api/{tenant}/**"}', "/api/{tenant}/accounts", True),
        ('{path: "/api/{tenant}/**"}', "/api/v2/{tenant}/accounts", False),
        ('{path: "/api/{tenant}/**"}', "/api/**/{tenant}", False),
        ('{path: "/api/v1/{tenant}/**"}', "/api/v2/{tenant}/**", False),
        ("{host: '{tenant}.bank.test'}, {header: x-tenant}", "/api/{tenant}/accounts", False),
        ('{path: "/api/{tenant}/**"}', "/api/{bank}/accounts", True),
    ],
)
def test_t57_a_tenant_that_a_policy_captures_is_the_one_that_is_compared(sources: str, path: str, read: bool) -> None:
    policy = FILES["policy.yaml"].replace("/api/{tenant}/accounts/**", path)
    profile = f"{BARE}  tenancy: {{resourceTenant: [{sources}]}}\n"
    message = (
        "warning: policy.yaml:13: spec.rules[0].to[0].paths[0]: `{tenant}` is compared with nobody's tenant: profile "
        f"`api` does not read it there, add `path: {path}` to its `tenancy.resourceTenant`"
    )
    assert ([] if read else [message]) == told(profile=profile, policy=policy)


def test_t57_only_profiles_that_such_a_request_can_come_under_count() -> None:
    """A profile behind one that covers it does not, nor one that knows no callers, nor any without a registry."""
    rest = BARE.replace("name: api", "name: rest").replace('"/api/**"', '"/**"')
    assert [] == told(rest=rest)
    assert [] == told(profile=BARE.replace("mode: required, issuers: [bank]", "mode: none"), rest=rest)
    assert ["rest"] == [
        line.split("`")[3] for line in told(rest=rest.replace("[api.bank.test]", '["*"]'), policy=ANYWHERE)
    ]
    assert ["api"] == [line.split("`")[3] for line in told(profile=BARE, rest=rest)]


ANYWHERE = FILES["policy.yaml"].replace("  match: {hosts: [api.bank.test]}\n", "")
WITH_ID = "acme: {financialId: A}\nglobex: {financialId: G}\n"
AT = "profile.yaml:10: spec.fapi.financialId"


@pytest.mark.parametrize(
    ("profile", "tenants", "findings"),
    [
        (PROFILE, WITH_ID, []),
        (
            PROFILE,
            "acme: {financialId: A}\nglobex: {}\n",
            [f"warning: {AT}: `globex` has no `financialId`, so this profile refuses every request about them"],
        ),
        (
            PROFILE,
            "acme: {}\nglobex: {}\ninitech: {financialId: I}\n",
            [
                (
                    f"warning: {AT}: `acme` and 1 more have no `financialId`, so this profile refuses every "
                    "request about them"
                )
            ],
        ),
        (
            PROFILE,
            "acme: {}\n",
            [
                (
                    f"error: {AT}: no registered tenant has a `financialId`, so every request with "
                    "`x-fapi-financial-id` is refused: register it"
                )
            ],
        ),
    ],
)
def test_a_financial_id_needs_something_to_be_compared_with(profile: str, tenants: str, findings: list[str]) -> None:
    fapi = "  fapi: {ecosystem: uk-obie, financialId: {required: true}}\n"
    assert findings == told(profile=profile + fapi, tenants=tenants)


def test_a_financial_id_without_tenancy_is_that_of_the_caller() -> None:
    """Also where the ecosystem alone asks for it, and then it is said there."""
    policy = ANYWHERE.replace("{tenant}", "*")
    assert [
        (
            "warning: profile.yaml:7: spec.fapi.ecosystem: without `tenancy` the id is compared with that of the caller's own "
            "tenant, whatever the request names"
        )
    ] == told(profile=f"{BARE}  fapi: {{ecosystem: uk-obie-3.1.1}}\n", tenants=WITH_ID, policy=policy)


def test_t28_headers_of_which_other_spellings_pass_are_told_in_profiles_too() -> None:
    profile = PROFILE + "  fapi: {ecosystem: custom, headers: {x-a-b-c-d-e-f: {}, x_channel: {}}}\n"
    flaws = told(profile=profile)
    assert ["x-a-b-c-d-e-f", "x_channel"] == [line.split("`")[1] for line in flaws]
    assert all(line.startswith("warning: profile.yaml:10: spec.fapi: `") for line in flaws)


def test_t28_profiles_read_a_bounded_number_of_headers() -> None:
    headers = ", ".join(f"x-{number}: {{}}" for number in range(129))
    message = "error: profile.yaml:10: spec.fapi: profiles read more than 128 different headers with `-` or `_`"
    assert [message] == told(profile=f"{PROFILE}  fapi: {{ecosystem: custom, headers: {{{headers}}}}}\n")
