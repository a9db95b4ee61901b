"""What an answer says about an emergency: to Envoy and the upstream, and nothing to the client."""

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from msgspec.structs import replace

from extauthz.model.decision import Allow, Deny, Evidence, Obligations
from extauthz.model.reasons import Reason
from extauthz.model.subject import Subject
from extauthz.wire import AnswerContext, AnswerWriter, OutboundOptions, settle
from extauthz.wire.twin import Answer, read_answer

CONTEXT = AnswerContext(decision_id="d1" * 16, interaction_id="93bac548-d2de-4546-b106-880a5018460d", revision="r-1")
GLASS = Evidence(
    subject=Subject("https://idp.test", "u-1"), tenant="acme", emergency="g-1", emergency_kind="break_glass"
)
HEADER = OutboundOptions(emergency_header="x-authz-emergency")


def answer(decision: Allow | Deny, options: OutboundOptions, writer: AnswerWriter | None = None) -> Answer:
    raw = (writer or AnswerWriter(options)).conclude(decision, CONTEXT)[1]
    assert raw == CheckResponse.FromString(raw).SerializeToString(deterministic=True)
    return read_answer(raw)


def allowed(name: str = "g-1") -> Allow:
    return Allow(Reason.BREAK_GLASS_ALLOWED, replace(GLASS, emergency=name))


@pytest.mark.parametrize("options", [OutboundOptions(), HEADER])
def test_answers_of_one_kind_name_each_its_own_emergency(options: OutboundOptions) -> None:
    """Answers are put together from kept pieces; who may come in by which emergency is not one of them."""
    writer = AnswerWriter(options)
    plain = Allow(evidence=replace(GLASS, emergency="", emergency_kind=""))
    for name in ("g-1", "g-2", "", "g-1", "", "g-3"):
        found = answer(allowed(name) if name else plain, options, writer)
        assert (name or None) == found.metadata.get("emergency")
        if options is HEADER:
            assert ([name] if name else []) == [
                value for key, value in found.upstream_headers if key == "x-authz-emergency"
            ]


def test_upstreams_learn_of_it_only_where_a_header_is_named_for_it() -> None:
    assert "g-1" not in str(answer(allowed(), OutboundOptions()).upstream_headers)
    assert ("x-authz-emergency", "g-1") in answer(allowed(), HEADER).upstream_headers


@pytest.mark.parametrize("spelling", ["x_authz_emergency", "x-authz_emergency", "x_authz-emergency"])
def test_t_27_t_28_what_clients_send_under_its_name_does_not_pass(spelling: str) -> None:
    for decision in (allowed(), Allow(evidence=replace(GLASS, emergency=""))):
        assert spelling in answer(decision, HEADER).removed_headers
    assert "x-authz-emergency" in answer(Allow(evidence=replace(GLASS, emergency="")), HEADER).removed_headers


def test_no_obligation_sets_it() -> None:
    obliged = Allow(obligations=Obligations(upstream_headers=(("x-authz-emergency", "mine"),)))
    assert Reason.INTERNAL_ERROR is settle(obliged, HEADER).reason
    marked = Allow(obligations=Obligations(metadata=(("emergency", "mine"),)))
    assert Reason.INTERNAL_ERROR is settle(marked, OutboundOptions()).reason


def test_a_freeze_is_named_to_envoy_and_not_to_the_client() -> None:
    evidence = Evidence(emergency="f-1", emergency_kind="freeze")
    found = answer(Deny(Reason.EMERGENCY_DENIED, detail="denied by `everything`", evidence=evidence), HEADER)
    assert (403, "f-1", "emergency_denied") == (
        found.http_status,
        found.metadata["emergency"],
        found.metadata["reason"],
    )
    assert "f-1" not in found.body + str(found.client_headers)


@pytest.mark.parametrize("name", ["x-auth-subject", "content-length", "X-Emergency", "a-b-c-d-e-f-g"])
def test_a_name_that_cannot_be_trusted_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="trusted header"):
        OutboundOptions(emergency_header=name)
