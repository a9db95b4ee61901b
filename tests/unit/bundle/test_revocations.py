"""`kind: Revocation`: what it takes, and what it does to decisions of the whole path."""

import time
import tracemalloc
from typing import Any

import pytest
from msgspec.structs import replace

from extauthz.bundle import BundleError, read_bundle, run_tests
from extauthz.check import decide
from extauthz.guards import Entry, RevocationList
from extauthz.model.decision import Allow, Decision
from extauthz.model.ports import NoTokenCache
from extauthz.model.reasons import Reason
from extauthz.model.request import Connection, Facts, Peer
from extauthz.sources import GenerationalTokenCache
from tests.engine import Engine
from tests.unit.bundle.small_bundle import PROFILE, TENANCY, files

HEAD = "apiVersion: extauthz.io/v1\nkind: Revocation\nmetadata: {name: leaked}\nspec:\n  entries:\n"
SECOND = """\
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {name: partner}
spec:
  issuer: https://partner.test
  audiences: [bank]
  algorithms: [PS256]
  jwks: {uri: "https://partner.test/certs"}
  claims: {tenant: tenant_id, roles: [roles]}
"""
GRANT = "spec:\n  tenants: data.tenants\n  crossTenant: [{name: support, roles: [support], methods: [GET]}]\n"
FRONT = "spiffe://cluster.local/ns/web/sa/front"


def bundle(*entries: str, **more: str) -> dict[str, bytes]:
    texts = {
        "partner": SECOND,
        "profile": PROFILE.replace("[bank]", "[bank, partner]"),
        "tenancy": TENANCY.replace("spec: {tenants: data.tenants}\n", GRANT),
        "tests__staff": None,
        "revocations": HEAD + "".join(f"  - {entry}\n" for entry in entries) if entries else None,
    }
    return files(**{**texts, **more})


def errors(*entries: str) -> list[str]:
    with pytest.raises(BundleError) as caught:
        read_bundle(bundle(*entries), NoTokenCache())
    return [str(finding) for finding in caught.value.findings if finding.severity == "error"]


class Bank:
    """The bank, and a caller whose token stays in the cache."""

    def __init__(self, *entries: str) -> None:
        self.engine = Engine(bundle())
        self.engine.world = replace(self.engine.world, tokens=GenerationalTokenCache(100))
        self.revoke(*entries)

    def revoke(self, *entries: str) -> None:
        emergencies = read_bundle(bundle(*entries), NoTokenCache()).snapshot.emergencies
        self.engine.world = replace(self.engine.world, emergencies=emergencies)

    def token(self, issuer: str = "bank", **changes: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": self.engine.issuers[issuer].issuer, "aud": "bank", "sub": "u1", "client_id": "app", "azp": "app",
            "iat": now - 60, "exp": now + 300, "jti": "jti-1", "sid": "sid-1",
            "tenant_id": "acme", "roles": ["officer"], "limit": 10,
        }  # fmt: skip
        return self.engine.sign(issuer, claims | changes, {"typ": "at+jwt"})

    def ask(self, token: str, tenant: str = "acme", principal: str = "") -> Decision:
        return self.engine.ask(
            f"/api/{tenant}/accounts/1", host="api.bank.test", token=token, principal=principal
        ).decision


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("tokenId: jti-1", Reason.TOKEN_REVOKED),
        ("{tokenId: jti-1, issuer: bank}", Reason.TOKEN_REVOKED),
        ("session: sid-1", Reason.TOKEN_REVOKED),
        ("{keyId: k1, issuer: bank}", Reason.TOKEN_REVOKED),
        ("{subject: u1, issuer: bank, issuedBefore: 2100-01-01T00:00:00Z}", Reason.TOKEN_REVOKED),
        ("{subject: u1, issuer: https://idp.bank.test}", Reason.EMERGENCY_DENIED),
        ("client: app", Reason.EMERGENCY_DENIED),
        (f"service: {FRONT}", Reason.EMERGENCY_DENIED),
        ("tenant: acme", Reason.EMERGENCY_DENIED),
        ("{tenant: acme, until: 2100-01-01T00:00:00Z, note: INC-1}", Reason.EMERGENCY_DENIED),
    ],
)
def test_jwt_13_a_cached_token_is_refused_by_the_first_request_after_the_entry(entry: str, reason: Reason) -> None:
    bank = Bank()
    token = bank.token()
    bank.ask(token)
    allowed = bank.ask(token, principal=FRONT)
    assert isinstance(allowed, Allow)
    assert allowed.evidence.token_cached
    bank.revoke("tokenId: other", entry)
    refused = bank.ask(token, principal=FRONT)
    assert (reason, True) == (refused.reason, refused.evidence.token_cached)
    assert "entry 2 of Revocation `leaked`" in refused.detail
    bank.revoke()
    assert isinstance(bank.ask(token, principal=FRONT), Allow)


@pytest.mark.parametrize("entry", ["{tokenId: jti-1, issuer: partner}", "{subject: u1, issuer: partner}", "{keyId: k1, issuer: partner}", "{tenant: acme, until: 2001-01-01T00:00:00Z}", "{subject: u1, issuer: bank, issuedBefore: 2001-01-01T00:00:00Z}"])  # fmt: skip
def test_jwt_13_others_pass(entry: str) -> None:
    bank = Bank(entry)
    assert isinstance(bank.ask(bank.token()), Allow)


