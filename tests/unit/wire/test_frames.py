"""Answers put together from kept pieces are the ones that would be written anew, byte for byte."""

import gc

from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from extauthz.model.decision import Allow, Evidence, Obligations
from extauthz.model.reasons import Reason
from extauthz.model.subject import Subject
from extauthz.wire import AnswerContext, AnswerWriter, OutboundOptions
from extauthz.wire.frames import _MAX_BYTES, _MAX_FRAMES
from tests.unit.wire.test_two_implementations import evidence, names, obligations, safe

DECISION_IDS = ("d1" * 16, "0af7651916cd43dd8448eb211c80319c")
INTERACTION_IDS = ("93bac548-d2de-4546-b106-880a5018460d", "6F1C9D3E-1111-2222-3333-444444444444")
BANK = Evidence(
    subject=Subject("https://idp.test", "u-1", client="app", roles=("officer",), scopes=("accounts",)),
    tenant="acme",
    policy="customers",
    rule="read",
)

subject_ids = st.one_of(st.just(""), st.text("au0-|@%. \u00e9", min_size=1, max_size=3))
allows = st.builds(
    Allow,
    evidence=evidence(safe),
    obligations=st.one_of(st.just(Obligations()), obligations(names, safe)),
)


def contexts():
    return st.builds(
        AnswerContext,
        decision_id=st.sampled_from(DECISION_IDS),
        interaction_id=st.sampled_from(INTERACTION_IDS),
        revision=st.sampled_from(["r-1", "r-2"]),
    )


REASONS = [reason for reason in Reason if reason.outcome == "allow"]


@given(allows, st.lists(st.tuples(st.sampled_from(REASONS), subject_ids, contexts()), min_size=2, max_size=8))
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_spliced_is_what_would_be_written_anew(allow, askers):
    options = OutboundOptions()
    writer = AnswerWriter(options)
    for reason, subject_id, context in askers:
        subject = replace(allow.evidence.subject, id=subject_id)
        decision = replace(allow, reason=reason, evidence=replace(allow.evidence, subject=subject))
        settled, answer = writer.conclude(decision, context)
        assert (settled, answer) == AnswerWriter(options).conclude(decision, context)
        assert answer == CheckResponse.FromString(answer).SerializeToString(deterministic=True)


def test_two_callers_of_a_kind_get_each_their_own_name_and_ids():
    writer = AnswerWriter(OutboundOptions())
    for subject_id, decision_id, interaction_id in zip(("u-1", "u-2"), DECISION_IDS, INTERACTION_IDS, strict=True):
        caller = replace(BANK, subject=replace(BANK.subject, id=subject_id))
        _, answer = writer.conclude(Allow(evidence=caller), AnswerContext(decision_id, interaction_id, "r"))
        found = CheckResponse.FromString(answer)
        upstream = {option.header.key: option.header.value for option in found.ok_response.headers}
        client = {option.header.key: option.header.value for option in found.ok_response.response_headers_to_add}
        ids = {"x-authz-decision-id": decision_id, "x-fapi-interaction-id": interaction_id}
        assert ids == client
        assert {"x-auth-subject": subject_id, **ids} == {name: upstream[name] for name in ("x-auth-subject", *ids)}
        assert decision_id == found.dynamic_metadata.fields["decision_id"].string_value
    assert 1 == len(writer._frames._kept)


def test_t38_a_name_that_must_be_escaped_is_never_put_into_a_frame():
    writer = AnswerWriter(OutboundOptions())
    context = AnswerContext(DECISION_IDS[0], INTERACTION_IDS[0])
    for subject_id in ("u-1", "a%b", "a b", "a\nb", "a\u00e9", "\ud800--"):
        caller = replace(BANK, subject=replace(BANK.subject, id=subject_id))
        _, answer = writer.conclude(Allow(evidence=caller), context)
        headers = CheckResponse.FromString(answer).ok_response.headers
        value = next(option.header.value for option in headers if option.header.key == "x-auth-subject")
        assert value.isascii()
        assert value.isprintable()
        assert (value == subject_id) == (subject_id in {"u-1", "a b"})


def test_frames_are_bounded_in_number_and_bytes_and_invisible_to_the_collector():
    """Whoever brings ever other roles, or many of them, fills no memory and causes no pause."""
    context = AnswerContext(DECISION_IDS[0], INTERACTION_IDS[0])
    for count, long in ((_MAX_FRAMES + 100, 1), (1500, 1000)):
        writer = AnswerWriter(OutboundOptions())
        for number in range(count):
            roles = tuple(f"role-{number}-{at}" for at in range(long))
            caller = replace(BANK, subject=replace(BANK.subject, roles=roles))
            assert isinstance(writer.conclude(Allow(evidence=caller), context)[0], Allow)
        frames = writer._frames._kept
        kept = [piece for frame in (*frames.young.values(), *frames._old.values()) for piece in frame.pieces]
        assert 0 < len(frames) <= _MAX_FRAMES
        assert sum(map(len, kept)) <= _MAX_BYTES
        gc.collect()
        assert not any(gc.is_tracked(item) for pair in frames.young.items() for item in pair)
        assert not gc.is_tracked(frames.young)
