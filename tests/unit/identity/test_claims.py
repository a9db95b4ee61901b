"""Claims as a Subject: checks JWT-17 to JWT-21 and MTLS-10."""

from typing import Any

import pytest

from extauthz.identity.issuer import Issuer
from extauthz.model.decision import Deny
from extauthz.model.subject import Subject
from tests.unit.identity.tokens import BANK, ISS, NOW, an_issuer, claims, claims_to_subject, refusal, sign, verify

TENANTED = an_issuer(claims={"tenant": "tenant_id"})


def subject(issuer: Issuer = BANK, **changes: Any) -> Subject:
    found = claims_to_subject(issuer, claims(**changes))
    assert isinstance(found, Subject), found
    return found


def refused(issuer: Issuer = BANK, **changes: Any) -> str:
    found = claims_to_subject(issuer, claims(**changes))
    assert isinstance(found, Deny), found
    return f"{found.reason.code} {found.check}"


def test_policy_tests_build_the_same_subject_as_verification() -> None:
    """Only the signer's key id and the spelling of the signed bytes can differ."""
    verified = verify(sign(claims(acr="loa3", auth_time=NOW - 5)))
    built = subject(acr="loa3", auth_time=NOW - 5)
    assert isinstance(verified, Subject)
    for field in Subject.__struct_fields__:
        if field not in {"key_id", "claims"}:
            assert getattr(verified, field) == getattr(built, field)


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ("accounts", ("accounts",)),
        ("accounts payments", ("accounts", "payments")),
        (" accounts  payments ", ("accounts", "payments")),
        (["accounts", "payments"], ("accounts", "payments")),
        ("accounts accounts", ("accounts",)),
        ("", ()),
        ([], ()),
        (..., ()),
    ],
)
def test_jwt_17_scopes_are_words_however_they_are_written(scope: object, words: tuple[str, ...]) -> None:
    assert words == subject(scope=scope).scopes


@pytest.mark.parametrize(
    "scope", [1, True, {}, ["accounts payments"], ["accounts", 1], [["accounts"]], [""], "a\tb", "a\nb"]
)
def test_jwt_17_scopes_of_another_shape_refuse_the_token(scope: object) -> None:
    assert "token_claim_invalid JWT-17" == refused(scope=scope)


def test_jwt_18_scopes_reach_policy_as_whole_words() -> None:
    scopes = subject(scope="accounts:read payments").scopes
    assert "accounts:read" in scopes
    assert "accounts" not in scopes
    assert "accounts:read payments" not in scopes


def test_jwt_19_roles_come_from_all_configured_paths_and_no_other() -> None:
    issuer = an_issuer(claims={"roles": ["realm_access.roles", ["https://bank.test/roles"], "groups"]})
    found = subject(
        issuer,
        realm_access={"roles": ["officer"]},
        groups=["staff", "officer"],
        roles=["admin"],
        **{"https://bank.test/roles": ["auditor"]},
    )
    assert ("officer", "auditor", "staff") == found.roles


@pytest.mark.parametrize("roles", [..., None, []])
def test_jwt_19_missing_roles_are_no_roles(roles: object) -> None:
    assert () == subject(roles=roles).roles


@pytest.mark.parametrize(
    "roles",
    ["admin", "admin,officer", 1, True, {}, {"admin": 1}, ["admin", 1], ["admin", None], [""], ["a\x01"], [["admin"]]],
)
def test_jwt_19_roles_of_another_shape_refuse_the_token(roles: object) -> None:
    assert "roles_invalid JWT-19" == refused(roles=roles)


def test_jwt_19_a_path_through_something_that_is_no_object_refuses_the_token() -> None:
    issuer = an_issuer(claims={"roles": ["realm_access.roles"]})
    assert "roles_invalid JWT-19" == refused(issuer, realm_access=["roles"])
    assert () == subject(issuer, realm_access={}).roles


def test_jwt_19_roles_that_the_issuer_moved_elsewhere_are_unknown_not_empty() -> None:
    issuer = an_issuer(claims={"roles": ["groups"]})
    assert "roles_invalid JWT-19" == refused(issuer, _claim_names={"groups": "src1"}, _claim_sources={"src1": {}})
    assert () == subject(issuer, _claim_names={"photo": "src1"}).roles


