"""What replay may say of outcomes that no record can bring about again: tokens, proofs, signatures, orders of operators."""

from typing import Any

import pytest
from msgspec.structs import replace

from extauthz.bundle.replay import Changed, Decided, Replay, Same, Unknown
from extauthz.model.decision import Allow, Deny, Evidence
from extauthz.model.reasons import Reason
from extauthz.model.request import Connection, Facts, Peer
from extauthz.wire import InboundOptions, read_check
from tests.documents import SIGNED
from tests.engine import Engine
from tests.properties.recording import NOW, decide, record, world_of

BUNDLE = (
    SIGNED
    + """---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: bank}
spec:
  match: {hosts: [api.test], paths: [/**]}
  authentication: {issuers: [bank]}
  senderConstraint: {required: false, dpop: {maxAge: 60s}}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: readers}
spec: {effect: allow, rules: [{name: read, to: [{methods: [GET]}]}]}
"""
)
DENY_ALL = """
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: closed}
spec: {effect: deny, rules: [{name: all, to: [{paths: [/**]}]}]}
"""
CLAIMS = {"iss": "https://idp.test", "aud": "bank", "sub": "u-1", "exp": NOW + 600, "iat": NOW, "client_id": "c"}


def files(text: str) -> dict[str, bytes]:
    return {"bundle.yaml": text.encode()}


def past(method: str = "GET", reason: Reason | None = None, check: str = "", **claims: Any) -> Decided:
    """A decision of the bundle on a request with a token; with `reason` as if it had ended so."""
    engine = Engine(files(BUNDLE))
    raw: list[bytes] = []
    token = engine.sign("bank", CLAIMS | claims, {"typ": "at+jwt"})
    engine.ask("/x", host="api.test", method=method, token=token, change=lambda c: raw.append(c.SerializeToString()))
    asked = read_check(raw[0], InboundOptions())
    decision = decide(asked, engine.world, NOW)
    if reason is not None:
        evidence = decision.evidence
        if not evidence.subject.issuer:  # the proof of a bound token is looked at before anything is on record of it
            bearer = engine.sign("bank", CLAIMS, {"typ": "at+jwt"})
            evidence = Evidence(
                subject=replace(_subject(engine, bearer), jkt="k", confirmation=("jkt",)), profile="bank"
            )
        ended = reason.outcome == "allow"
        decision = Allow(reason, evidence) if ended else Deny(reason, check, evidence=evidence)
    return record(asked, decision, engine.world)[0]


def _subject(engine: Engine, token: str) -> Any:
    return engine.ask("/x", host="api.test", token=token).decision.evidence.subject


def needs(found: object) -> str:
    assert isinstance(found, Unknown), found
    return found.needs


def test_a_refused_token_stays_refused_while_who_may_call_is_the_same() -> None:
    decided = past(exp=NOW - 600)
    assert "token_expired" == decided.reason
    assert isinstance(world_of(files(BUNDLE + DENY_ALL)).replay(decided), Same)
    lenient = BUNDLE.replace("audiences: [bank]", "audiences: [bank, till]")
    assert "it was refused" in needs(world_of(files(lenient)).replay(decided))


def test_a_good_token_stays_good_while_its_issuer_document_is_the_same() -> None:
    decided = past()
    found = world_of(files(BUNDLE + DENY_ALL)).replay(decided)
    assert isinstance(found, Changed)
    assert Reason.POLICY_DENIED is found.decision.reason
    other = BUNDLE.replace("audiences: [bank]", "audiences: [till]")
    assert "Issuer `bank` differs" in needs(world_of(files(other)).replay(decided))


def test_an_issuer_that_is_gone_refuses_its_tokens() -> None:
    gone = BUNDLE.replace("https://idp.test", "https://other.test")
    found = world_of(files(gone)).replay(past())
    assert isinstance(found, Changed)
    assert Reason.TOKEN_ISSUER_REFUSED is found.decision.reason


