"""Golden access tokens of the common identity providers, and the tokens beside them that are no access tokens."""

from typing import Any

import pytest

from extauthz.identity import PRESETS
from extauthz.identity.issuer import Issuer
from extauthz.model.subject import Subject
from tests.unit.identity.tokens import NOW, an_issuer, refusal, sign, verify

TID = "72f988bf-86f1-41af-91ab-2d7cd011db47"
OID = "6467882c-fdfd-4354-a1ed-4e13f064be25"

KEYCLOAK = "https://login.bank.test/realms/banking-system"
AUTH0 = "https://shop.eu.auth0.com/"
OKTA = "https://shop.okta.com/oauth2/default"
ENTRA = f"https://login.microsoftonline.com/{TID}/v2.0"
ENTRA_V1 = f"https://sts.windows.net/{TID}/"
COGNITO = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI"
FIREBASE = "https://securetoken.google.com/shop-1"

TIMES = {"iat": NOW - 10, "exp": NOW + 290}
# preset -> (fields of the document, header beside alg and kid, claims)
GOLDEN: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "rfc9068": (
        {"issuer": "https://as.bank.test", "audiences": ["https://rs.bank.test/"]},
        {"typ": "at+JWT"},
        {
            **TIMES,
            "iss": "https://as.bank.test",
            "sub": "5ba552d67",
            "aud": "https://rs.bank.test/",
            "jti": "dbe39bf3a3ba4238a513f51d6e1691c4",
            "client_id": "s6BhdRkqt3",
            "scope": "openid profile reademail",
            "roles": ["teller"],
            "groups": ["branch-7"],
        },
    ),
    "keycloak": (
        {"issuer": KEYCLOAK, "audiences": ["banking-microservices"]},
        {"typ": "JWT"},
        {
            **TIMES,
            "jti": "onrtac:9a1b",
            "iss": KEYCLOAK,
            "aud": ["banking-microservices", "account"],
            "sub": "f3b1a1c0-1111-4222-8333-444455556666",
            "typ": "Bearer",
            "azp": "mobile-app",
            "sid": "b0ffb3d0",
            "acr": "1",
            "allowed-origins": ["*"],
            "realm_access": {"roles": ["banking-officer", "offline_access"]},
            "resource_access": {"account": {"roles": ["manage-account"]}},
            "scope": "profile email organization",
            "organization": {"acme": {}},
            "preferred_username": "alice",
        },
    ),
    "auth0": (
        {"issuer": AUTH0, "audiences": ["https://api.shop.test"]},
        {"typ": "JWT"},
        {
            **TIMES,
            "iss": AUTH0,
            "sub": "auth0|507f1f77bcf86cd799439011",
            "aud": ["https://api.shop.test", "https://shop.eu.auth0.com/userinfo"],
            "scope": "openid read:orders",
            "org_id": "org_9ybsU1dN2dKfDkBi",
            "azp": "kbyuFDidLLm280LIwVFiazOqjO3ty8KH",
            "permissions": ["read:orders"],
        },
    ),
    "okta": (
        {"issuer": OKTA, "audiences": ["api://default"]},
        {"typ": ...},
        {
            **TIMES,
            "ver": 1,
            "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE",
            "iss": OKTA,
            "aud": "api://default",
            "sub": "alice@shop.test",
            "cid": "nmdP1fcyvdVO11AL7ECm",
            "uid": "00ujmkLgagxeRrAg20g3",
            "scp": ["openid", "orders"],
            "auth_time": NOW - 60,
            "groups": ["Everyone", "Sellers"],
        },
    ),
    "entra": (
        {"issuer": ENTRA, "audiences": ["6e74172b-be56-4843-9ff4-e66a39bb12e3"]},
        {"typ": "JWT"},
        {
            **TIMES,
            "aud": "6e74172b-be56-4843-9ff4-e66a39bb12e3",
            "iss": ENTRA,
            "nbf": NOW - 10,
            "azp": "6e74172b-be56-4843-9ff4-e66a39bb12e4",
            "azpacr": "0",
            "name": "Alice",
            "oid": OID,
            "preferred_username": "alice@shop.test",
            "roles": ["Orders.Approve"],
            "scp": "access_as_user",
            "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
            "tid": TID,
            "uti": "fqiBqXLPj0eQa82S-IYFAA",
            "ver": "2.0",
        },
    ),
    "cognito": (
        {"issuer": COGNITO, "audiences": ["1example23456789"]},
        {"typ": ...},
        {
            **TIMES,
            "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
            "cognito:groups": ["sellers"],
            "iss": COGNITO,
            "version": 2,
            "client_id": "1example23456789",
            "origin_jti": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeee1",
            "token_use": "access",
            "scope": "openid orders/read",
            "auth_time": NOW - 60,
            "jti": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeee2",
            "username": "alice",
        },
    ),
    "firebase": (
        {"issuer": FIREBASE, "audiences": ["shop-1"]},
        {"typ": "JWT"},
        {
            **TIMES,
            "iss": FIREBASE,
            "aud": "shop-1",
            "auth_time": NOW - 60,
            "user_id": "aUserId",
            "sub": "aUserId",
            "email": "alice@shop.test",
            "firebase": {
                "identities": {"email": ["alice@shop.test"]},
                "sign_in_provider": "password",
                "tenant": "acme-x1",
            },
        },
    ),
}

