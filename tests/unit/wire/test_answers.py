"""What the upstream and the client get from each kind of decision, as the second implementation reads it."""

import json
import re

import pytest
from msgspec.structs import replace

from extauthz.model.decision import Allow, Deny, Evidence, Obligations, Undecided
from extauthz.model.reasons import Reason
from extauthz.model.request import Facts
from extauthz.model.subject import Subject
from extauthz.wire import LAST_RESORT, AnswerContext, OutboundOptions, settle, write_answer
from extauthz.wire.twin import read_answer

UUID = "6f1c9d3e-1111-2222-3333-444444444444"
CONTEXT = AnswerContext("01J9-decision", UUID, "2026-01-07.1")
OPTIONS = OutboundOptions()
ADA = Subject(
    issuer="https://idp.test/realms/bank",
    id="u-17",
    client="mobile-app",
    roles=("officer", "manager"),
    scopes=("accounts", "openid"),
    actors=("portal", "gateway"),
)
EVIDENCE = Evidence(subject=ADA, tenant="acme", policy="customers", rule="officers-read")


def answer(decision, context=CONTEXT, options=OPTIONS):
    return read_answer(write_answer(decision, context, options))


def test_an_allow_tells_the_upstream_who_calls():
    found = answer(Allow(evidence=EVIDENCE))

    assert found.allowed
    assert {
        "x-auth-subject": "u-17",
        "x-auth-issuer": "https://idp.test/realms/bank",
        "x-auth-tenant": "acme",
        "x-auth-client": "mobile-app",
        "x-auth-roles": "officer,manager",
        "x-auth-scopes": "accounts openid",
        "x-auth-actor": "portal",
        "x-authz-decision-id": "01J9-decision",
        "x-fapi-interaction-id": UUID,
    } == dict(found.upstream_headers)
    assert {"x-authz-decision-id": "01J9-decision", "x-fapi-interaction-id": UUID} == dict(found.client_headers)


def test_rs_02_t27_every_header_overwrites_in_both_dialects_of_envoy():
    decision = Allow(evidence=EVIDENCE, obligations=Obligations((("x-limit", "5"),), (("x-note", "n"),)))

    assert answer(decision).overwrites
    assert answer(Deny(Reason.TOKEN_EXPIRED)).overwrites


def test_rs_02_no_header_is_ever_added_to_another_of_its_name():
    """The upstream may send the same: Envoy then has one line, not two."""
    twice = Obligations((("x-limit", "5"),), (("X-Fapi-Interaction-Id", "other"), ("x-note", "n")))
    for decision in (Allow(evidence=EVIDENCE), Allow(obligations=twice), Deny(Reason.TOKEN_EXPIRED)):
        found = answer(settle(decision, OPTIONS))
        for lines in (found.upstream_headers, found.client_headers):
            names = [name.lower() for name, _ in lines]
            assert sorted(set(names)) == sorted(names)
        assert UUID == found.client_header("x-fapi-interaction-id")


def test_t27_an_identity_header_without_a_value_is_removed():
    found = answer(Allow())

    assert set(OPTIONS.trusted_headers[:7]) <= set(found.removed_headers)
    assert {"x-authz-decision-id", "x-fapi-interaction-id"} == {name for name, _ in found.upstream_headers}


def test_t27_who_acts_is_told_or_the_header_removed_and_its_name_is_an_option():
    alone = Evidence(subject=replace(ADA, actors=()))
    assert "x-auth-actor" in answer(Allow(evidence=alone)).removed_headers
    options = OutboundOptions(actor_header="x-on-behalf-of-by")
    found = answer(Allow(evidence=EVIDENCE), options=options)
    assert ("portal", None) == (found.upstream_header("x-on-behalf-of-by"), found.upstream_header("x-auth-actor"))
    assert {"x_on_behalf_of_by", "x-on_behalf-of-by"} <= set(found.removed_headers)


def test_t27_nothing_that_is_set_is_also_removed():
    """Envoy removes after it sets."""
    found = answer(Allow(evidence=EVIDENCE, obligations=Obligations((("x-limit", "5"),))))

    assert set() == {name for name, _ in found.upstream_headers} & set(found.removed_headers)