def test_mtls_01_a_bearer_token_where_bound_ones_become_required_is_refused() -> None:
    found = world_of(files(BUNDLE.replace("required: false", "required: true"))).replay(past())
    assert isinstance(found, Changed)
    assert Reason.SENDER_CONSTRAINT_MISSING is found.decision.reason


@pytest.mark.parametrize("reason", [Reason.PROOF_INVALID, Reason.PROOF_NONCE_REQUIRED])
def test_a_refused_proof_stays_refused_while_what_is_asked_of_it_is_the_same(reason: Reason) -> None:
    decided = past(reason=reason, cnf={"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"})
    assert isinstance(world_of(files(BUNDLE + DENY_ALL)).replay(decided), Same)
    assert "proof" in needs(world_of(files(BUNDLE.replace("60s", "61s"))).replay(decided))


def test_dp_17_a_used_proof_stays_used_unless_something_refuses_before() -> None:
    decided = past(reason=Reason.PROOF_REPLAYED, check="DP-17")
    assert isinstance(world_of(files(BUNDLE)).replay(decided), Same)
    found = world_of(files(BUNDLE + DENY_ALL)).replay(decided)
    assert isinstance(found, Changed)
    assert Reason.POLICY_DENIED is found.decision.reason


@pytest.mark.parametrize("reason", [Reason.EMERGENCY_DENIED, Reason.TOKEN_REVOKED, Reason.BREAK_GLASS_ALLOWED])
def test_what_operators_ordered_is_in_no_bundle(reason: Reason) -> None:
    assert "ordered" in needs(world_of(files(BUNDLE)).replay(past(reason=reason)))


def test_what_the_bundle_that_decided_does_not_explain_is_set_apart() -> None:
    decided = past(method="POST", reason=Reason.POLICY_ALLOWED)  # its only rule is for GET
    live, new = world_of(files(BUNDLE)), world_of(files(BUNDLE + DENY_ALL))
    assert isinstance(new.replay(decided), Changed)
    assert "another answer" in needs(Replay(new, live)(decided))


@pytest.mark.parametrize("reason", [Reason.JOURNAL_UNAVAILABLE, Reason.INTERNAL_ERROR, Reason.NO_BUNDLE])
def test_the_server_s_own_trouble_tells_nothing(reason: Reason) -> None:
    decided = replace(past(), reason=reason.code, outcome="undecided")
    assert "in trouble" in needs(world_of(files(BUNDLE)).replay(decided))


def test_a_record_of_a_version_that_kept_nothing_tells_nothing() -> None:
    assert "kept for replay" in needs(world_of(files(BUNDLE)).replay(replace(past(), kept=None)))


def test_a_bundle_with_a_private_character_is_no_bundle_to_ask() -> None:
    assert "" == world_of(files(BUNDLE)).flaw
    assert (
        "U+E000"
        in world_of(
            files(BUNDLE.replace("name: read,", "name: read, when: [{key: subject.roles, values: [\ue000]}],"))
        ).flaw
    )


MESH = """
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: mesh}
spec: {effect: allow, rules: [{name: web, from: [{namespaces: [web]}], to: [{ports: [5432]}]}]}
"""


def test_a_connection_without_http_is_decided_again_by_its_ends() -> None:
    engine = Engine(files(BUNDLE + MESH))
    peers = Peer(address="10.0.0.1", principal="spiffe://td/ns/web/sa/a"), Peer(address="10.0.0.2", port=5432)
    asked = Connection(Facts(source=peers[0], destination=peers[1]), *peers)
    decided = record(asked, decide(asked, engine.world, NOW), engine.world)[0]
    assert "allow" == decided.outcome
    assert isinstance(world_of(files(BUNDLE + MESH)).replay(decided), Same)
    found = world_of(files(BUNDLE + MESH.replace("5432", "5433"))).replay(decided)
    assert isinstance(found, Changed)
    assert Reason.NO_POLICY_MATCHED is found.decision.reason
    blocks = MESH.replace("namespaces: [web]", "ipBlocks: [10.0.0.0/8]")
    assert "source.address" == needs(world_of(files(BUNDLE + blocks)).replay(decided))
