"""What lint says of rules under the profiles above them, and of roles and tenants that nobody knows."""

import pytest

from extauthz.bundle import lint_bundle, read_bundle
from extauthz.model.ports import NoTokenCache
from tests.unit.bundle.small_bundle import POLICY, PROFILE, TENANCY, changed, files


def warnings(bundle: dict[str, bytes]) -> list[str]:
    return [f"{finding} [{finding.code}]" for finding in lint_bundle(bundle).warnings]


PUBLIC = PROFILE[: PROFILE.index("  tenancy:")].replace("{mode: required, issuers: [bank]}", "{mode: none}")
OPEN = PROFILE[: PROFILE.index("  tenancy:")]


def policy(rule: str, more: str = "") -> str:
    return POLICY[: POLICY.index("  match:")] + f"{more}  rules:\n  - {rule}\n"


def test_a_sound_bundle_has_no_warnings() -> None:
    assert [] == warnings(files())


def test_what_takes_long_is_left_to_lint() -> None:
    """A server compiles the same bundle without these warnings."""
    bundle = changed("policy.yaml", "subject.claims.limit >= 10", "1 > 2")
    assert 1 == len(warnings(bundle))
    assert [] == read_bundle(bundle, NoTokenCache()).warnings


def test_a_rule_about_callers_under_a_profile_that_knows_nobody_is_unreachable() -> None:
    bundle = files(profile=PUBLIC, tests__staff=None, issuer=None)
    assert [
        (
            "policy.yaml:8: spec.rules[0]: no request can match: it asks who calls, but profile `api` identifies nobody "
            "(`mode: none`): correct it or remove the rule [unreachable-rule]"
        )
    ] == warnings(bundle)


def test_a_policy_of_a_tenant_under_a_profile_that_knows_nobody_is_unreachable() -> None:
    body = policy("to: [{paths: [/api/x]}]\n    condition: 'true'", "  tenant: acme\n")
    assert [
        (
            "policy.yaml:8: spec.rules[0]: no request can match: it is about tenant `acme`, but under profile `api` no request "
            "has a tenant (`mode: none`): correct it or remove the rule [unreachable-rule]"
        )
    ] == warnings(files(profile=PUBLIC, tests__staff=None, issuer=None, policy=body))


def test_a_rule_for_an_issuer_that_no_profile_above_accepts_is_unreachable() -> None:
    other = files()["issuer.yaml"].decode().replace("name: bank", "name: other").replace("//idp", "//other")
    elsewhere = (
        PROFILE.replace("name: api", "name: other").replace("api.bank.test", "other.test").replace("[bank]", "[other]")
    )
    bundle = files(other=other, elsewhere=elsewhere, policy=POLICY.replace("roles: [officer]", "issuers: [other]"))
    assert [
        (
            "policy.yaml:8: spec.rules[0]: no request can match: profile `api` accepts no token of `other`: correct it or "
            "remove the rule [unreachable-rule]"
        )
    ] == warnings({name: text for name, text in bundle.items() if name != "tests/staff.yaml"})


def test_deny_rules_and_rules_for_connections_are_left_alone_under_such_profiles() -> None:
    deny = policy("from: [{notRoles: [officer], roles: [clerk]}]\n    to: [{paths: [/api/x]}]").replace("allow", "deny")
    mesh = policy("from: [{principals: [cluster.local/ns/a/sa/b]}]\n    to: [{ports: [5432]}]").replace("staff", "mesh")
    assert [] == warnings(files(profile=PUBLIC, tests__staff=None, issuer=None, policy=deny, mesh=mesh))


def test_an_allow_that_nothing_keeps_to_one_tenant_is_broad() -> None:
    said = (
        "policy.yaml:8: spec.rules[0]: allows callers of every tenant alike: profile `api` has no `tenancy`, add it there, "
        "or name `tenants` or the roles of a `crossTenant` grant in `from` [broader-than-tenant]"
    )
    assert [said] == [each for each in warnings(files(profile=OPEN, tests__staff=None)) if "broader" in each]