@pytest.mark.parametrize("decision", [Allow(), Allow(evidence=EVIDENCE)], ids=["nobody", "somebody"])
def test_t28_every_underscore_twin_of_a_trusted_header_is_removed(decision):
    removed = set(answer(decision).removed_headers)

    assert {"x_auth_subject", "x-auth_subject", "x_auth-subject", "x_auth_tenant", "x_authz_decision_id"} <= removed
    assert {"x_fapi_interaction_id", "x-fapi_interaction-id"} <= removed


def test_t28_twins_of_a_header_that_an_obligation_sets_are_removed():
    found = answer(Allow(obligations=Obligations((("X-Credit-Limit", "5"),))))

    assert "5" == found.upstream_header("x-credit-limit")
    assert {"x_credit_limit", "x-credit_limit", "x_credit-limit"} <= set(found.removed_headers)


def test_t27_t28_a_removed_header_goes_in_every_spelling_but_none_that_is_set():
    obligations = Obligations(upstream_headers=(("x-a-b", "1"),), removed_headers=("X-Limit", "x_a_b", "keep_alive"))
    found = answer(Allow(evidence=EVIDENCE, obligations=obligations))

    assert {"x-limit", "x_limit", "x_a_b", "x-a_b", "keep_alive"} <= set(found.removed_headers)
    assert {"x-a-b", "keep-alive"}.isdisjoint(found.removed_headers)


def test_t28_other_spellings_of_a_header_that_decided_are_removed_but_never_it_nor_what_is_set():
    twinless = ("X-Channel-Id", "x_plan", "x-auth-tenant", "x_auth_roles", "keep_alive", "x-a", "x_a", "x-b")
    obligations = Obligations(upstream_headers=(("x_b", "1"),), removed_twins=twinless)
    removed = answer(Allow(evidence=EVIDENCE, obligations=obligations)).removed_headers
    extra = set(removed) - set(answer(Allow(evidence=EVIDENCE)).removed_headers)

    assert {"x_channel_id", "x-channel_id", "x_channel-id", "x-plan", "x-b"} == extra
    assert len(removed) == len(set(removed))


def test_t28_too_many_spellings_are_not_written():
    assert answer(Allow()) == answer(Allow(obligations=Obligations(removed_twins=("x-a-b-c-d-e-f", "a\nb-c", "dpop"))))


def test_t27_an_identity_header_stays_when_an_obligation_removes_its_name():
    options = OutboundOptions(subject_header="x-user")
    found = answer(Allow(evidence=EVIDENCE, obligations=Obligations(removed_headers=("x-user",))), options=options)

    assert "u-17" == found.upstream_header("x-user")
    assert "x-user" not in found.removed_headers


def test_t40_headers_that_are_removed_make_no_request_larger():
    names = tuple(f"x-{number}" for number in range(128))

    assert set(names) <= set(answer(Allow(obligations=Obligations(removed_headers=names))).removed_headers)


def test_t22_t29_t30_headers_that_contradict_the_decision_are_removed():
    removed = set(answer(Allow()).removed_headers)

    assert {"x-http-method-override", "x-original-url", "x-rewrite-url"} <= removed
    assert {"x-envoy-auth-failure-mode-allowed", "x-envoy-auth-partial-body", "x-envoy-original-path"} <= removed
    assert "origin" not in removed


def test_the_names_of_trusted_headers_are_configurable():
    options = OutboundOptions(subject_header="x-user", removed_headers=("x-legacy-user",))
    found = answer(Allow(evidence=EVIDENCE), options=options)

    assert "u-17" == found.upstream_header("x-user")
    assert {"x_user", "x-legacy-user"} <= set(found.removed_headers)
    assert "x-original-url" not in found.removed_headers


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        ("auth0|17", "auth0|17"),
        ("a\r\nx-admin: 1", "a%0D%0Ax-admin: 1"),
        ("nul\x00", "nul%00"),
        ("M\u00fcller", "M%C3%BCller"),
        ("50%", "50%25"),
        (" padded ", "%20padded%20"),
        ("\ud800", "%ED%A0%80"),
        ("a,b", "a,b"),
    ],
)
def test_t38_t53_an_identity_value_is_visible_ascii_whatever_the_token_says(sent, written):
    evidence = Evidence(subject=Subject("https://idp.test", sent))

    assert written == answer(Allow(evidence=evidence)).upstream_header("x-auth-subject")


