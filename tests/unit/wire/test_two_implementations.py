"""upb, betterproto and our own writer agree on every byte that is sent or received.

"Agree" means: each implementation parses the other's bytes, and what it parsed serialises to the same canonical bytes.
Canonical is upb's deterministic form: fields in order of their numbers, map entries in order of their keys. betterproto
writes the same bytes in the order in which the schema declares the fields, so its bytes are put in order by upb before
they are compared. Our own writer's bytes are canonical as they are, but for one quirk of upb: it puts a key behind a
longer one that begins with it.
"""

import warnings

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extauthz.model.decision import Allow, Deny, Evidence, Obligations, Undecided
from extauthz.model.reasons import Reason
from extauthz.model.request import Facts
from extauthz.model.subject import Subject
from extauthz.wire import LAST_RESORT, AnswerContext, OutboundOptions, settle, write_answer
from extauthz.wire.twin import Check, Peer, _messages, build_check, build_connection, read_answer

v3, _, _ = _messages()
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
anything = st.text(st.characters(), max_size=12)  # surrogates too
safe = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), max_size=200)
names = st.text("abcdefghij-x_0", min_size=1, max_size=12).map(lambda name: "o" + name)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False), text),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3)),
    max_leaves=8,
)
metadata = st.dictionaries(text, st.dictionaries(text, json_values, max_size=3), max_size=3)
peers = st.builds(Peer, address=text, port=st.integers(0, 65535), principal=text, certificate=text, service=text)
checks = st.builds(
    Check,
    method=text,
    path=st.one_of(text, st.binary(max_size=12)),
    host=text,
    scheme=text,
    protocol=text,
    request_id=text,
    headers=st.lists(st.tuples(text, st.one_of(text, st.binary(max_size=12))), max_size=6).map(tuple),
    raw_headers=st.booleans(),
    body=st.binary(max_size=20),
    pack_as_bytes=st.booleans(),
    source=peers,
    destination=peers,
    extensions=st.dictionaries(text, text, max_size=3),
    metadata=metadata,
    route_metadata=metadata,
    sni=text,
)


def pairs(name, value, size=4):
    return st.lists(st.tuples(name, value), max_size=size).map(tuple)


def obligations(name, value):
    marks = st.sampled_from(["tier", "limit", "o-team"]) if name is names else name  # none begins with another
    return st.builds(
        Obligations,
        upstream_headers=pairs(name, value),
        client_headers=pairs(name, value),
        removed_headers=st.lists(name, max_size=3).map(tuple),
        set_query=pairs(name, value),
        removed_query=st.lists(name, max_size=3).map(tuple),
        metadata=pairs(marks, value),
        removed_twins=st.lists(name, max_size=3).map(tuple),
    )


def evidence(value):
    lists = st.lists(value, max_size=3).map(tuple)
    subject = st.builds(Subject, issuer=value, id=value, client=value, roles=lists, scopes=lists)
    return st.builds(Evidence, subject=subject, tenant=value, policy=value, rule=value)


def decisions(name, value):
    ecosystem = st.sampled_from(["", "uk-obie", "uk-obie-3.1.1", "cdr", "brazil", "uae", "custom"])
    return st.one_of(
        st.builds(Allow, evidence=evidence(value), obligations=obligations(name, value)),
        st.builds(
            Deny,
            reason=st.sampled_from([reason for reason in Reason if reason.outcome == "deny"]),
            check=value,
            detail=value,
            evidence=evidence(value),
            scopes=st.lists(value, max_size=3).map(tuple),
            header=value,
            ecosystem=st.one_of(ecosystem, value),
        ),
        st.builds(
            Undecided,
            reason=st.sampled_from([reason for reason in Reason if reason.outcome == "undecided"]),
            detail=value,
            evidence=evidence(value),
            retry_after=st.integers(),
        ),
    )