EXPECTED: dict[str, dict[str, object]] = {
    "rfc9068": {
        "id": "5ba552d67",
        "client": "s6BhdRkqt3",
        "tenant": "",
        "roles": ("teller", "branch-7"),
        "scopes": ("openid", "profile", "reademail"),
        "token_id": "dbe39bf3a3ba4238a513f51d6e1691c4",
    },
    "keycloak": {
        "id": "f3b1a1c0-1111-4222-8333-444455556666",
        "client": "mobile-app",
        "tenant": "acme",
        "roles": ("banking-officer", "offline_access"),
        "scopes": ("profile", "email", "organization"),
        "acr": "1",
        "token_id": "onrtac:9a1b",
    },
    "auth0": {
        "id": "auth0|507f1f77bcf86cd799439011",
        "client": "kbyuFDidLLm280LIwVFiazOqjO3ty8KH",
        "tenant": "org_9ybsU1dN2dKfDkBi",
        "roles": ("read:orders",),
        "scopes": ("openid", "read:orders"),
        "token_id": "",
    },
    "okta": {
        "id": "00ujmkLgagxeRrAg20g3",
        "client": "nmdP1fcyvdVO11AL7ECm",
        "tenant": "",
        "roles": ("Everyone", "Sellers"),
        "scopes": ("openid", "orders"),
        "auth_time": NOW - 60,
    },
    "entra": {
        "id": OID,
        "client": "6e74172b-be56-4843-9ff4-e66a39bb12e4",
        "tenant": TID,
        "roles": ("Orders.Approve",),
        "scopes": ("access_as_user",),
        "token_id": "fqiBqXLPj0eQa82S-IYFAA",
    },
    "cognito": {
        "id": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
        "client": "1example23456789",
        "tenant": "",
        "roles": ("sellers",),
        "scopes": ("openid", "orders/read"),
    },
    "firebase": {"id": "aUserId", "client": "", "tenant": "acme-x1", "roles": (), "scopes": (), "token_id": ""},
}


def issuer_of(preset: str, **fields: Any) -> Issuer:
    return an_issuer(preset=preset, **{**GOLDEN[preset][0], **fields})


def token_of(preset: str, header: dict[str, Any] | None = None, **changes: Any) -> str:
    _, own, claims = GOLDEN[preset]
    kept = {name: value for name, value in {**claims, **changes}.items() if value is not ...}
    return sign(kept, algorithm="RS256", header={**own, **(header or {})})


def test_every_preset_has_a_golden_token() -> None:
    assert set(PRESETS) == set(GOLDEN) == set(EXPECTED)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_golden_token_is_accepted_and_read(preset: str) -> None:
    found = verify(token_of(preset), issuer_of(preset))
    assert isinstance(found, Subject), found
    assert EXPECTED[preset] == {name: getattr(found, name) for name in EXPECTED[preset]}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_golden_token_for_another_audience_is_refused(preset: str) -> None:
    assert "token_audience_refused JWT-08" == refusal(token_of(preset), issuer_of(preset, audiences=["other"]))


@pytest.mark.parametrize("preset", PRESETS)
def test_jwt_08_a_golden_token_without_audience_is_refused(preset: str) -> None:
    """Cognito's access tokens have no `aud` anyway: theirs is the client."""
    claim = "client_id" if preset == "cognito" else "aud"
    token = token_of(preset, **{claim: ...})
    assert "token_audience_refused JWT-08" == refusal(token, issuer_of(preset))
    if preset == "cognito":
        assert "accepted" == refusal(token_of(preset, aud="something"), issuer_of(preset))