@pytest.mark.parametrize("tenant", ["acme", ["acme"], {"acme": {}}, {"acme": {"id": "1", "plan": ["gold"]}}])
def test_jwt_20_exactly_one_tenant_is_read_from_every_shape(tenant: object) -> None:
    assert "acme" == subject(TENANTED, tenant_id=tenant).tenant


@pytest.mark.parametrize(
    "tenant",
    [
        ...,
        None,
        "",
        [],
        {},
        ["acme", "globex"],
        ["acme", "acme"],
        {"acme": {}, "globex": {}},
        {"acme": "x"},
        {"acme": None},
        1,
        True,
        [1],
        [["acme"]],
        "ac\nme",
        "acme\u200b",
    ],
)
def test_jwt_20_anything_but_exactly_one_tenant_refuses_the_token(tenant: object) -> None:
    assert "tenant_claim_invalid JWT-20" == refused(TENANTED, tenant_id=tenant)


def test_jwt_20_a_document_may_admit_callers_without_tenant_but_never_with_two() -> None:
    issuer = an_issuer(claims={"tenant": "tenant_id", "tenantOptional": True})
    assert "" == subject(issuer).tenant
    assert "acme" == subject(issuer, tenant_id="acme").tenant
    assert "tenant_claim_invalid JWT-20" == refused(issuer, tenant_id=["acme", "globex"])
    assert "tenant_claim_invalid JWT-20" == refused(issuer, tenant_id="")


def test_jwt_21_the_same_sub_of_two_issuers_is_two_subjects() -> None:
    other = an_issuer("other", issuer="https://other.test")
    first, second = subject(), subject(other, iss="https://other.test")
    assert first.id == second.id
    assert (first.issuer, first.id) != (second.issuer, second.id)
    assert (ISS, "https://other.test") == (first.issuer, second.issuer)


@pytest.mark.parametrize("sub", [..., None, "", 1, ["alice"], {}, "ali\x00ce", "ali\u202ece"])
def test_jwt_21_a_client_id_never_stands_in_for_a_subject(sub: object) -> None:
    assert "token_claim_invalid JWT-12" == refused(sub=sub, client_id="alice")


@pytest.mark.parametrize("claim", ["client_id", "acr", "jti"])
@pytest.mark.parametrize("value", [1, True, [], ["x"], {}, "", "a\x07"])
def test_names_must_be_printable_texts(claim: str, value: object) -> None:
    assert "token_claim_invalid JWT-12" == refused(**{claim: value})


def test_the_first_present_of_several_paths_counts() -> None:
    issuer = an_issuer(claims={"client": ["azp", "client_id"], "tokenId": ["uti", "jti"]})
    assert "portal" == subject(issuer, azp="portal").client
    assert "mobile" == subject(issuer).client
    assert "token_claim_invalid JWT-12" == refused(issuer, azp=1)


@pytest.mark.parametrize("cnf", [{}, None, "", [], [{"jkt": "x"}], "jkt", 1, {"": 1}])
def test_mtls_10_a_confirmation_that_binds_to_nothing_is_never_a_bearer_token(cnf: object) -> None:
    assert "token_binding_unverified MTLS-10" == refused(cnf=cnf)
    assert "token_binding_unverified MTLS-10" == refusal(sign(claims(cnf=cnf)))


def test_mtls_10_the_members_of_a_confirmation_are_named() -> None:
    assert ("jkt", "x5t#S256") == subject(cnf={"jkt": "A" * 43, "x5t#S256": "B" * 42 + "A"}).confirmation
    assert ("jwk", "kid") == subject(cnf={"jwk": {}, "kid": "1"}).confirmation
    assert () == subject().confirmation


def test_the_claims_are_kept_as_the_bytes_that_were_signed() -> None:
    payload = (
        b' {"iss":"%s","aud":"accounts-api","sub":"alice","client_id":"m","jti":"1","iat":%d,"exp":%d,"limit":5.0} '
    )
    payload = payload % (ISS.encode(), NOW, NOW + 60)
    found = verify(sign(payload))
    assert isinstance(found, Subject)
    assert payload == found.claims