@pytest.mark.parametrize(
    "changes",
    [
        {"profile": PROFILE},
        {"policy": POLICY.replace("effect: allow", "effect: allow\n  tenant: acme")},
        {"policy": POLICY.replace("- roles: [officer]", "- roles: [officer]\n      tenants: [acme, globex]")},
        {"policy": POLICY.replace("subject.claims.limit >= 10", "resource.tenant == data.home")},
        {"policy": POLICY.replace("subject.claims.limit >= 10", "params.tenant == subject.tenant")},
        {"policy": POLICY.replace("effect: allow", "effect: deny")},
        {"policy": POLICY.replace("effect: allow", "effect: allow\n  mode: shadow")},
        {
            "tenancy": TENANCY.replace(
                "data.tenants}", "data.tenants, crossTenant: [{name: a, roles: [officer], methods: [GET]}]}"
            )
        },
        {"tenancy": None, "issuer": files()["issuer.yaml"].decode().replace("tenant: tenant_id, ", "")},
        {"issuer": files()["issuer.yaml"].decode().replace("tenant: tenant_id, ", "")},
    ],
)
def test_an_allow_that_something_keeps_to_one_tenant_is_not_broad(changes: dict[str, str | None]) -> None:
    bundle = {**files(**{"profile": OPEN, "tests__staff": None, **changes}), "data/home.yaml": b"acme\n"}
    assert [] == [said for said in warnings(bundle) if "broader" in said]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("roles: [officer]", "roles: [oficer]", "spec.rules[0].from[0].roles[0]: no test's token has role `oficer`, did you mean `officer`?"),
        ("roles: [officer]", "notRoles: [clerk], roles: [officer]", "spec.rules[0].from[0].notRoles[0]: no test's token has role `clerk`: correct it, or add a case of a caller who has it"),
        ("roles: [officer]", "roles: [teller-*, officer]", "spec.rules[0].from[0].roles[0]: no test's token has a role like `teller-*`: correct it, or add a case of a caller who has it"),
        ("    condition:", "    when: [{key: subject.roles, notValues: [clerk], values: [officer]}]\n    condition:", "spec.rules[0].when[0].notValues[0]: no test's token has role `clerk`: correct it, or add a case of a caller who has it"),
        ("subject.claims.limit >= 10", "\"'ofisser' in subject.roles && subject.claims.limit >= 10\"", "spec.rules[0].condition: no test's token has role `ofisser`, did you mean `officer`?"),
    ],
)  # fmt: skip
def test_a_role_that_no_document_knows(old: str, new: str, said: str) -> None:
    bundle = changed("policy.yaml", old, new if old.startswith(("subject", "    c")) else f"{new}")
    if "notRoles: [clerk], roles" in new:
        bundle = changed("policy.yaml", "    - roles: [officer]", "    - roles: [officer]\n      notRoles: [clerk]")
    (found,) = [text for text in warnings(bundle) if "unknown-role" in text]
    assert found.partition(": ")[2] == f"{said} [unknown-role]"


def test_roles_are_not_judged_where_tests_have_none_and_known_ones_pass() -> None:
    assert [] == warnings(
        {n: t for n, t in changed("policy.yaml", "[officer]", "[oficer]").items() if "tests" not in n}
    )
    assert [] == warnings(changed("policy.yaml", "[officer]", "[off*, '*']"))
    granted = TENANCY.replace(
        "data.tenants}", "data.tenants, crossTenant: [{name: a, roles: [auditor], methods: [GET]}]}"
    )
    assert [] == warnings(files(tenancy=granted, policy=POLICY.replace("[officer]", "[officer, auditor]")))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("roles: [officer]", "tenants: [acne-*]", "spec.rules[0].from[0].tenants[0]: no registered tenant is `acne-*`: correct it, or register it"),
        ("    condition:", "    when: [{key: subject.tenant, notValues: [acne], values: ['*']}]\n    condition:", "spec.rules[0].when[0].notValues[0]: no registered tenant is `acne`, did you mean `acme`?"),
        ("subject.claims.limit >= 10", "resource.tenant != 'globx'", "spec.rules[0].condition: no registered tenant is `globx`, did you mean `globex`?"),
        ("subject.claims.limit >= 10", "subject.tenant in ['acme', 'globx']", "spec.rules[0].condition: no registered tenant is `globx`, did you mean `globex`?"),
    ],
)  # fmt: skip
def test_a_tenant_that_no_document_knows(old: str, new: str, said: str) -> None:
    (found,) = [text for text in warnings(changed("policy.yaml", old, new)) if "unknown-tenant" in text]
    assert found.partition(": ")[2] == f"{said} [unknown-tenant]"


def test_nobody_is_a_tenant_that_may_be_asked_about() -> None:
    assert [] == warnings(changed("policy.yaml", "subject.claims.limit >= 10", "subject.tenant != ''"))


def test_a_host_that_no_profile_covers_is_told_once_and_not_for_each_path() -> None:
    more = POLICY.replace("staff", "more").replace("api.bank.test", "other.test")
    assert [
        (
            "more.yaml:6: spec.match.hosts[0]: no SecurityProfile covers `other.test`, so every such request is refused "
            "before this policy [uncovered-path]"
        )
    ] == [said for said in warnings(files(more=more)) if "more.yaml" in said and "uncovered" in said]


def test_a_deny_rule_in_another_case_than_the_profile_is_covered() -> None:
    body = policy("to: [{paths: [/API/x]}]").replace("allow", "deny")
    assert [] == [said for said in warnings(files(policy=body, tests__staff=None)) if "uncovered" in said]
    assert ["uncovered"] == [
        "uncovered"
        for said in warnings(files(policy=body.replace("deny", "allow"), tests__staff=None))
        if "uncovered" in said
    ]