@pytest.mark.parametrize(
    ("preset", "claim"), [("okta", "scp"), ("entra", "scp"), ("keycloak", "scope"), ("auth0", "scope")]
)
@pytest.mark.parametrize("scopes", ["orders read", ["orders", "read"]])
def test_jwt_17_scopes_are_read_as_list_and_as_text_from_every_provider(
    preset: str, claim: str, scopes: object
) -> None:
    found = verify(token_of(preset, **{claim: scopes}), issuer_of(preset))
    assert isinstance(found, Subject)
    assert ("orders", "read") == found.scopes


# A token of the same issuer, client and key that is not an access token: (changes to header, changes to claims).
NOT_ACCESS = {
    "keycloak id": ("keycloak", {}, {"typ": "ID", "aud": "banking-microservices"}),
    "keycloak refresh": ("keycloak", {}, {"typ": "Refresh"}),
    "keycloak without mark": ("keycloak", {}, {"typ": ...}),
    "auth0 id": ("auth0", {}, {"azp": ..., "aud": "https://api.shop.test", "nonce": "n"}),
    "okta id": ("okta", {}, {"jti": "ID.55cxBtdYl8l6arKISPBwd0yOT-9UCTaXaQTXt2laRLs"}),
    "entra id": ("entra", {}, {"azp": ...}),
    "cognito id": ("cognito", {}, {"token_use": "id"}),
    "cognito without mark": ("cognito", {}, {"token_use": ...}),
    "google id": ("firebase", {}, {"firebase": ...}),
    "rfc9068 logout": ("rfc9068", {"typ": "logout+jwt"}, {"events": {}}),
}


@pytest.mark.parametrize("case", NOT_ACCESS)
def test_jwt_16_other_tokens_of_the_same_issuer_are_refused(case: str) -> None:
    preset, header, changes = NOT_ACCESS[case]
    found = refusal(token_of(preset, header, **changes), issuer_of(preset))
    assert found in {"token_kind_refused JWT-16", "token_type_refused JWT-06"}


def test_keycloak_names_a_service_accounts_client_twice_and_dpop_tokens_by_their_type() -> None:
    assert "accepted" == refusal(token_of("keycloak", client_id="mobile-app"), issuer_of("keycloak"))
    found = verify(token_of("keycloak", typ="DPoP", cnf={"jkt": "A" * 43}), issuer_of("keycloak"))
    assert isinstance(found, Subject)
    assert ("jkt",) == found.confirmation


@pytest.mark.parametrize("organization", [{"acme": {}}, ["acme"], {"acme": {"id": "42", "attr": ["x"]}}, "acme"])
def test_keycloak_organizations_have_several_shapes_and_one_reading(organization: object) -> None:
    found = verify(token_of("keycloak", organization=organization), issuer_of("keycloak"))
    assert isinstance(found, Subject)
    assert "acme" == found.tenant


def test_keycloak_groups_and_roles_nested_in_an_organization_do_not_hide_its_name() -> None:
    organization = {"acme": {"id": "42", "groups": ["/branch-7"], "roles": ["teller"]}}
    found = verify(token_of("keycloak", organization=organization), issuer_of("keycloak"))
    assert isinstance(found, Subject)
    assert ("acme", ("banking-officer", "offline_access")) == (found.tenant, found.roles)


@pytest.mark.parametrize("organization", [{"acme": {}, "globex": {}}, ["acme", "globex"], [], {}])
def test_keycloak_memberships_in_several_organizations_select_no_tenant(organization: object) -> None:
    token = token_of("keycloak", organization=organization)
    assert "tenant_claim_invalid JWT-20" == refusal(token, issuer_of("keycloak"))


def test_keycloak_tokens_without_organization_have_no_tenant() -> None:
    found = verify(token_of("keycloak", organization=...), issuer_of("keycloak"))
    assert isinstance(found, Subject)
    assert "" == found.tenant


def test_a_tenant_claim_of_ones_own_is_required_where_the_presets_was_optional() -> None:
    issuer = issuer_of("keycloak", claims={"tenant": "tenant_id"})
    assert "tenant_claim_invalid JWT-20" == refusal(token_of("keycloak"), issuer)
    assert "accepted" == refusal(token_of("keycloak", tenant_id="acme"), issuer)


def test_auth0_tokens_of_the_rfc_9068_profile_are_accepted_too() -> None:
    rfc9068 = token_of("auth0", {"typ": "at+jwt"}, azp=..., client_id="kbyu", jti="x", aud="https://api.shop.test")
    found = verify(rfc9068, issuer_of("auth0"))
    assert isinstance(found, Subject)
    assert ("kbyu", "x") == (found.client, found.token_id)