def test_jwt_13_the_same_names_of_another_issuer_are_refused_apart() -> None:
    bank = Bank("{subject: u1, issuer: partner}")
    assert Reason.EMERGENCY_DENIED == bank.ask(bank.token("partner")).reason
    assert isinstance(bank.ask(bank.token("bank")), Allow)


def test_a_frozen_tenant_is_closed_from_inside_and_outside() -> None:
    """The second time the tenant is the resource's, which is known only after tenancy."""
    bank = Bank("tenant: globex")
    support = bank.token(roles=["support", "officer"])
    assert isinstance(bank.ask(support), Allow)
    assert Reason.EMERGENCY_DENIED == bank.ask(support, "globex").reason
    assert Reason.EMERGENCY_DENIED == bank.ask(bank.token(tenant_id="globex"), "globex").reason
    assert "globex" == bank.ask(support, "globex").evidence.tenant


def test_or_01_revocation_comes_after_the_token_and_before_the_tenant() -> None:
    bank = Bank("tokenId: jti-1")
    assert Reason.TOKEN_EXPIRED == bank.ask(bank.token(exp=1, iat=0)).reason
    assert Reason.TOKEN_REVOKED == bank.ask(bank.token(), "globex").reason
    assert Reason.TENANT_MISMATCH == bank.ask(bank.token(jti="jti-2"), "globex").reason


def test_a_frozen_service_opens_no_connection() -> None:
    world = read_bundle(bundle(f"service: {FRONT}"), NoTokenCache()).snapshot
    for principal, reason in ((FRONT, Reason.EMERGENCY_DENIED), (f"{FRONT}2", Reason.NO_POLICY_MATCHED)):
        peer = Peer("10.0.0.1", 1, principal)
        assert reason == decide(Connection(Facts(source=peer), peer, Peer()), world, 1).reason


def test_policy_tests_can_claim_a_revocation() -> None:
    case = """\
apiVersion: extauthz.io/v1
kind: PolicyTest
metadata: {name: frozen}
spec:
  cases:
  - name: the leaked token is refused
    request: {host: api.bank.test, path: /api/acme/accounts/1}
    token: {issuer: bank, claims: {tenant_id: acme, roles: [officer], limit: 10, jti: jti-1}}
    expect: {outcome: deny, reason: token_revoked}
"""
    (result,) = run_tests(read_bundle(bundle("tokenId: jti-1", tests__frozen=case), NoTokenCache()))
    assert () == result.differences
    assert "`tokenId` of entry 1 of Revocation `leaked`" in result.detail


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{}", "revocations.yaml:6: spec.entries[0]: an entry names exactly one of `tokenId`, `session`, `keyId`, `subject`, `client`, `service`, `tenant`"),
        ("{tokenId: a, client: b}", "revocations.yaml:6: spec.entries[0]: an entry names exactly one of `tokenId`, `session`, `keyId`, `subject`, `client`, `service`, `tenant`"),
        ("subject: u1", "revocations.yaml:6: spec.entries[0].issuer: missing: a subject is unique within its issuer only"),
        ("{subject: u1, issuer: bnk}", "revocations.yaml:6: spec.entries[0].issuer: unknown issuer `bnk`, did you mean `bank`?"),
        ("tenant: acmee", "revocations.yaml:6: spec.entries[0].tenant: unknown tenant `acmee`, did you mean `acme`?"),
        ("{tenant: acme, issuer: bank}", "revocations.yaml:6: spec.entries[0].issuer: a tenant belongs to no issuer: leave it out"),
        ("{client: a, until: tomorrow}", "revocations.yaml:6: spec.entries[0].until: "),
        ("{client: a, until: 2026-11-23T10:00:00}", "revocations.yaml:6: spec.entries[0].until: "),
        ("{jti: a}", "revocations.yaml:6: spec.entries[0].jti: unknown field `jti`"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_says_what_would_be_right(entry: str, expected: str) -> None:
    (found,) = errors(entry)
    assert found.startswith(expected)


def test_several_documents_are_one_list() -> None:
    more = HEAD.replace("leaked", "frozen") + "  - client: b\n"
    snapshot = read_bundle(bundle("client: a", frozen=more), NoTokenCache()).snapshot
    assert (2, 2) == (len(snapshot.emergencies.denied), snapshot.documents["Revocation"])


def test_an_issuer_that_stands_for_several_is_written_out() -> None:
    template = SECOND.replace(
        "https://partner.test\n", "'https://partner.test/{tenantid}'\n  issuerTenants: [t1, t2]\n"
    )
    entry = HEAD + "  - {subject: u1, issuer: %s}\n"
    built = read_bundle(bundle(partner=template, revocations=entry % "https://partner.test/t1"), NoTokenCache())
    assert 1 == len(built.snapshot.emergencies.denied)
    with pytest.raises(BundleError, match="`partner` stands for several issuers: write the `iss` of one"):
        read_bundle(bundle(partner=template, revocations=entry % "partner"), NoTokenCache())


def test_100_000_entries_take_a_bounded_amount_of_memory() -> None:
    tracemalloc.start()
    listed = RevocationList(
        Entry(selector="tokenId", value=f"3f9a0c6b-1d2e-4f58-8000-{n:012}", place=f"entry {n} of Revocation `x`")
        for n in range(100_000)
    )
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 100_000 == len(listed)
    assert used / len(listed) < 600, f"{used / len(listed):.0f} bytes an entry"
