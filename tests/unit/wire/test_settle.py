"""An allow that cannot be written safely is Undecided, and the record can know it beforehand (T-38, T-40)."""

import msgspec
import pytest

from extauthz.model.decision import Allow, Deny, Evidence, Obligations, Undecided
from extauthz.model.reasons import Reason
from extauthz.model.subject import Subject
from extauthz.wire import AnswerContext, InboundOptions, OutboundOptions, settle, write_answer
from extauthz.wire.twin import read_answer

OPTIONS = OutboundOptions()
CONTEXT = AnswerContext("d", "i")

UNSAFE_NAMES = [
    *["", "a b", "a:b", "a\r\n", "na\u00efve", ":path", ":status", "host", "Host", "connection", "content-length"],
    *["Transfer-Encoding", "te", "trailer", "upgrade", "keep-alive", "proxy-connection", "http2-settings", "x" * 129],
]
OURS = [
    *["x-auth-subject", "X-Auth-Roles", "x_auth_subject", "x-auth_tenant", "x-authz-decision-id"],
    *["x-fapi-interaction-id", "x-envoy-auth-failure-mode-allowed", "x-original-url"],
]
UNSAFE = [
    *[Obligations(upstream_headers=((name, "v"),)) for name in UNSAFE_NAMES + OURS],
    *[Obligations(client_headers=((name, "v"),)) for name in UNSAFE_NAMES + OURS[:6]],
    *[Obligations(removed_headers=(name,)) for name in (*UNSAFE_NAMES, "origin", "Origin")],
    *[
        Obligations(upstream_headers=(("x-a", value),))
        for value in ("a\r\nb", "a\nb", "\x00", "\x7f", "\t", "\x85", "\u2028", "\ud800")
    ],
    *[Obligations(client_headers=(("x-a", value),)) for value in ("a\r\nset-cookie: x", "\x00", "\udfff")],
    *[
        Obligations(set_query=((name, value),))
        for name, value in (("", "v"), ("a", "\r"), ("\x00", "v"), ("a", "\ud800"))
    ],
    *[Obligations(removed_query=(name,)) for name in ("", "\n", "\ud800")],
    *[Obligations(metadata=((name, "v"),)) for name in ("reason", "decision_id", "tenant", "a\nb", "\ud800")],
    Obligations(metadata=(("a", "1"), ("a", "2"))),
    Obligations(upstream_headers=(("x-a-b-c-d-e-f", "v"),)),
    Obligations(upstream_headers=tuple((f"x-{number}", "v") for number in range(33))),
    Obligations(upstream_headers=(("x-a", "v" * 16_385),)),
    Obligations(upstream_headers=(("x-a", "\u00e9" * 8_193),)),
    Obligations(metadata=(("a", "v" * 16_385),)),
]


@pytest.mark.parametrize("obligations", UNSAFE, ids=lambda obligations: str(obligations)[:80])
def test_t38_t40_an_unsafe_obligation_makes_the_decision_undecided(obligations):
    evidence = Evidence(policy="p")
    settled = settle(Allow(evidence=evidence, obligations=obligations), OPTIONS)

    assert isinstance(settled, Undecided)
    assert (Reason.INTERNAL_ERROR, evidence) == (settled.reason, settled.evidence)
    assert settled.check in {"T-28", "T-38", "T-40"}
    assert 503 == read_answer(write_answer(Allow(obligations=obligations), CONTEXT, OPTIONS)).http_status


def test_t40_identity_that_would_overflow_the_request_is_undecided():
    roles = tuple(f"role-{number:04}" for number in range(2_000))
    settled = settle(Allow(evidence=Evidence(subject=Subject("https://idp.test", "u", roles=roles))), OPTIONS)

    assert (Reason.INTERNAL_ERROR, "T-40") == (settled.reason, settled.check)


def test_t40_percent_encoding_counts():
    fits = Allow(evidence=Evidence(subject=Subject("https://idp.test", "u" * 10_000)))
    grows = Allow(evidence=Evidence(subject=Subject("https://idp.test", "\u00fc" * 5_000)))

    assert fits is settle(fits, OPTIONS)
    assert Reason.INTERNAL_ERROR is settle(grows, OPTIONS).reason


def test_a_safe_decision_is_itself():
    obligations = Obligations((("X-Limit", "5"),), (("set-cookie", "a=b"),), ("authorization",), (("a", "\u00e9"),))
    for decision in (Allow(), Allow(obligations=obligations), Deny(Reason.POLICY_DENIED), Undecided(Reason.OVERLOADED)):
        assert decision is settle(decision, OPTIONS)


@pytest.mark.parametrize(
    "contradiction",
    [
        Allow(Reason.POLICY_DENIED),
        Allow(Reason.OVERLOADED),
        Deny(Reason.POLICY_ALLOWED),
        Undecided(Reason.POLICY_ALLOWED),
    ],
)
def test_t59_a_decision_that_contradicts_its_reason_never_passes(contradiction):
    found = read_answer(write_answer(contradiction, CONTEXT, OPTIONS))

    assert (False, 503) == (found.allowed, found.http_status)


BAD_OPTIONS = [
    {"subjectHeader": "host"},
    {"subjectHeader": ""},
    {"subjectHeader": "X-Auth-Subject"},
    {"subjectHeader": "x auth"},
    {"subjectHeader": "x-auth-tenant"},
    {"rolesHeader": "x-fapi-interaction-id"},
    {"rolesHeader": "x-a-b-c-d-e-f"},
    {"removedHeaders": ["origin"]},
    {"removedHeaders": [":path"]},
    {"removedHeaders": ["x-auth-subject"]},
    {"realm": 'a"b'},
    {"realm": "a\r\nb"},
    {"undecided": "allow"},
    {"subject_header": "x-user"},
]


@pytest.mark.parametrize("options", BAD_OPTIONS, ids=str)
def test_options_that_would_write_unsafe_answers_do_not_load(options):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, OutboundOptions)


@pytest.mark.parametrize(
    "options", [{"xffTrustedHops": -1}, {"xfccTrustedHops": 17}, {"singleHeaders": ["X-Tenant"]}], ids=str
)
def test_t74_options_with_names_that_never_match_do_not_load(options):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, InboundOptions)
