"""One issuer under several names, and many tenants behind one: JWT-07, JWT-14, JWT-20, KEY-01."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from extauthz.identity import parse_jwks
from extauthz.identity.issuer import Issuer
from extauthz.model.subject import Subject
from tests.unit.identity.tokens import (
    AUD,
    EC,
    NOW,
    RSA,
    accepting,
    an_issuer,
    claims_to_subject,
    jwk,
    key_set,
    problems_of,
    refusal,
    sign,
    verify,
)

POOL = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI"
NEW_POOL = "https://issuer.cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI"

CONTOSO = "72f988bf-86f1-41af-91ab-2d7cd011db47"
FABRIKAM = "5f7bf7c1-9d3a-4c6e-8d40-0a1b2c3d4e5f"
CONSUMERS = "9188040d-6c67-4c5b-b112-36a304b66dad"
V2 = "https://login.microsoftonline.com/{tenantid}/v2.0"
V1 = "https://sts.windows.net/{tenantid}/"
MANY = an_issuer("entra", preset="entra", issuer=V2, issuerTenants=[CONTOSO, FABRIKAM])


def cognito(iss: str, **changes: Any) -> str:
    claims = {
        "iss": iss,
        "sub": "alice",
        "client_id": AUD,
        "token_use": "access",
        "jti": "1",
        "iat": NOW,
        "exp": NOW + 60,
        **changes,
    }
    return sign(claims, algorithm="RS256", header={"typ": ...})


def entra(tenant: str, template: str = V2, **changes: Any) -> str:
    claims = {
        "iss": template.replace("{tenantid}", tenant),
        "aud": AUD,
        "tid": tenant,
        "oid": "alice",
        "sub": "pairwise",
        "azp": "app",
        "ver": "2.0",
        "iat": NOW,
        "exp": NOW + 60,
        **changes,
    }
    kept = {name: value for name, value in claims.items() if value is not ...}
    return sign(kept, algorithm="RS256", header={"typ": "JWT"})


def asked(token: str, issuer: Issuer = MANY, named: str | None = V2) -> str:
    """`reason check`; the key in the set names its issuer as `named`."""
    members = {} if named is None else {"issuer": named}
    return refusal(token, issuer, {issuer.name: key_set(issuer, jwk(RSA, kid="rsa", **members))})


def caller(token: str, issuer: Issuer) -> Subject:
    named = {"issuer": issuer.issuer}
    found = verify(token, issuer, {issuer.name: key_set(issuer, jwk(RSA, kid="rsa", **named))})
    assert isinstance(found, Subject), found
    return found


def test_jwt_07_both_spellings_of_a_cognito_pool_are_one_document_and_one_caller() -> None:
    issuer = an_issuer(preset="cognito", issuer=POOL, issuerAliases=[NEW_POOL])
    old, new = verify(cognito(POOL), issuer), verify(cognito(NEW_POOL), issuer)
    assert isinstance(old, Subject)
    assert isinstance(new, Subject)
    assert (POOL, "alice") == (old.issuer, old.id) == (new.issuer, new.id)


@pytest.mark.parametrize(
    "iss",
    [
        NEW_POOL + "/",
        NEW_POOL.upper(),
        NEW_POOL.replace("issuer.", "issuers."),
        POOL[:-1],
        POOL + "x",
        [POOL],
        [NEW_POOL],
        None,
        1,
    ],
)
def test_jwt_07_aliases_are_compared_exactly(iss: Any) -> None:
    issuer = an_issuer(preset="cognito", issuer=POOL, issuerAliases=[NEW_POOL])
    assert "token_issuer_refused JWT-07" == refusal(cognito(iss), issuer)


def test_jwt_07_without_the_alias_the_other_spelling_is_refused() -> None:
    assert "token_issuer_refused JWT-07" == refusal(cognito(NEW_POOL), an_issuer(preset="cognito", issuer=POOL))


def test_jwt_07_two_documents_of_a_profile_never_share_a_spelling() -> None:
    first = an_issuer("first", preset="cognito", issuer=POOL, issuerAliases=[NEW_POOL])
    second = an_issuer("second", preset="cognito", issuer=NEW_POOL)
    with pytest.raises(AssertionError, match="have the same `iss`"):
        accepting(first, second)
    assert (first,) == accepting(first).issuers
    assert {POOL, NEW_POOL} == set(accepting(first).by_iss)


def test_entra_v1_and_v2_tokens_of_one_user_are_one_caller() -> None:
    v1, v2 = V1.replace("{tenantid}", CONTOSO), V2.replace("{tenantid}", CONTOSO)
    issuer = an_issuer(preset="entra", issuer=v2, issuerAliases=[v1])
    found = [caller(entra(CONTOSO), issuer), caller(entra(CONTOSO, V1, azp=..., appid="app", ver="1.0"), issuer)]
    assert [(v2, "alice", CONTOSO, "app")] * 2 == [(who.issuer, who.id, who.tenant, who.client) for who in found]


def test_jwt_20_a_multi_tenant_application_takes_the_tenants_it_lists_and_no_other() -> None:
    """Any tenant of Entra can mint a well signed token for a multi-tenant application."""
    assert ("accepted", "accepted") == (asked(entra(CONTOSO)), asked(entra(FABRIKAM)))
    for other in (CONSUMERS, CONTOSO.upper(), "common", "organizations", "{tenantid}", "", f"{CONTOSO}/{FABRIKAM}"):
        assert "token_issuer_refused JWT-07" == asked(entra(other))


def test_jwt_20_users_of_two_tenants_are_never_one_caller() -> None:
    first, second = caller(entra(CONTOSO), MANY), caller(entra(FABRIKAM), MANY)
    assert (V2.replace("{tenantid}", CONTOSO), CONTOSO) == (first.issuer, first.tenant)
    assert (V2.replace("{tenantid}", FABRIKAM), FABRIKAM) == (second.issuer, second.tenant)


@pytest.mark.parametrize("tid", [FABRIKAM, CONSUMERS, ..., None, "", [CONTOSO, FABRIKAM], 1])
def test_jwt_20_the_tenant_claim_must_agree_with_the_issuer(tid: object) -> None:
    found = asked(entra(CONTOSO, tid=tid))
    assert found in {"tenant_claim_invalid JWT-20", "token_claim_invalid JWT-12"}


def test_jwt_20_a_template_covers_v1_tokens_by_an_alias() -> None:
    issuer = an_issuer("entra", preset="entra", issuer=V2, issuerAliases=[V1], issuerTenants=[CONTOSO])
    token = entra(CONTOSO, V1, azp=..., appid="app", ver="1.0")
    assert V2.replace("{tenantid}", CONTOSO) == caller(token, issuer).issuer
    assert "accepted" == asked(token, issuer, V1)
    assert "token_issuer_refused JWT-07" == asked(entra(FABRIKAM, V1), issuer)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (V2, "accepted"),
        (V2.replace("{tenantid}", CONTOSO), "accepted"),
        (V2.replace("{tenantid}", FABRIKAM), "token_key_unknown JWT-03"),
        (V2.replace("{tenantid}", CONSUMERS), "token_key_unknown JWT-03"),
        (V1, "token_key_unknown JWT-03"),
        ("https://evil.test/{tenantid}/v2.0", "token_key_unknown JWT-03"),
        ("https://login.microsoftonline.com/{tenantid}", "token_key_unknown JWT-03"),
        ("{tenantid}", "token_key_unknown JWT-03"),
        (V2.replace("{tenantid}", "common"), "token_key_unknown JWT-03"),
    ],
)
def test_jwt_20_a_key_signs_only_for_the_issuer_that_it_names(named: str, expected: str) -> None:
    assert expected == asked(entra(CONTOSO), named=named)


def test_jwt_20_the_consumers_key_signs_for_no_company() -> None:
    issuer = an_issuer("entra", preset="entra", issuer=V2, issuerTenants=[CONTOSO, CONSUMERS])
    consumers = V2.replace("{tenantid}", CONSUMERS)
    assert "accepted" == asked(entra(CONSUMERS), issuer, consumers)
    assert "token_key_unknown JWT-03" == asked(entra(CONTOSO), issuer, consumers)


@pytest.mark.parametrize("named", [None, "", 1, [V2]])
def test_jwt_20_a_shared_key_that_does_not_name_its_issuer_is_left_out(named: object) -> None:
    members = {} if named is None else {"issuer": named}
    text = _jwks(jwk(RSA, kid="rsa", **members))
    keys, notes = parse_jwks(text, MANY)
    assert (0, 1) == (len(keys), len(notes))
    assert "issuer" in notes[0]


def test_jwt_20_a_key_that_names_its_issuer_is_believed_in_any_document() -> None:
    issuer = an_issuer(preset="entra", issuer=V2.replace("{tenantid}", CONTOSO))
    assert "accepted" == asked(entra(CONTOSO), issuer, None)
    assert "accepted" == asked(entra(CONTOSO), issuer, V2)
    assert "token_key_unknown JWT-03" == asked(entra(CONTOSO), issuer, V2.replace("{tenantid}", CONSUMERS))


def test_a_key_set_whose_keys_name_other_issuers_has_another_version() -> None:
    """So that tokens which the old keys proved leave the cache."""
    single = an_issuer(preset="entra", issuer=V2.replace("{tenantid}", CONTOSO))
    versions = {key_set(single, jwk(RSA, kid="rsa", **named)).version for named in ({}, {"issuer": V2}, {"issuer": V1})}
    assert 3 == len(versions)


def test_key_01_metadata_of_a_template_is_asked_of_common_or_where_the_document_says() -> None:
    assert "https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration" == MANY.metadata_uri
    assert "https://a.test/x/.well-known/openid-configuration" == an_issuer(issuer="https://a.test/x/").metadata_uri
    elsewhere = "https://login.microsoftonline.com/common/.well-known/openid-configuration"
    issuer = an_issuer(issuer="https://a.test/x", jwks={"metadata": elsewhere})
    assert (True, elsewhere) == (issuer.discovery, issuer.metadata_uri)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (
            {"preset": "entra", "issuer": V2},
            f"spec.issuer: `{V2}` needs `issuerTenants`, the tenants that are accepted",
        ),
        (
            {"preset": "entra", "issuer": V2, "issuerTenants": [CONTOSO], "issuerAliases": ["https://b.test"]},
            "spec.issuerAliases.0: `https://b.test` has no `{tenantid}`",
        ),
        ({"issuerTenants": ["a"]}, "spec.issuer: `https://login.bank.test` has no `{tenantid}`"),
        (
            {"preset": "entra", "issuer": V2, "issuerTenants": ["*"]},
            "spec.issuerTenants.0: `*` must be the id of one tenant, as tokens have it",
        ),
        (
            {"preset": "entra", "issuer": V2, "issuerTenants": ["a/b"]},
            "spec.issuerTenants.0: `a/b` must be the id of one tenant, as tokens have it",
        ),
        (
            {"issuer": "https://a.test/{tenantid}", "issuerTenants": ["a"]},
            "spec.claims.tenant: `{tenantid}` needs `claims.tenant`: a token must name the tenant of its `iss`",
        ),
        (
            {"issuer": "https://a.test", "issuerAliases": ["https://a.test"]},
            "spec.issuerAliases.0: `https://a.test` is listed twice",
        ),
        (
            {"issuerAliases": ["http://a.test"]},
            "spec.issuerAliases.0: `http://a.test` must begin with `https://`; `http://` is for loopback only",
        ),
        ({"issuerAliases": [""]}, "spec.issuerAliases.0: `` is not a URL"),
        ({"minRsaBits": 1024}, "spec.minRsaBits: `1024` must be 2048 to 8192 (JWT-14)"),
        ({"minRsaBits": 16384}, "spec.minRsaBits: `16384` must be 2048 to 8192 (JWT-14)"),
        (
            {"jwks": {"uri": "https://a.test/k", "metadata": "https://a.test/m"}},
            (
                "spec.jwks: `jwks` needs one of `uri`, `file`, `metadata`; leave `jwks` out to discover the keys of "
                "`https://login.bank.test`"
            ),
        ),
        (
            {"jwks": {"metadata": "http://a.test/m"}},
            "spec.jwks.metadata: `http://a.test/m` must begin with `https://`; `http://` is for loopback only",
        ),
    ],
)
def test_a_bad_document_says_where_and_what_would_be_right(fields: dict[str, Any], problem: str) -> None:
    assert problem in problems_of(**fields)


def test_a_thousand_tenants_are_the_most() -> None:
    tenants = [f"t-{number}" for number in range(1001)]
    assert "spec.issuerTenants: more than 1000 tenants" in problems_of(preset="entra", issuer=V2, issuerTenants=tenants)


def test_policy_tests_know_the_issuer_by_any_spelling() -> None:
    found = claims_to_subject(MANY, {"iss": V2.replace("{tenantid}", FABRIKAM), "oid": "a", "tid": FABRIKAM})
    assert isinstance(found, Subject), found
    assert V2.replace("{tenantid}", FABRIKAM) == found.issuer


def _jwks(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


@pytest.mark.parametrize("bits", [2048, 3072])
def test_jwt_14_a_document_may_ask_for_longer_rsa_keys(bits: int) -> None:
    issuer = an_issuer(minRsaBits=3072)
    key = RSA if bits == 2048 else rsa.generate_private_key(65537, bits)
    keys, notes = parse_jwks(_jwks(jwk(key, kid="rsa"), jwk(EC, kid="ec")), issuer)
    assert (1 if bits == 2048 else 2) == len(keys)
    assert (["keys[0] `rsa`: an RSA key must have 3072 bits or more (`minRsaBits`)"] if bits == 2048 else []) == notes