contexts = st.builds(
    AnswerContext,
    decision_id=st.one_of(anything, names),
    interaction_id=st.one_of(anything, names),
    revision=anything,
    facts=st.builds(Facts, is_grpc=st.booleans()),
)
options = st.sampled_from(
    [OutboundOptions(), OutboundOptions(undecided="error", realm="bank"), OutboundOptions(subject_header="x-user")],
)


def canonical(raw, message=CheckResponse):
    return message.FromString(raw).SerializeToString(deterministic=True)


def by_betterproto(raw, message=v3.CheckResponse):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # `append`, which Envoy still needs
        return bytes(message.parse(raw))


@given(checks)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_both_read_the_same_check_request(check):
    sent = build_check(check)

    by_upb = canonical(sent, CheckRequest)
    assert by_upb == canonical(by_betterproto(by_upb, v3.CheckRequest), CheckRequest)
    assert len(sent) == len(by_upb)
    assert v3.CheckRequest.parse(sent) == v3.CheckRequest.parse(by_upb)


@given(peers, peers, text)
@settings(max_examples=100)
def test_both_read_the_same_check_of_a_connection(source, destination, sni):
    sent = build_connection(source, destination, sni)

    assert sent == canonical(sent, CheckRequest) == by_betterproto(sent, v3.CheckRequest)


@given(decisions(names, safe), contexts, options)
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_what_we_write_is_byte_for_byte_what_both_implementations_write(decision, context, outbound):
    answer = write_answer(decision, context, outbound)

    assert answer == canonical(answer)
    assert answer == canonical(by_betterproto(answer))


@given(decisions(st.one_of(names, anything), anything), contexts, options)
@settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow])
def test_t59_any_decision_is_a_valid_answer_that_passes_only_if_it_settles_to_allow(decision, context, outbound):
    answer = write_answer(decision, context, outbound)

    settled = settle(decision, outbound)
    assert settled is settle(settled, outbound)
    found = CheckResponse.FromString(answer)
    assert isinstance(settled, Allow) == (found.status.code == 0)
    assert found.HasField("status")
    assert len(answer) == len(canonical(answer))
    view = read_answer(answer)
    assert isinstance(settled, Allow) == view.allowed
    assert view.overwrites
    assert view.allowed or 400 <= view.http_status <= 599
    assert view.is_error == (isinstance(settled, Undecided) and outbound.undecided == "error")


@given(decisions(st.one_of(names, anything), anything), contexts)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_t38_no_header_of_an_answer_can_split_it(decision, context):
    found = read_answer(write_answer(decision, context, OutboundOptions()))

    for name, value in (*found.upstream_headers, *found.client_headers):
        assert not set("\r\n\x00") & set(name + value)
        assert name == name.lower()
        assert not name.startswith(":")
    for _, value in found.set_query:
        assert value.isascii()


def test_our_writer_gives_what_upb_gives_field_by_field():
    """One answer spelled out with upb's own objects, so that no mirror image can hide a wrong tag."""
    expected = CheckResponse()
    expected.status.code = 7
    refused = expected.denied_response
    refused.status.code = 403
    header = refused.headers.add(append_action="OVERWRITE_IF_EXISTS_OR_ADD")
    header.append.value = False
    header.header.key, header.header.value = "x-authz-decision-id", "d-1"
    header = refused.headers.add(append_action="OVERWRITE_IF_EXISTS_OR_ADD")
    header.append.value = False
    header.header.key, header.header.value = "cache-control", "no-store"
    refused.body = "not permitted"
    names = {
        "decision_id": "d-1",
        "outcome": "deny",
        "reason": "policy_denied",
        "policy": "p",
        "rule": "",
        "revision": "r",
    }
    expected.dynamic_metadata.update({**names, "tenant": "t"})

    deny = Deny(Reason.POLICY_DENIED, evidence=Evidence(policy="p", tenant="t"))
    context = AnswerContext("d-1", "", "r", Facts(is_grpc=True))
    assert expected.SerializeToString(deterministic=True) == write_answer(deny, context, OutboundOptions())


def test_the_last_resort_is_canonical_too():
    assert LAST_RESORT == canonical(LAST_RESORT)