def test_a_role_or_scope_cannot_pretend_to_be_two():
    subject = Subject("https://idp.test", "u", roles=("a,admin", "b c"), scopes=("x y", "z"))
    found = answer(Allow(evidence=Evidence(subject=subject)))

    assert "a%2Cadmin,b c" == found.upstream_header("x-auth-roles")
    assert "x%20y z" == found.upstream_header("x-auth-scopes")


def test_obligations_reach_upstream_client_query_and_metadata():
    obligations = Obligations(
        upstream_headers=(("x-limit", "5000"), ("x-name", "Zo\u00eb")),
        client_headers=(("x-policy-note", "read only"),),
        removed_headers=("authorization", "X-Debug"),
        set_query=(("owner", "9 9&z=\u00e9"),),
        removed_query=("debug flag",),
        metadata=(("tier", "gold"),),
    )
    found = answer(Allow(evidence=EVIDENCE, obligations=obligations))

    assert "5000" == found.upstream_header("x-limit")
    assert "Zo\u00eb" == found.upstream_header("x-name")
    assert "read only" == found.client_header("x-policy-note")
    assert {"authorization", "x-debug"} <= set(found.removed_headers)
    assert (("owner", "9%209%26z%3D%C3%A9"),) == found.set_query
    assert ("debug%20flag",) == found.removed_query
    assert "gold" == found.metadata["tier"]


@pytest.mark.parametrize(
    "decision",
    [
        Allow(evidence=EVIDENCE),
        Deny(Reason.POLICY_DENIED, evidence=EVIDENCE),
        Undecided(Reason.KEYS_UNAVAILABLE, evidence=EVIDENCE),
    ],
)
def test_metadata_tells_the_decision_on_every_answer(decision):
    assert {
        "decision_id": "01J9-decision",
        "outcome": decision.reason.outcome,
        "reason": decision.reason.code,
        "policy": "customers",
        "rule": "officers-read",
        "revision": "2026-01-07.1",
        "tenant": "acme",
    } == answer(decision).metadata


def test_t53_metadata_survives_text_that_no_encoder_takes():
    assert "a\ufffdb" == answer(Deny(Reason.POLICY_DENIED, evidence=Evidence(tenant="a\ud800b"))).metadata["tenant"]


DENY_REASONS = [reason for reason in Reason if reason.outcome == "deny"]


@pytest.mark.parametrize("reason", DENY_REASONS, ids=lambda reason: reason.code)
def test_t59_every_denial_has_its_status_and_problem_details_and_gives_nothing_away(reason):
    secret = Evidence(
        Subject("https://idp.secret", "secret-u", claims=b'{"secret":1}'), policy="secret-p", rule="secret-r"
    )
    deny = Deny(reason, "JWT-09", "secret detail", secret, scopes=("accounts",), header="x-fapi-auth-date")
    raw = write_answer(deny, CONTEXT, OPTIONS)
    found = read_answer(raw)

    assert not found.allowed
    assert 0 != found.status
    assert reason.status == found.http_status
    problem = json.loads(found.body)
    assert reason.status == problem["status"]
    assert f"urn:uuid:{UUID}" == problem["instance"]
    assert "01J9-decision" == problem["decision_id"]
    assert {"type", "title", "status", "detail", "code", "instance", "decision_id"} == set(problem)
    assert "application/problem+json" == found.client_header("content-type")
    assert "no-store" == found.client_header("cache-control")
    assert UUID == found.client_header("x-fapi-interaction-id")
    assert "secret" not in found.body + str(found.client_headers)
    assert len(found.body) < 400


def test_t70_a_stranger_cannot_tell_an_unknown_tenant_from_a_denial():
    bodies = {
        answer(Deny(reason)).body
        for reason in (Reason.TENANT_UNKNOWN, Reason.TENANT_MISMATCH, Reason.POLICY_DENIED, Reason.NO_POLICY_MATCHED)
    }

    assert 1 == len(bodies)


