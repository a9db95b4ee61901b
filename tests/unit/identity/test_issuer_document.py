"""Issuer documents and `authentication` sections: what they accept, and what they say is wrong."""

from typing import Any

import msgspec
import pytest

from extauthz.identity import AuthenticationSpec, Issuer, IssuerSpec, compile_authentication, compile_issuer
from extauthz.model.problems import Problem
from tests.unit.identity.tokens import an_issuer, problems_of


def test_the_shortest_document_is_strict_rfc_9068_with_discovery() -> None:
    issuer = an_issuer()
    assert issuer.discovery
    assert ("", "") == (issuer.jwks_uri, issuer.jwks_file)
    assert ("at+jwt",) == issuer.types
    assert (10, 86400) == (issuer.leeway, issuer.max_lifetime)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"preset": "keycloack"}, "spec.preset: unknown preset `keycloack`, did you mean `keycloak`?"),
        ({"algorithms": ["none"]}, "spec.algorithms.0: `none` is no signature: anybody could write such a token"),
        (
            {"algorithms": ["PS256", "HS256"]},
            "spec.algorithms.1: `HS256` is symmetric: whoever verifies could also sign; use `PS256` or `ES256`",
        ),
        ({"algorithms": ["ES256k"]}, "spec.algorithms.0: unknown algorithm `ES256k`, did you mean `ES256`?"),
        ({"algorithms": []}, "spec.algorithms: `algorithms` must name at least one"),
        (
            {"audiences": []},
            (
                "spec.audiences: `audiences` must name what this service is called in tokens, or any token of the issuer"
                " would do"
            ),
        ),
        ({"issuer": "bank"}, "spec.issuer: `bank` is not a URL"),
        (
            {"issuer": "http://login.bank.test"},
            "spec.issuer: `http://login.bank.test` must begin with `https://`; `http://` is for loopback only",
        ),
        (
            {"issuer": "https://login.bank.test?a=b"},
            "spec.issuer: `https://login.bank.test?a=b` must not have a query or fragment (RFC 8414 section 2)",
        ),
        (
            {"issuer": "https://u:p@bank.test"},
            "spec.issuer: `https://u:p@bank.test` must have neither user nor fragment",
        ),
        (
            {"jwks": {"uri": "http://bank.test/keys"}},
            "spec.jwks.uri: `http://bank.test/keys` must begin with `https://`; `http://` is for loopback only",
        ),
        (
            {"jwks": {}},
            (
                "spec.jwks: `jwks` needs one of `uri`, `file`, `metadata`; leave `jwks` out to discover the keys of"
                " `https://login.bank.test`"
            ),
        ),
        (
            {"jwks": {"file": "../keys.json"}},
            "spec.jwks.file: `../keys.json` must be relative to the bundle and stay within it",
        ),
        ({"leeway": "61s"}, "spec.leeway: `61s` must be at most `60s`: an expired token must not live on"),
        ({"leeway": "soon"}, "spec.leeway: `soon` must be a duration such as `30s`, `5m` or `24h`"),
        ({"maxLifetime": 0}, "spec.maxLifetime: `maxLifetime` must be longer than nothing"),
        (
            {"types": ["JWT"]},
            (
                "spec.kind: types other than `at+jwt` are also those of ID tokens: `kind` must name a claim that tells them"
                " apart"
            ),
        ),
        ({"kind": {"claim": "use", "anyOf": []}}, "spec.kind: `kind` would accept nothing or everything: give a value"),
        (
            {"kind": {"claim": "use", "anyOf": ["a"], "prefix": "a"}},
            "spec.kind: `kind` takes `anyOf` or `prefix`, not both",
        ),
        (
            {"claims": {"tenant": "https://bank.test/tenant"}},
            (
                "spec.claims.tenant: `https://bank.test/tenant` has dots that belong to its name: write the list"
                " [`https://bank.test/tenant`]"
            ),
        ),
        ({"claims": {"roles": ["realm_access..roles"]}}, "spec.claims.roles.0: a claim path has an empty name"),
        ({"claims": {"subject": ""}}, "spec.claims.subject: `subject` must name a claim: a caller needs an id"),
    ],
)
def test_a_bad_document_is_refused_with_the_place_and_what_would_be_right(fields: dict[str, Any], problem: str) -> None:
    assert [problem] == problems_of(**fields)


