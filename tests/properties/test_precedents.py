"""What is kept of earlier Checks changes nothing: each is decided, answered, recorded and counted as if it were the first."""

from hashlib import sha256
from itertools import permutations, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from extauthz.check import advance
from extauthz.journal.events import Events
from extauthz.journal.pseudonym import PeriodKey, Pseudonyms
from extauthz.journal.record import decision_event
from extauthz.model.decision import NOTHING_ASKED, Allow, Decision, Precedent, Undecided
from extauthz.model.record import DecisionRecord
from extauthz.model.request import Peer, Request
from extauthz.model.subject import Subject, likeness_of
from extauthz.sources import GenerationalTokenCache
from extauthz.telemetry import Metrics, MetricsOptions
from extauthz.wire import AnswerContext, AnswerWriter, OutboundOptions
from tests.engine import Engine, load
from tests.fakes import a_request

BANK = Path(__file__).parents[2] / "examples" / "banking"
NOW = 1_795_000_000
TIME = "2026-11-18T14:26:40.000000Z"
NAMES = Pseudonyms(PeriodKey("2024-01", b"k" * 32), b"u" * 32)

# One rule for each attribute by which rules tell requests apart, and one for each way in which an allow can differ.
MORE = """
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: more}
spec:
  match: {hosts: [more.test, "*.more.test"], paths: [/**]}
  authentication: {mode: required, issuers: [keycloak]}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: more-strict}
spec:
  match: {hosts: [more.test], paths: [/strict/**]}
  authentication: {mode: required, issuers: [keycloak]}
  stepUp: {acr: ["2"]}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: more}
spec:
  effect: allow
  match: {hosts: [more.test, "*.more.test"]}
  rules:
  - {name: client, from: [{clients: [teller-app]}], to: [{paths: [/client]}]}
  - {name: tenant, from: [{tenants: [acme]}], to: [{paths: [/tenant]}]}
  - {name: actor, from: [{actors: [robot]}], to: [{paths: [/actor]}]}
  - {name: peer, from: [{principals: ["spiffe://td/ns/a/sa/*"]}], to: [{paths: [/peer]}]}
  - {name: account, from: [{namespaces: [b]}], to: [{paths: [/peer]}]}
  - {name: port, to: [{paths: [/port], ports: [8080]}]}
  - {name: not-role, from: [{notRoles: [clerk]}], to: [{paths: [/not]}]}
  - {name: scope, from: [{scopes: [pay]}], to: [{paths: [/scope]}]}
  - {name: person, from: [{requestPrincipals: ["*/alice"]}], to: [{paths: [/person]}]}
  - {name: address, from: [{ipBlocks: [10.0.0.0/8]}], to: [{paths: [/address]}]}
  - {name: header, to: [{paths: [/header]}], when: [{key: "request.headers[x-channel]", values: [web]}]}
  - {name: claim, to: [{paths: ["/claim/{n}"]}], condition: subject.claims.limit > 10}
  - {name: capture, to: [{paths: ["/capture/{n}"]}], condition: params.n != 'x'}
  - name: computed
    to: [{paths: ["/computed/{n}"]}]
    obligations: {upstreamHeaders: {x-n: params.n, x-id: subject.id}, metadata: {limit: subject.claims.limit}}
  - {name: strict, to: [{paths: [/strict/**]}]}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: more-shadow}
spec:
  effect: deny
  mode: shadow
  match: {hosts: [more.test]}
  rules: [{name: late, to: [{paths: [/client, "/claim/{n}"]}], condition: subject.claims.limit > 50}]
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: more-deny}
spec:
  effect: deny
  match: {hosts: [more.test]}
  rules: [{name: small, from: [{roles: [clerk]}], to: [{paths: [/tenant]}], condition: subject.claims.limit < 5}]
"""