CHALLENGES = [
    (Deny(Reason.NO_CREDENTIAL), 401, "Bearer"),
    (
        Deny(Reason.TOKEN_EXPIRED),
        401,
        'Bearer error="invalid_token", error_description="the access token expired"',
    ),
    (
        Deny(Reason.CREDENTIAL_IN_QUERY),
        400,
        'Bearer error="invalid_request", error_description="an access token must not be sent in the query"',
    ),
    (
        Deny(Reason.SCOPE_INSUFFICIENT, scopes=("accounts", "payments:write")),
        403,
        (
            'Bearer error="insufficient_scope", error_description="the access token lacks a scope", '
            'scope="accounts payments:write"'
        ),
    ),
    (
        Deny(Reason.SCOPE_INSUFFICIENT, scopes=('a"b', "c\r\nd", "")),
        403,
        'Bearer error="insufficient_scope", error_description="the access token lacks a scope"',
    ),
    (Deny(Reason.POLICY_DENIED), 403, None),
    (Deny(Reason.PATH_AMBIGUOUS), 400, None),
    (Deny(Reason.FAPI_HEADER_MISSING), 400, None),
    (Undecided(Reason.KEYS_UNAVAILABLE), 503, None),
]


@pytest.mark.parametrize(("decision", "status", "challenge"), CHALLENGES)
def test_ex01_the_challenge_fits_the_reason(decision, status, challenge):
    found = answer(decision)

    assert (status, challenge) == (found.http_status, found.client_header("www-authenticate"))
    exposed = found.client_header("access-control-expose-headers")
    assert (challenge is not None) == (exposed is not None and "www-authenticate" in exposed)


def test_the_realm_comes_first_and_is_quoted():
    found = answer(Deny(Reason.NO_CREDENTIAL), options=OutboundOptions(realm="bank api"))

    assert 'Bearer realm="bank api"' == found.client_header("www-authenticate")


@pytest.mark.parametrize("reason", list(Reason), ids=lambda reason: reason.code)
def test_words_for_clients_fit_into_an_error_description(reason):
    """RFC 6750 section 3: no quote, no backslash, visible ASCII."""
    assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+", reason.words)


def test_undecided_asks_to_retry_and_stays_closed():
    found = answer(Undecided(Reason.OVERLOADED, retry_after=2))

    assert (False, False, 503) == (found.allowed, found.is_error, found.http_status)
    assert "2" == found.client_header("retry-after")
    assert "no-store" == found.client_header("cache-control")


def test_undecided_is_an_error_where_the_configuration_says_so():
    options = OutboundOptions(undecided="error")
    found = answer(Undecided(Reason.OVERLOADED), options=options)

    assert (True, 503, False) == (found.is_error, found.http_status, found.allowed)
    assert not answer(Deny(Reason.POLICY_DENIED), options=options).is_error


@pytest.mark.parametrize(("seconds", "sent"), [(0, "1"), (-5, "1"), (10**9, "3600")])
def test_retry_after_is_a_sane_number_of_seconds(seconds, sent):
    assert sent == answer(Undecided(Reason.OVERLOADED, retry_after=seconds)).client_header("retry-after")


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        (Deny(Reason.TOKEN_EXPIRED), "the access token expired"),
        (Deny(Reason.FAPI_HEADER_MISSING, ecosystem="cdr"), "a required header is missing"),
        (Undecided(Reason.OVERLOADED), "authorization is overloaded"),
    ],
)
def test_t24_a_grpc_client_gets_its_message_as_text_and_no_content_type_of_ours(decision, words):
    """Envoy turns the body into grpc-message; a content-type would replace application/grpc."""
    found = answer(decision, AnswerContext("d", UUID, facts=Facts(is_grpc=True)))

    assert words == found.body
    assert found.client_header("content-type") is None
    assert UUID == found.client_header("x-fapi-interaction-id")


