"""Extraction of the credential: checks EX-01 to EX-08."""

import pytest
from msgspec.structs import replace

from extauthz.identity import Identified, identify
from extauthz.model.decision import Deny, Undecided
from extauthz.model.ports import NoTokenCache
from extauthz.model.request import Request
from extauthz.model.subject import ANONYMOUS
from tests.fakes import FakeHeaders, a_request
from tests.unit.identity.tokens import BANK, BANK_KEYS, NOW, accepting, claims, sign

TOKEN = sign(claims())


def outcome(request: Request, mode: str = "required", **fields: str) -> str:
    """`reason check`, or who was identified."""
    issuers = () if mode == "none" else (BANK,)
    found = identify(request, accepting(*issuers, mode=mode, **fields), BANK_KEYS, NoTokenCache(), NOW)
    if isinstance(found, Deny | Undecided):
        return f"{found.reason.code} {found.check}"
    assert isinstance(found, Identified)
    return found.subject.id or "anonymous"


def bearer(value: str = f"Bearer {TOKEN}", **fields: str) -> Request:
    return a_request(headers=[("authorization", value)], **fields)


def with_body(body: bytes, media_type: str = "application/x-www-form-urlencoded") -> Request:
    headers = [("authorization", f"Bearer {TOKEN}"), ("content-type", media_type)]
    return replace(a_request("POST", headers=headers), body=body)


def test_ex_01_a_token_in_the_authorization_header_identifies_the_caller() -> None:
    assert "alice" == outcome(bearer())


def test_ex_01_a_request_without_credential_is_asked_to_authenticate() -> None:
    assert "no_credential EX-01" == outcome(a_request())


@pytest.mark.parametrize("scheme", ["Basic", "Digest", "Negotiate", "Bearerr", "Token"])
def test_ex_01_no_other_scheme_is_accepted(scheme: str) -> None:
    assert "scheme_unsupported EX-01" == outcome(bearer(f"{scheme} {TOKEN}"))


@pytest.mark.parametrize(
    "query",
    [
        f"access_token={TOKEN}",
        "x=1&access_token=abc",
        "access_token",
        "access%5Ftoken=abc",
        "%61ccess_token=abc",
        "x=1;access_token=abc",
    ],
)
@pytest.mark.parametrize("with_header", [True, False])
def test_ex_02_a_token_in_the_query_is_refused_even_beside_a_good_header(query: str, with_header: bool) -> None:
    request = bearer(path=f"/a?{query}") if with_header else a_request(path=f"/a?{query}")
    assert "credential_in_query EX-02" == outcome(request)
    assert "credential_in_query EX-02" == outcome(request, mode="optional")


@pytest.mark.parametrize("query", ["my_access_token=1", "access_tokens=1", "q=access_token", "a=%20", "x"])
def test_ex_02_other_parameters_are_no_credential(query: str) -> None:
    assert "alice" == outcome(bearer(path=f"/a?{query}"))


@pytest.mark.parametrize("media_type", ["application/x-www-form-urlencoded", "Application/X-WWW-Form-Urlencoded; a=b"])
def test_ex_03_a_token_in_a_form_is_refused(media_type: str) -> None:
    assert "credential_in_body EX-03" == outcome(with_body(b"a=1&access_token=abc", media_type))


def test_ex_03_other_forms_and_other_media_types_pass() -> None:
    assert "alice" == outcome(with_body(b"amount=1&token=abc"))
    assert "alice" == outcome(with_body(b"access_token=abc", "text/plain"))
    assert "alice" == outcome(with_body(bytes(range(256))))


def test_ex_03_a_profile_may_tolerate_such_a_field_but_never_reads_it() -> None:
    assert "alice" == outcome(with_body(b"access_token=abc"), formBody="ignore")
    form = [("content-type", "application/x-www-form-urlencoded")]
    request = replace(a_request("POST", headers=form), body=f"access_token={TOKEN}".encode())
    assert "no_credential EX-01" == outcome(request, formBody="ignore")


@pytest.mark.parametrize("joined", [True, False])
def test_ex_04_two_authorization_fields_are_refused(joined: bool) -> None:
    twice = [("authorization", f"Bearer {TOKEN}"), ("authorization", f"Bearer {TOKEN}")]
    assert "credential_repeated EX-04" == outcome(a_request(headers=twice, joined=joined))


def test_ex_04_one_field_with_one_credential_is_accepted_in_both_header_modes() -> None:
    one = [("authorization", f"Bearer {TOKEN}")]
    assert "alice" == outcome(a_request(headers=one, joined=True)) == outcome(a_request(headers=one, joined=False))