def test_all_problems_are_told_at_once() -> None:
    assert 4 == len(problems_of(issuer="bank", audiences=[], algorithms=["none"], leeway="x"))


@pytest.mark.parametrize(
    ("preset", "issuer"),
    [
        ("auth0", "https://shop.eu.auth0.com"),
        ("keycloak", "https://login.bank.test/auth"),
        ("okta", "https://shop.okta.com"),
        ("entra", "https://login.microsoftonline.com/common/v2.0"),
        ("cognito", "https://cognito.test/pool"),
        ("firebase", "https://accounts.google.com"),
    ],
)
def test_an_issuer_that_does_not_look_like_its_preset_is_warned_about(preset: str, issuer: str) -> None:
    (problem,) = problems_of(preset=preset, issuer=issuer)
    assert problem.startswith(f"spec.issuer: `{issuer}` looks unusual: an issuer here ")


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:8080/keys", "http://localhost/keys", "http://[::1]:1/k", "https://b.test/k"]
)
def test_keys_come_over_https_or_from_loopback(uri: str) -> None:
    issuer = an_issuer(jwks={"uri": uri})
    assert (uri, False) == (issuer.jwks_uri, issuer.discovery)


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1.evil.test/",
        "http://localhost.evil.test/",
        "file:///k",
        "https:///k",
        "https://b.test:x/",
        "https://b.test/ k",
        "https://b.test/\n",
        "ftp://127.0.0.1/",
        "https://b.test/#f",
    ],
)
def test_nothing_else_is_an_address_of_keys(uri: str) -> None:
    assert 1 == len(problems_of(jwks={"uri": uri}))


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("1m", 60), (45, 45), ("0s", 0), (0, 0)])
def test_durations_are_texts_with_a_unit_or_seconds(text: int | str, seconds: int) -> None:
    assert seconds == an_issuer(leeway=text).leeway


def test_documents_that_differ_in_anything_have_different_digests() -> None:
    assert an_issuer().digest == an_issuer().digest
    others = [an_issuer("other"), an_issuer(leeway=5), an_issuer(audiences=["x"]), an_issuer(claims={"tenant": "t"})]
    assert 5 == len({an_issuer().digest, *(other.digest for other in others)})


def test_unknown_fields_are_refused_at_every_level() -> None:
    for fields in (
        {"audience": "x"},
        {"claims": {"role": "x"}},
        {"jwks": {"url": "x"}},
        {"kind": {"claim": "x", "is": 1}},
    ):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"issuer": "https://b.test", **fields}, IssuerSpec)


def authentication_problems(**fields: Any) -> list[str]:
    problems: list[Problem] = []
    known: dict[str, Issuer] = {"bank": an_issuer(), "twin": an_issuer("twin", audiences=["other"])}
    spec = msgspec.convert(fields, AuthenticationSpec)
    found = compile_authentication(spec, known, problems, ("spec", "authentication"))
    assert (found is None) == bool(problems)
    return [f"{'.'.join(map(str, problem.location))}: {problem.message}" for problem in problems]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (
            {"issuers": ["banc"]},
            "spec.authentication.issuers.0: unknown issuer `banc`, did you mean `bank`?",
        ),
        (
            {"issuers": []},
            "spec.authentication: mode `required` needs `issuers`, the names of Issuer documents",
        ),
        (
            {"mode": "none", "issuers": ["bank"]},
            "spec.authentication.issuers: mode `none` verifies nobody: leave `issuers` out",
        ),
        (
            {"issuers": ["bank", "twin"]},
            "spec.authentication.issuers.1: issuers `bank` and `twin` have the same `iss`: name one of them",
        ),
    ],
)
def test_a_bad_authentication_section_is_refused(fields: dict[str, Any], problem: str) -> None:
    assert [problem] == authentication_problems(**fields)


@pytest.mark.parametrize("fields", [{"issuers": ["bank"]}, {"mode": "optional", "issuers": ["twin"]}, {"mode": "none"}])
def test_a_good_authentication_section_is_compiled(fields: dict[str, Any]) -> None:
    assert [] == authentication_problems(**fields)


def test_a_problem_makes_no_issuer_and_a_warning_does() -> None:
    problems: list[Problem] = []
    spec = msgspec.convert({"issuer": "https://a.test", "audiences": ["x"], "preset": "auth0"}, IssuerSpec)
    assert compile_issuer("a", spec, problems) is not None
    assert ["warning"] == [problem.severity for problem in problems]
