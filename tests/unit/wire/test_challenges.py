"""What a refused client is told to do, as the second implementation reads it."""

import re

import pytest

from extauthz.model.decision import Deny, Undecided
from extauthz.model.reasons import Reason
from extauthz.wire import AnswerContext, OutboundOptions, write_answer
from extauthz.wire.settle import settle
from extauthz.wire.twin import read_answer

UUID = "6f1c9d3e-1111-2222-3333-444444444444"
ALGORITHMS = (("algs", "ES256 PS256"),)


def answer(decision, options=OutboundOptions()):  # noqa: B008 - frozen
    return read_answer(write_answer(decision, AnswerContext("01J9-decision", UUID), options))


def lines(found):
    return [value for name, value in found.client_headers if name == "www-authenticate"]


CASES = {
    "bearer token without a proof": (
        Deny(Reason.NO_CREDENTIAL, scheme="DPoP", parameters=ALGORITHMS),
        ['DPoP algs="ES256 PS256"'],
    ),
    "both schemes are accepted": (
        Deny(Reason.NO_CREDENTIAL, offers=("DPoP",), parameters=ALGORITHMS),
        ["Bearer", 'DPoP algs="ES256 PS256"'],
    ),
    "dp-01 a bound token sent as Bearer": (
        Deny(Reason.PROOF_KEY_MISMATCH, scheme="Bearer", offers=("DPoP",), parameters=ALGORITHMS),
        [
            'Bearer error="invalid_token", error_description="the access token is bound to another key"',
            'DPoP algs="ES256 PS256"',
        ],
    ),
    "a bad token sent as DPoP": (
        Deny(Reason.TOKEN_EXPIRED, scheme="DPoP", offers=("Bearer", "dpop"), parameters=ALGORITHMS),
        [
            'DPoP error="invalid_token", error_description="the access token expired", algs="ES256 PS256"',
            "Bearer",
        ],
    ),
    "dp-03 no proof": (
        Deny(Reason.PROOF_MISSING, scheme="DPoP", parameters=ALGORITHMS),
        ['DPoP error="invalid_dpop_proof", error_description="a DPoP proof is required", algs="ES256 PS256"'],
    ),
    "dp-07 a proof's fault is told in its own scheme": (
        Deny(Reason.PROOF_INVALID, parameters=ALGORITHMS),
        ['DPoP error="invalid_dpop_proof", error_description="the DPoP proof is not acceptable", algs="ES256 PS256"'],
    ),
    "dp-19 a nonce is required": (
        Deny(Reason.PROOF_NONCE_REQUIRED, scheme="DPoP", client_headers=(("DPoP-Nonce", "eyJ7S_zG"),)),
        ['DPoP error="use_dpop_nonce", error_description="a nonce is required in the DPoP proof"'],
    ),
    "st-01 a stronger authentication": (
        Deny(Reason.STEP_UP_REQUIRED, parameters=(("acr_values", "urn:loa3 urn:loa2"), ("max_age", "300"))),
        [
            (
                'Bearer error="insufficient_user_authentication", '
                'error_description="a stronger or more recent authentication is required", '
                'acr_values="urn:loa3 urn:loa2", max_age="300"'
            )
        ],
    ),
    "st-03 a context of Entra ID": (
        Deny(
            Reason.AUTHENTICATION_CONTEXT_REQUIRED,
            parameters=(("authorization_uri", "https://login.test/common"), ("claims", "eyJhIjoxfQ==")),
        ),
        [
            (
                'Bearer error="insufficient_claims", error_description="a stronger authentication is required", '
                'authorization_uri="https://login.test/common", claims="eyJhIjoxfQ=="'
            )
        ],
    ),
    "st-03 step-up under DPoP, with the scope that is needed too": (
        Deny(Reason.STEP_UP_REQUIRED, scheme="DPoP", parameters=(("max_age", "0"),), scopes=("payments",)),
        [
            (
                'DPoP error="insufficient_user_authentication", '
                'error_description="a stronger or more recent authentication is required", max_age="0", scope="payments"'
            )
        ],
    ),
    "ex-04 a request whose scheme is ambiguous": (
        Deny(Reason.CREDENTIAL_REPEATED, offers=("DPoP",)),
        ['Bearer error="invalid_request", error_description="more than one credential was sent"', "DPoP"],
    ),
    "a refusal by policy": (Deny(Reason.POLICY_DENIED, scheme="DPoP", offers=("Bearer",)), []),
    "a service without its certificate": (Deny(Reason.SERVICE_IDENTITY_MISSING), []),
    "an outage": (Undecided(Reason.REPLAY_STORE_UNAVAILABLE), []),
}