@pytest.mark.parametrize("value", [f"Bearer {TOKEN}, Basic eA==", "Bearer a,b", ","])
def test_ex_04_a_comma_means_more_than_one_credential(value: str) -> None:
    assert "credential_repeated EX-04" == outcome(bearer(value))


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEARER"])
def test_ex_05_the_scheme_is_read_in_any_case(scheme: str) -> None:
    assert "alice" == outcome(bearer(f"{scheme} {TOKEN}"))


@pytest.mark.parametrize("scheme", ["Bear", "Bearer1", "ＢEARER", "Bearer\u0130"])  # noqa: RUF001
def test_ex_05_only_the_case_is_free(scheme: str) -> None:
    assert outcome(bearer(f"{scheme} {TOKEN}")) in {"scheme_unsupported EX-01", "credential_malformed EX-06"}


def test_ex_06_several_spaces_between_scheme_and_token_are_read() -> None:
    assert "alice" == outcome(bearer(f"Bearer   {TOKEN}"))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer \t" + TOKEN,
        f"Bearer\t{TOKEN}",
        f" Bearer {TOKEN}",
        f"Bearer {TOKEN} ",
        f"Bearer {TOKEN} x",
        f"Bearer {TOKEN}\n",
        "Bearer a\x00b",
        "Bearer =a",
        "Bearer ä",
        'Bearer "a"',
        f"Bearer: {TOKEN}",
        "Bearer " + "a" * 9000,
    ],
)
def test_ex_06_whatever_is_not_one_scheme_and_one_token68_is_malformed(value: str) -> None:
    assert "credential_malformed EX-06" == outcome(bearer(value))
    assert "credential_malformed EX-06" == outcome(bearer(value), mode="optional")


def test_ex_07_no_other_header_is_ever_read() -> None:
    """A header map that records what is asked for sees `authorization` alone."""
    asked: list[str] = []

    class Recording(FakeHeaders):
        def get(self, name: str) -> str | None:
            asked.append(name)
            return super().get(name)

    elsewhere = [
        ("cookie", f"access_token={TOKEN}"),
        ("x-forwarded-access-token", TOKEN),
        ("x-goog-iap-jwt-assertion", TOKEN),
        ("proxy-authorization", f"Bearer {TOKEN}"),
        ("x-auth-subject", "alice"),
    ]
    request = replace(a_request(), headers=Recording(elsewhere))
    assert "no_credential EX-01" == outcome(request)
    assert ["authorization"] == asked


def test_ex_07_such_headers_beside_a_good_one_change_nothing() -> None:
    headers = [("cookie", "access_token=evil"), ("authorization", f"Bearer {TOKEN}"), ("x-auth-subject", "mallory")]
    assert "alice" == outcome(a_request(headers=headers))


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "POST", "OPTIONS"])
def test_ex_08_any_method_works_without_a_body(method: str) -> None:
    assert "alice" == outcome(a_request(method, headers=[("authorization", f"Bearer {TOKEN}")]))


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_ex_08_no_method_passes_without_a_credential(method: str) -> None:
    assert "no_credential EX-01" == outcome(a_request(method))


def test_mode_none_makes_everybody_anonymous_whatever_is_sent() -> None:
    assert "anonymous" == outcome(bearer("Basic x"), mode="none") == outcome(a_request(), mode="none")


def test_mode_optional_accepts_no_credential_but_never_a_bad_one() -> None:
    assert "anonymous" == outcome(a_request(), mode="optional")
    assert "alice" == outcome(bearer(), mode="optional")
    assert "scheme_unsupported EX-01" == outcome(bearer("Basic x"), mode="optional")
    assert "token_expired JWT-09" == outcome(bearer(f"Bearer {sign(claims(exp=NOW - 60))}"), mode="optional")


def test_dp_02_a_bearer_token_sent_as_dpop_is_refused() -> None:
    assert "token_binding_unverified DP-02" == outcome(bearer(f"DPoP {TOKEN}"))


def test_dp_02_a_token_bound_to_a_certificate_only_is_refused_as_dpop() -> None:
    bound = sign(claims(cnf={"x5t#S256": "A" * 43}))
    assert "token_binding_unverified DP-02" == outcome(bearer(f"dpop {bound}"))


def test_a_bound_token_is_identified_with_its_confirmation_for_the_guard_to_refuse() -> None:
    """Identity knows who it is; the sender guard is what refuses a proof nobody verified."""
    bound = sign(claims(cnf={"jkt": "A" * 43}))
    for scheme in ("DPoP", "Bearer"):
        found = identify(bearer(f"{scheme} {bound}"), accepting(BANK), BANK_KEYS, NoTokenCache(), NOW)
        assert isinstance(found, Identified)
        assert ("jkt",) == found.subject.confirmation


def test_the_anonymous_subject_is_the_shared_one() -> None:
    found = identify(a_request(), accepting(BANK, mode="optional"), BANK_KEYS, NoTokenCache(), NOW)
    assert isinstance(found, Identified)
    assert found.subject is ANONYMOUS