@pytest.mark.parametrize("org_id", ["", 1, ["org_1", "org_2"], {"org_1": 1}])
def test_auth0_organizations_that_are_not_one_text_are_refused(org_id: object) -> None:
    """`org_name` can be changed by an administrator, so it is never read."""
    assert "tenant_claim_invalid JWT-20" == refusal(token_of("auth0", org_id=org_id), issuer_of("auth0"))
    found = verify(token_of("auth0", org_id=..., org_name="acme"), issuer_of("auth0"))
    assert isinstance(found, Subject)
    assert "" == found.tenant


def test_auth0_client_credentials_are_a_subject_of_their_own() -> None:
    token = token_of("auth0", sub="kbyu@clients", azp="kbyu", gty="client-credentials", org_id=..., permissions=...)
    found = verify(token, issuer_of("auth0"))
    assert isinstance(found, Subject)
    assert ("kbyu@clients", "kbyu", ()) == (found.id, found.client, found.roles)


def test_okta_users_are_known_by_uid_however_they_log_in() -> None:
    for login in ("alice@shop.test", "alice.new@shop.test"):
        found = verify(token_of("okta", sub=login), issuer_of("okta"))
        assert isinstance(found, Subject)
        assert "00ujmkLgagxeRrAg20g3" == found.id
    assert "token_claim_invalid JWT-12" == refusal(token_of("okta", uid=7), issuer_of("okta"))


def test_okta_client_credentials_have_no_uid() -> None:
    found = verify(token_of("okta", uid=..., sub="nmdP1fcyvdVO11AL7ECm"), issuer_of("okta"))
    assert isinstance(found, Subject)
    assert "nmdP1fcyvdVO11AL7ECm" == found.id


def test_okta_roles_as_a_comma_text_are_refused() -> None:
    assert "roles_invalid JWT-19" == refusal(token_of("okta", groups="Everyone,Sellers"), issuer_of("okta"))


def test_entra_v1_tokens_name_the_client_appid() -> None:
    v1 = token_of("entra", azp=..., appid="app-1", ver="1.0", iss=ENTRA_V1)
    found = verify(v1, issuer_of("entra", issuer=ENTRA_V1))
    assert isinstance(found, Subject)
    assert "app-1" == found.client


def test_entra_tokens_of_another_tenant_are_refused() -> None:
    other = "9188040d-6c67-4c5b-b112-36a304b66dad"
    token = token_of("entra", iss=f"https://login.microsoftonline.com/{other}/v2.0", tid=other)
    assert "token_issuer_refused JWT-07" == refusal(token, issuer_of("entra"))


def test_entra_users_are_known_by_oid_never_by_sub_or_mail() -> None:
    assert "token_claim_invalid JWT-12" == refusal(token_of("entra", oid=...), issuer_of("entra"))


def test_entra_app_only_tokens_have_roles_and_no_scopes() -> None:
    found = verify(token_of("entra", scp=..., idtyp="app"), issuer_of("entra"))
    assert isinstance(found, Subject)
    assert ((), ("Orders.Approve",)) == (found.scopes, found.roles)


def test_cognito_tokens_are_for_the_clients_that_the_document_lists() -> None:
    assert "token_audience_refused JWT-08" == refusal(token_of("cognito", client_id="other"), issuer_of("cognito"))


def test_every_field_of_a_preset_can_be_overridden() -> None:
    issuer = issuer_of(
        "keycloak",
        algorithms=["PS256"],
        types=["at+jwt"],
        kind={"claim": "use", "prefix": "acc"},
        audienceClaim="resource",
        requireClaims=["sid"],
        claims={
            "subject": "employee.id",
            "client": "cid",
            "tenant": ["https://bank.test/tenant.id"],
            "roles": [["resource_access", "my.app", "roles"]],
            "scopes": "scp",
            "acr": "level",
            "authTime": "logged_in",
            "tokenId": "tid",
        },
    )
    payload = {
        **TIMES,
        "iss": KEYCLOAK,
        "resource": "banking-microservices",
        "use": "access",
        "sid": "s",
        "employee": {"id": "e-7"},
        "cid": "c-1",
        "https://bank.test/tenant.id": "acme",
        "resource_access": {"my.app": {"roles": ["teller"]}},
        "scp": ["pay"],
        "level": "loa3",
        "logged_in": NOW - 1,
        "tid": "t-9",
    }
    found = verify(sign(payload, algorithm="PS256"), issuer)
    assert isinstance(found, Subject), found
    assert ("e-7", "c-1", "acme", ("teller",), ("pay",), "loa3", NOW - 1, "t-9") == (
        found.id,
        found.client,
        found.tenant,
        found.roles,
        found.scopes,
        found.acr,
        found.auth_time,
        found.token_id,
    )