@pytest.mark.parametrize(
    ("decision", "status"),
    [
        (Deny(Reason.CREDENTIAL_MALFORMED), "3"),
        (Deny(Reason.PATH_AMBIGUOUS), "3"),
        (Deny(next(reason for reason in Reason if reason.status == 406)), "3"),
        (Deny(Reason.FAPI_HEADER_MISSING, ecosystem="cdr"), "3"),
        (Deny(Reason.TOKEN_EXPIRED), None),
        (Deny(Reason.POLICY_DENIED), None),
        (Undecided(Reason.OVERLOADED), None),
    ],
)
def test_t24_a_grpc_client_that_sent_something_wrong_is_not_told_of_an_internal_error(decision, status):
    """Envoy makes 13 (INTERNAL) of a 400, unless the answer carries a grpc-status; 401, 403 and 503 it maps well."""
    found = answer(decision, AnswerContext("d", UUID, facts=Facts(is_grpc=True)))
    assert status == found.client_header("grpc-status")
    assert answer(decision, AnswerContext("d", UUID)).client_header("grpc-status") is None


def test_uk_a_missing_header_is_told_in_the_standard_error_structure():
    found = answer(Deny(Reason.FAPI_HEADER_MISSING, header="x-fapi-financial-id", ecosystem="uk-obie-3.1.1"))

    assert {
        "Code": "400 BadRequest",
        "Id": UUID,
        "Message": "a required header is missing",
        "Errors": [
            {
                "ErrorCode": "UK.OBIE.Header.Missing",
                "Message": "a required header is missing",
                "Path": "x-fapi-financial-id",
            },
        ],
    } == json.loads(found.body)


def test_uk_a_token_error_has_no_body():
    found = answer(Deny(Reason.TOKEN_EXPIRED, ecosystem="uk-obie"))

    assert ("", None, 401) == (found.body, found.client_header("content-type"), found.http_status)


@pytest.mark.parametrize(
    ("deny", "status", "code", "title", "detail"),
    [
        (Deny(Reason.FAPI_HEADER_MISSING, header="x-v"), 400, "Header/Missing", "Missing Required Header", "x-v"),
        (Deny(Reason.FAPI_HEADER_INVALID, header="x-v"), 400, "Header/InvalidVersion", "Invalid Version", "x-v"),
        (
            Deny(Reason.FAPI_HEADER_INVALID, header="x-fapi-auth-date"),
            400,
            "Header/Invalid",
            "Invalid Header",
            "x-fapi-auth-date",
        ),
        (
            Deny(Reason.FAPI_VERSION_UNSUPPORTED, header="x-v"),
            406,
            "Header/UnsupportedVersion",
            "Unsupported Version",
            "x-v",
        ),
    ],
)
def test_cdr_header_errors_have_their_codes(deny, status, code, title, detail):
    found = answer(Deny(deny.reason, header=deny.header, ecosystem="cdr"))

    assert status == found.http_status
    expected = {"errors": [{"code": f"urn:au-cds:error:cds-all:{code}", "title": title, "detail": detail}]}
    assert expected == json.loads(found.body)


def test_brazil_errors_are_a_list():
    found = answer(Deny(Reason.FAPI_HEADER_INVALID, header="x-fapi-interaction-id", ecosystem="brazil"))

    (error,) = json.loads(found.body)["errors"]
    assert {"code", "title", "detail"} == set(error)
    assert "x-fapi-interaction-id" == error["detail"]


@pytest.mark.parametrize("header", ["x\r\ny", "<script>", "x" * 65])
def test_a_header_name_that_is_none_is_not_echoed(header):
    found = answer(Deny(Reason.FAPI_HEADER_INVALID, header=header, ecosystem="cdr"))

    assert "a header is not valid" == json.loads(found.body)["errors"][0]["detail"]


@pytest.mark.parametrize("bad", ["a\r\nb", "\u00e9", "x" * 65, "a b", ""])
def test_t38_ids_that_are_none_stay_out_of_the_answer(bad):
    found = answer(Deny(Reason.POLICY_DENIED), AnswerContext(bad, bad))

    assert found.client_header("x-authz-decision-id") is None
    assert found.client_header("x-fapi-interaction-id") is None
    assert "instance" not in json.loads(found.body)


def test_the_last_resort_is_a_closed_answer_with_a_status():
    found = read_answer(LAST_RESORT)

    assert (False, False, 503) == (found.allowed, found.is_error, found.http_status)
    assert 0 != found.status
    assert "internal_error" == found.metadata["reason"]