@pytest.mark.parametrize("case", CASES)
def test_rfc9449_rfc9470_one_challenge_a_line_in_the_scheme_of_the_client(case):
    decision, expected = CASES[case]
    found = answer(decision)

    assert expected == lines(found)
    assert found.http_status == decision.reason.status
    exposed = (found.client_header("access-control-expose-headers") or "").split(", ")
    assert bool(expected) == {"www-authenticate", "dpop-nonce"}.issubset(exposed)


def test_dp_19_a_nonce_comes_once_and_is_never_stored():
    nonces = (("DPoP-Nonce", "older"), ("dpop-nonce", "eyJ7S_zG"))
    found = answer(Deny(Reason.PROOF_NONCE_REQUIRED, client_headers=nonces))

    assert [("dpop-nonce", "eyJ7S_zG")] == [pair for pair in found.client_headers if pair[0] == "dpop-nonce"]
    assert "no-store" == found.client_header("cache-control")
    assert 401 == found.http_status


@pytest.mark.parametrize("reason", [Reason.PROOF_INVALID, Reason.STEP_UP_REQUIRED, Reason.TOKEN_REVOKED])
@pytest.mark.parametrize("realm", ["", "bank api"])
def test_t38_whatever_the_parameters_hold_a_challenge_is_one_line_of_quoted_words(reason, realm):
    hostile = (
        ("acr_values", 'a" injected="1'),
        ("max_age", "1\r\nset-cookie: a=b"),
        ("algs", "ES256\\"),
        ("b ad", "x"),
        ("", "x"),
        ("empty", ""),
    )
    decision = Deny(reason, scheme="Be arer\n", offers=("DP op", "", "Bearer"), parameters=hostile, scopes=('"', "\n"))

    for line in lines(answer(decision, OutboundOptions(realm=realm))):
        assert re.fullmatch(r'(DPoP|Bearer)( [a-z_]+="[^"\\\x00-\x1f\x7f-\uffff]*"(,(?= )|$))*', line), line
        assert "injected" not in line
        assert "cookie" not in line


@pytest.mark.parametrize(
    "header",
    [
        ("dpop-nonce", "a\r\nx: y"),
        ("dpop-nonce", "x" * 20_000),
        ("content-length", "1"),
        ("www-authenticate", "Basic"),
        ("X-Fapi-Interaction-Id", "mine"),
        ("a b", "c"),
    ],
)
def test_t38_a_refusal_with_an_unsafe_header_is_undecided(header):
    decision = Deny(Reason.PROOF_NONCE_REQUIRED, client_headers=(header,))

    assert Reason.INTERNAL_ERROR is settle(decision, OutboundOptions()).reason
    assert (False, 503) == (answer(decision).allowed, answer(decision).http_status)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.PROOF_REPLAYED, "invalid_dpop_proof"),
        (Reason.PROOF_NONCE_REQUIRED, "use_dpop_nonce"),
        (Reason.STEP_UP_REQUIRED, "insufficient_user_authentication"),
        (Reason.AUTHENTICATION_CONTEXT_REQUIRED, "insufficient_claims"),
        (Reason.TOKEN_REVOKED, "invalid_token"),
        (Reason.SIGNATURE_MISSING, "invalid_signature"),
        (Reason.SIGNED_BODY_INVALID, "invalid_request"),
        (Reason.SERVICE_IDENTITY_REFUSED, "access_denied"),
        (Reason.EMERGENCY_DENIED, "access_denied"),
    ],
)
def test_the_problem_repeats_the_code_of_the_challenge(reason, code):
    assert f'"code":"{code}"' in answer(Deny(reason)).body
