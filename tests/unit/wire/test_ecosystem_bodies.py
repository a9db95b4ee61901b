"""What a refused client of each ecosystem reads."""

import json

import pytest

from extauthz.guards.ecosystems import ECOSYSTEMS
from extauthz.model.decision import Deny
from extauthz.model.reasons import Reason
from extauthz.wire import AnswerContext, OutboundOptions, write_answer
from extauthz.wire.twin import read_answer

UUID = "6F1c9d3e-1111-2222-3333-444444444444"
DENIALS = [reason for reason in Reason if reason.outcome == "deny"]


def answer(deny):
    return read_answer(write_answer(deny, AnswerContext("01J9-decision", UUID), OutboundOptions()))


@pytest.mark.parametrize("ecosystem", sorted(ECOSYSTEMS))
@pytest.mark.parametrize("reason", DENIALS, ids=lambda reason: reason.code)
def test_rs_01_rs_03_every_refusal_has_the_interaction_id_its_status_and_json_or_nothing(ecosystem, reason):
    found = answer(Deny(reason, "X-1", "secret", header="x-fapi-auth-date", ecosystem=ecosystem))

    assert UUID == found.client_header("x-fapi-interaction-id")
    assert reason.status == found.http_status
    media_type = found.client_header("content-type")
    if found.body:
        assert media_type in {"application/json; charset=utf-8", "application/problem+json"}
        assert isinstance(json.loads(found.body), dict)
    else:
        assert (401, None) == (found.http_status, media_type)
    assert "secret" not in found.body


def test_uk_4_an_expired_token_is_refused_with_a_body():
    found = answer(Deny(Reason.TOKEN_EXPIRED, ecosystem="uk-obie-4"))

    assert {
        "Code": "401 Unauthorized",
        "Id": UUID,
        "Message": "the access token expired",
        "Errors": [{"ErrorCode": "U006", "Message": "the access token expired", "Path": "Authorization"}],
    } == json.loads(found.body)
    assert 'Bearer error="invalid_token"' in (found.client_header("www-authenticate") or "")


@pytest.mark.parametrize(
    "reason", [Reason.NO_CREDENTIAL, Reason.TOKEN_SIGNATURE_INVALID, Reason.PROOF_INVALID, Reason.STEP_UP_REQUIRED]
)
@pytest.mark.parametrize("ecosystem", ["uk-obie-3.1.1", "uk-obie", "uk-obie-4"])
def test_uk_another_401_has_no_body(ecosystem, reason):
    assert "" == answer(Deny(reason, ecosystem=ecosystem)).body


@pytest.mark.parametrize(
    ("ecosystem", "reason", "code"),
    [
        ("uk-obie", Reason.FAPI_HEADER_MISSING, "UK.OBIE.Header.Missing"),
        ("uk-obie", Reason.FAPI_HEADER_INVALID, "UK.OBIE.Header.Invalid"),
        ("uk-obie", Reason.SIGNATURE_MISSING, "UK.OBIE.Signature.Missing"),
        ("uk-obie", Reason.SIGNATURE_INVALID, "UK.OBIE.Signature.Invalid"),
        ("uk-obie-4", Reason.FAPI_HEADER_MISSING, "U007"),
        ("uk-obie-4", Reason.FAPI_HEADER_INVALID, "U006"),
        ("uk-obie-4", Reason.SIGNATURE_MISSING, "U019"),
        ("uk-obie-4", Reason.SIGNATURE_INVALID, "U015"),
    ],
)
def test_uk_the_codes_of_3_1_have_numbers_in_4_0(ecosystem, reason, code):
    (error,) = json.loads(answer(Deny(reason, ecosystem=ecosystem)).body)["Errors"]

    assert code == error["ErrorCode"]
    assert "Path" not in error


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        (Reason.SIGNED_BODY_INVALID, 400, "BAD_SIGNATURE"),
        (Reason.SIGNED_BODY_REPLAYED, 403, "ACCESS_DENIED"),
        (Reason.PROOF_REPLAYED, 401, "INVALID_DPOP_PROOF"),
        (Reason.PROOF_NONCE_REQUIRED, 401, "USE_DPOP_NONCE"),
        (Reason.STEP_UP_REQUIRED, 401, "INSUFFICIENT_USER_AUTHENTICATION"),
        (Reason.CERTIFICATE_MISMATCH, 401, "INVALID_TOKEN"),
        (Reason.EMERGENCY_DENIED, 403, "ACCESS_DENIED"),
    ],
)
def test_sg_04_brazil_has_a_code_for_each_kind_of_refusal(reason, status, code):
    found = answer(Deny(reason, ecosystem="brazil"))

    assert status == found.http_status
    assert [code] == [error["code"] for error in json.loads(found.body)["errors"]]


@pytest.mark.parametrize("reason", [Reason.PROOF_INVALID, Reason.STEP_UP_REQUIRED, Reason.TOKEN_REVOKED])
def test_cdr_what_has_no_code_of_its_own_is_an_expected_error(reason):
    (error,) = json.loads(answer(Deny(reason, ecosystem="cdr")).body)["errors"]

    assert "urn:au-cds:error:cds-all:GeneralError/Expected" == error["code"]
    assert reason.words == error["detail"]