ENGINE = Engine({**load(BANK), "policies/more.yaml": MORE.encode()})
ISSUER = ENGINE.issuers["keycloak"]
SUBJECTS = st.builds(
    Subject,
    issuer=st.just(ISSUER.issuer),
    id=st.sampled_from(["alice", "bob", "a person", "per%cent", "zoë", "alice2"]),
    issuer_name=st.just("keycloak"),
    client=st.sampled_from(["teller-app", "tpp-app", ""]),
    tenant=st.sampled_from(["acme", "globex", "", "nobody"]),
    roles=st.sampled_from([(), ("clerk",), ("banking-officer",), ("banking-manager", "clerk"), ("platform-support",)]),
    scopes=st.sampled_from([(), ("pay",), ("openid", "accounts")]),
    acr=st.sampled_from(["1", "2"]),
    issued_at=st.just(NOW - 10),
    expires_at=st.sampled_from([NOW + 100, NOW + 100, NOW - 1_000]),
    token_id=st.sampled_from(["jti-1", "", 'quoted"', "long" * 50, "é"]),
    key_id=st.sampled_from(["k1", "k2"]),
    confirmation=st.sampled_from([(), (), (), ("jwk",)]),
    actors=st.sampled_from([(), ("robot",), ("robot", "alice")]),
    claims=st.sampled_from([b'{"limit":1}', b'{"limit":30}', b'{"limit":60}', b"{}"]),
)
ROUTES = (
    *(("api.banking.local", f"/api/{path}") for path in ("accounts/a-1", "customers/c-1", "loans/l-1")),
    ("api.banking.local", "/API/accounts/a-1"),
    ("api.banking.local", "/health"),
    ("acme.api.banking.local", "/api/accounts/a-2"),
    *(("api.banking.local", f"/open-banking/{tenant}/accounts/1") for tenant in ("acme", "globex")),
    *((host, f"/{path}") for host in ("more.test", "a.more.test") for path in ("client", "claim/1", "nothing", "")),
    *(("more.test", f"/{path}") for path in ("tenant", "actor", "peer", "port", "not", "scope", "person", "address")),
    *(
        ("more.test", f"/{path}")
        for path in ("header", "capture/x", "capture/y", "strict/a", "computed/1", "computed/2")
    ),
)
TRACES = ("", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
BUSY = st.sampled_from(
    [("api.banking.local", "/api/accounts/a-1"), ("more.test", "/not"), ("more.test", "/computed/1")]
)
PEERS = st.builds(
    Peer,
    address=st.sampled_from(["10.0.0.1", "10.0.0.1", "192.0.2.1", ""]),
    principal=st.sampled_from(["", "spiffe://td/ns/a/sa/x", "spiffe://td/ns/b/sa/y"]),
)
LINES = st.lists(
    st.sampled_from(
        [
            ("x-channel", "web"),
            ("x-channel", "app"),
            ("x-tenant-id", "acme"),
            ("x-tenant-id", "globex"),
            ("x-support-ticket", "7"),
        ]
    ),
    max_size=2,
)


@st.composite
def requests(draw: st.DrawFn, callers: int, routes: list[tuple[str, str]]) -> tuple[Request, str]:
    """(what is asked, traceparent)."""
    number = draw(st.integers(0, callers - 1))
    host, path = draw(st.sampled_from(routes))
    peer = draw(PEERS)
    lines = [
        ("authorization", f"{draw(st.sampled_from(['Bearer', 'Bearer', 'bearer', 'DPoP']))} token-{number}"),
        *draw(LINES),
    ]
    target = Peer(port=draw(st.sampled_from([8080, 9090])))
    method = draw(st.sampled_from(["GET", "GET", "GET", "POST", "PURGE"]))
    made = a_request(method, path, host=host, headers=lines, source=peer, destination=target)
    facts = replace(made.facts, request_id=draw(st.sampled_from(["17c1f2", "17c1f3", ""])), client_address=peer.address)
    trace = draw(st.sampled_from(TRACES))
    return replace(made, facts=facts), trace


def world_of(subjects: list[Subject]) -> Any:
    """The bundle in force, with these callers in its cache."""
    cache = GenerationalTokenCache(1_000)
    version = ENGINE.world.keys["keycloak"].version
    for number, subject in enumerate(subjects):
        for scheme in ("Bearer", "bearer", "DPoP"):
            cache.put(version + sha256(f"{scheme} token-{number}".encode()).digest(), subject)
    return replace(ENGINE.world, tokens=cache)


def plain(decision: Decision) -> Decision:
    """The decision without what makes the next one faster."""
    evidence = replace(decision.evidence, subject=replace(decision.evidence.subject, likeness=None))
    changed = replace(decision, evidence=evidence)
    return changed if isinstance(changed, Undecided) else replace(changed, precedent=None)


def record(decision: Decision, asked: Request, number: int, trace: str) -> DecisionRecord:
    return DecisionRecord(
        f"{number:032x}", f"93bac548-d2de-4546-b106-{number:012d}", ("client", "generated")[number % 2], float(NOW),
        (number % 3) / 1_000_000, "r1", "ab" * 32, asked.facts, decision, decision.reason.status, trace,
    )  # fmt: skip


followed: set[Precedent] = set()
again = 0

ALICE = Subject(
    ISSUER.issuer,
    "alice",
    "keycloak",
    "teller-app",
    "acme",
    ("banking-officer",),
    expires_at=NOW + 9,
    token_id="jti-1",
    key_id="k1",
    claims=b'{"limit":30}',
)
ALIKE = [
    ALICE,
    replace(ALICE, id="berta", token_id="jti-2"),
    replace(ALICE, id="bo", session="s"),
    replace(ALICE, key_id="k2", claims=b'{"limit":60}'),
    replace(ALICE, client="tpp-app"),
    replace(ALICE, roles=("banking-officer", "clerk")),
    replace(ALICE, scopes=("pay",)),
    replace(ALICE, actors=("robot",)),
    replace(ALICE, tenant="globex"),
]


def compare(subjects: list[Subject], asked: list[tuple[Request, str]]) -> None:
    """Ask one world with all of its memory, and one that has none, and hold everything that comes of it together."""
    global again  # noqa: PLW0603 - counts over all examples
    kept = world_of([replace(subject, likeness=likeness_of(subject)) for subject in subjects])
    fresh = world_of(subjects)
    options = OutboundOptions()
    writer, events = AnswerWriter(options), Events(NAMES)
    counted, counted_afresh = Metrics(MetricsOptions()), Metrics(MetricsOptions())
    for number, (request, trace) in enumerate(asked):
        decision = advance(request, kept, NOW, NOTHING_ASKED)
        expected = advance(request, fresh, NOW, NOTHING_ASKED)
        assert isinstance(decision, Decision)
        assert isinstance(expected, Decision)
        assert expected == plain(decision)
        if isinstance(decision, Allow) and decision.precedent is not None:
            again += decision.precedent in followed
            followed.add(decision.precedent)

        mine, theirs = record(decision, request, number, trace), record(expected, request, number, trace)
        context = AnswerContext(mine.decision_id, mine.interaction_id, "r1", request.facts)
        assert AnswerWriter(options).conclude(expected, context)[1] == writer.conclude(decision, context)[1]
        assert decision_event(theirs, NAMES, TIME) == events.write(mine, TIME)
        counted.observe(mine)
        counted_afresh.observe(theirs)
    assert counted_afresh.report() == counted.report()


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data(), subjects=st.lists(SUBJECTS, min_size=2, max_size=4))
def test_checks_like_earlier_ones_are_decided_answered_recorded_and_counted_as_if_they_were_the_first(
    data: st.DataObject, subjects: list[Subject]
) -> None:
    callers = [*subjects, *ALIKE]
    routes = [*data.draw(st.lists(st.sampled_from(ROUTES), min_size=1, max_size=3)), data.draw(BUSY)]
    asked = data.draw(st.lists(requests(len(callers), routes), min_size=20, max_size=50))
    compare(callers, [*asked, *asked])


@pytest.mark.parametrize("round_", range(3))
def test_it_makes_no_difference_who_like_the_caller_came_before(round_: int) -> None:
    """Every route, by callers that differ in one thing each, in all orders of two."""
    asked: list[tuple[Request, str]] = []
    for (host, path), pair in product(ROUTES, permutations(range(len(ALIKE)), 2)):
        for number, principal in product(pair, ("spiffe://td/ns/a/sa/x", "spiffe://td/ns/b/sa/y")):
            lines = [("authorization", f"Bearer token-{number}"), ("x-channel", "web")]
            peer = Peer("10.0.0.1", 1, principal)
            made = a_request(
                ("GET", "POST", "GET")[round_],
                path,
                host=host,
                headers=lines,
                source=peer,
                destination=Peer(port=8080 + round_),
            )
            facts = replace(made.facts, request_id=f"{len(asked):x}", client_address=f"10.0.0.{number}")
            asked.append((replace(made, facts=facts), TRACES[round_ % 2]))
    compare(ALIKE, asked)


def test_these_properties_are_about_precedents_that_were_followed() -> None:
    assert len(followed) > 50
    assert again > 10 * len(followed)
