"""`kind: Emergency`: what it takes, what it refuses with file and line, and what it does to decisions."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from extauthz.bundle import BundleError, lint_bundle, read_bundle, run_tests
from extauthz.check import decide
from extauthz.model.decision import Allow, Decision
from extauthz.model.ports import NoTokenCache
from extauthz.model.reasons import Reason
from extauthz.model.request import Connection, Facts, Peer
from extauthz.sources import GenerationalTokenCache
from tests.approvers import PUBLIC, public_pem
from tests.engine import Engine
from tests.unit.bundle.emergency_documents import GLASS, HEAD, WHEN, WHY, around_now, bundle, freeze, glass, signed
from tests.unit.bundle.small_bundle import BUNDLE, TENANCY

FRONT = "spiffe://cluster.local/ns/web/sa/front"
GRANT = "spec:\n  tenants: data.tenants\n  crossTenant: [{name: support, roles: [support], methods: [GET]}]\n"


def findings(*documents: str, severity: str = "error", **more: str) -> list[str]:
    try:
        built = read_bundle(bundle(*documents, **more), NoTokenCache())
    except BundleError as error:
        return [str(found) for found in error.findings if found.severity == severity]
    return [str(found) for found in built.warnings if found.severity == severity]


class Bank:
    """The small bank under emergencies, with a token that stays in the cache."""

    def __init__(self, *documents: str) -> None:
        self.engine = Engine(
            bundle(tests__staff=None, tenancy=TENANCY.replace("spec: {tenants: data.tenants}\n", GRANT))
        )
        self.engine.world = replace(self.engine.world, tokens=GenerationalTokenCache(100))
        self.tokens: dict[str, str] = {}
        self.declare(*documents)

    def declare(self, *documents: str) -> None:
        emergencies = read_bundle(bundle(*documents, tests__staff=None), NoTokenCache()).snapshot.emergencies
        self.engine.world = replace(self.engine.world, emergencies=emergencies)

    def token(self, **changes: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": "https://idp.bank.test", "aud": "bank", "sub": "u1", "client_id": "app", "iat": now - 60, "exp": now + 300,
            "jti": "jti-1", "sid": "sid-1", "tenant_id": "acme", "roles": ["officer"], "limit": 10,
        }  # fmt: skip
        return self.engine.sign("bank", claims | changes, {"typ": "at+jwt"})

    def ask(
        self, path: str = "/api/acme/accounts/1", method: str = "GET", principal: str = "", **claims: Any
    ) -> Decision:
        token = self.tokens.setdefault(str(claims), "") or self.token(**claims)
        self.tokens[str(claims)] = token
        return self.engine.ask(path, method=method, host="api.bank.test", token=token, principal=principal).decision


# --- freezes


@pytest.mark.parametrize(
    "target",
    [
        "{tokenId: jti-1}",
        "{session: sid-1}",
        "{keyId: k1, issuer: bank}",
        "{subject: u1, issuer: bank}",
        "{client: app}",
        f"{{service: {FRONT}}}",
        "{tenant: acme}",
        "{route: {host: api.bank.test}}",
        "{route: {path: /api/acme/**}}",
        "{route: {host: '*.bank.test', path: '/api/*/ACCOUNTS/1', methods: [POST, GET]}}",
        "{everything: true}",
    ],
)
def test_a_freeze_refuses_from_the_first_request_on_also_with_a_cached_token(target: str) -> None:
    """Whatever it names, the answer is 403 and no hint to come back with another token."""
    bank = Bank()
    bank.ask(principal=FRONT)
    assert bank.ask(principal=FRONT).evidence.token_cached
    bank.declare(freeze("{client: other}", target, when=around_now()))
    refused = bank.ask(principal=FRONT)
    assert (Reason.EMERGENCY_DENIED, "inc-1", "freeze") == (
        refused.reason,
        refused.evidence.emergency,
        refused.evidence.emergency_kind,
    )
    assert "of freeze 2 of Emergency `inc-1`" in refused.detail
    bank.declare()
    assert isinstance(bank.ask(principal=FRONT), Allow)


@pytest.mark.parametrize(
    "target",
    [
        "{client: app2}",
        "{tenant: globex}",
        "{route: {path: /api/acme/accounts}}",
        "{route: {path: '/api/acme/accounts/*/x'}}",
        "{route: {path: /api/acme/accounts/**, methods: [POST]}}",
        "{route: {host: '*.api.bank.test', path: '/api/**'}}",
    ],
)
def test_others_pass(target: str) -> None:
    # What no profile covers cannot be frozen, so the last case needs one.
    more = {"profile": None} if "*.api" in target else {}
    bank = Bank()
    if more:
        with pytest.raises(BundleError, match="no SecurityProfile covers"):
            bank.declare(freeze(target, when=around_now()))
        return
    bank.declare(freeze(target, when=around_now()))
    assert isinstance(bank.ask(), Allow)


@pytest.mark.parametrize(("hours", "begin"), [(-1, -2), (2, 1)])
def test_a_freeze_that_is_over_or_not_yet_refuses_nobody(hours: float, begin: float) -> None:
    assert isinstance(Bank(freeze("{everything: true}", when=around_now(hours, begin))).ask(), Allow)


def test_a_freeze_of_routes_is_told_before_the_token_is_looked_at() -> None:
    bank = Bank(freeze("{everything: true}", when=around_now()))
    assert Reason.EMERGENCY_DENIED == bank.ask(exp=1, iat=0).reason
    assert Reason.EMERGENCY_DENIED == bank.engine.ask("/nowhere", host="unknown.test").decision.reason


def test_a_freeze_of_everything_closes_connections_and_a_frozen_route_does_not() -> None:
    peer = Peer("10.0.0.1", 1, FRONT)
    asked = Connection(Facts(source=peer), peer, Peer())
    for target, reason in (
        ("{everything: true}", Reason.EMERGENCY_DENIED),
        ("{route: {path: '/api/**'}}", Reason.NO_POLICY_MATCHED),
    ):
        world = read_bundle(bundle(freeze(target, when=around_now())), NoTokenCache()).snapshot
        assert reason == decide(asked, world, int(time.time())).reason


def test_a_token_that_is_revoked_and_frozen_is_frozen() -> None:
    """Or its client would come back with a new token."""
    revoked = "apiVersion: extauthz.io/v1\nkind: Revocation\nmetadata: {name: r}\nspec: {entries: [{tokenId: jti-1}]}\n"
    bank = Bank(revoked)
    assert Reason.TOKEN_REVOKED == bank.ask().reason
    for target in ("{tokenId: jti-1}", "{client: app}"):
        bank.declare(revoked, freeze(target, when=around_now()))
        assert Reason.EMERGENCY_DENIED == bank.ask().reason


# --- break glass

LOAN = "/api/acme/loans/7"


def test_break_glass_lets_a_named_subject_do_what_policies_deny_and_says_so() -> None:
    bank = Bank(signed(glass(when=around_now())))
    allowed = bank.ask(LOAN, "POST")
    assert (Reason.BREAK_GLASS_ALLOWED, "inc-1", "break_glass") == (
        allowed.reason,
        allowed.evidence.emergency,
        allowed.evidence.emergency_kind,
    )
    assert isinstance(allowed, Allow)
    assert Reason.POLICY_ALLOWED == bank.ask().reason, "what policies allow needs no break glass"


@pytest.mark.parametrize(
    ("path", "method", "claims", "reason"),
    [
        (LOAN, "DELETE", {}, Reason.NO_POLICY_MATCHED),
        ("/api/acme/cards/7", "GET", {}, Reason.NO_POLICY_MATCHED),
        ("/api/acme/Loans/7", "GET", {}, Reason.NO_POLICY_MATCHED),
        (LOAN, "GET", {"sub": "u2"}, Reason.NO_POLICY_MATCHED),
        (LOAN, "GET", {"act": {"sub": "robot"}}, Reason.NO_POLICY_MATCHED),
        ("/api/globex/loans/7", "GET", {}, Reason.TENANT_MISMATCH),
        (LOAN, "GET", {"exp": 1, "iat": 0}, Reason.TOKEN_EXPIRED),
    ],
)
def test_break_glass_opens_nothing_else(path: str, method: str, claims: dict[str, Any], reason: Reason) -> None:
    bank = Bank(signed(glass(when=around_now())))
    assert reason == bank.ask(path, method, **claims).reason


def test_break_glass_by_role_is_for_one_tenant() -> None:
    body = GLASS.replace("id: u1", "roles: [commander, deputy]") + "    tenant: acme\n"
    bank = Bank(signed(glass(body, around_now())))
    assert Reason.BREAK_GLASS_ALLOWED == bank.ask(LOAN, roles=["deputy"]).reason
    assert Reason.NO_POLICY_MATCHED == bank.ask(LOAN, roles=["officer"]).reason
    assert Reason.NO_POLICY_MATCHED == bank.ask("/api/globex/loans/7", roles=["deputy"], tenant_id="globex").reason


@pytest.mark.parametrize(
    "target", ["{client: app}", "{route: {path: '/api/*/loans/**'}}", "{everything: true}", "{tokenId: jti-1}"]
)
def test_no_freeze_is_lifted(target: str) -> None:
    bank = Bank(signed(glass(when=around_now())), freeze(target, when=around_now()).replace("inc-1", "inc-2"))
    refused = bank.ask(LOAN)
    assert (Reason.EMERGENCY_DENIED, "inc-2") == (refused.reason, refused.evidence.emergency)


def test_a_deny_policy_is_overruled_and_named() -> None:
    deny = "apiVersion: extauthz.io/v1\nkind: AccessPolicy\nmetadata: {name: closed}\nspec: {effect: deny, rules: [{name: all, to: [{paths: ['/api/{tenant}/loans/**']}]}]}\n"
    bank = Bank()
    bank.engine.world = replace(
        read_bundle(bundle(signed(glass(when=around_now())), closed=deny, tests__staff=None), NoTokenCache()).snapshot,
        keys=bank.engine.world.keys,
    )
    allowed = bank.ask(LOAN)
    assert (Reason.BREAK_GLASS_ALLOWED, "closed", "all") == (
        allowed.reason,
        allowed.evidence.policy,
        allowed.evidence.rule,
    )


def test_t_27_what_policies_write_for_upstreams_does_not_pass_from_a_client_under_break_glass() -> None:
    rule = "apiVersion: extauthz.io/v1\nkind: AccessPolicy\nmetadata: {name: limits}\nspec: {effect: allow, rules: [{name: all, from: [{roles: [nobody]}], obligations: {upstreamHeaders: {x-limit: \"'10'\"}}}]}\n"
    bank = Bank()
    bank.engine.world = replace(
        read_bundle(bundle(signed(glass(when=around_now())), limits=rule, tests__staff=None), NoTokenCache()).snapshot,
        keys=bank.engine.world.keys,
    )
    answer = bank.engine.ask(LOAN, host="api.bank.test", token=bank.token())
    assert answer.allowed
    assert "x-limit" in answer.removed_upstream


def test_a_drill_is_recorded_and_allows_nothing() -> None:
    bank = Bank(signed(glass(when=around_now(), more="  drill: true\n")))
    refused = bank.ask(LOAN)
    assert (Reason.NO_POLICY_MATCHED, "inc-1", "drill") == (
        refused.reason,
        refused.evidence.emergency,
        refused.evidence.emergency_kind,
    )
    assert "" == bank.ask("/api/acme/cards/7").evidence.emergency


# --- documents


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (HEAD + WHEN, "emergency0.yaml:4: spec: an Emergency is exactly one of `freeze` and `breakGlass`"),
        (glass("  freeze: [{client: a}]\n" + GLASS), "emergency0.yaml:4: spec: an Emergency is exactly one of `freeze` and `breakGlass`"),
        (freeze("{client: a}", when=WHEN.replace("  end: 2026-01-01T02:00:00Z\n", "")), "emergency0.yaml:4: spec.end: missing: expected a time"),
        (freeze("{client: a}", when=WHEN.replace("2026-01-01T02", "2026-02-01T02")), "emergency0.yaml:8: spec.end: a freeze lasts 30 days at most"),
        (freeze("{everything: true}", when=WHEN.replace("2026-01-01T02", "2026-01-09T02")), "emergency0.yaml:8: spec.end: a freeze of everything lasts 7 days at most"),
        (freeze("{client: a}", when=WHEN.replace("2026-01-01T02", "2025-01-01T02")), "emergency0.yaml:8: spec.end: must be after `begin`"),
        (freeze("{client: a}", when=WHEN.replace("INC-1", "''")), "emergency0.yaml:9: spec.ticket: must be 1 to 100 printable characters"),
        (freeze("{client: a, tenant: acme}"), "emergency0.yaml:6: spec.freeze[0]: an entry names exactly one of `tokenId`, `session`, `keyId`, `subject`, `client`, `service`, `tenant`, `route`, `everything`"),
        (freeze("{tenant: acmee}"), "emergency0.yaml:6: spec.freeze[0].tenant: unknown tenant `acmee`, did you mean `acme`?"),
        (freeze("{subject: u1, issuer: bnk}"), "emergency0.yaml:6: spec.freeze[0].issuer: unknown issuer `bnk`, did you mean `bank`?"),
        (freeze("{route: {path: '/api/**'}, issuer: bank}"), "emergency0.yaml:6: spec.freeze[0].issuer: a route belongs to no issuer: leave it out"),
        (freeze("{route: {path: '/**'}}"), "emergency0.yaml:6: spec.freeze[0].route: this is every request: write `everything: true`"),
        (freeze("{route: {path: '/api/**/x'}}"), "emergency0.yaml:6: spec.freeze[0].route.path: `/api/**/x`: `**` stands at the end of a frozen path"),
        (freeze("{route: {host: '{t}.bank.test'}}"), "emergency0.yaml:6: spec.freeze[0].route.host: `{t}.bank.test`: nothing is captured here, write `*.bank.test`"),
        (freeze("{route: {path: '/api/**', methods: [get]}}"), "emergency0.yaml:6: spec.freeze[0].route.methods[0]: `get` is not an upper-case method: write `GET`"),
        (freeze("{route: {host: api.bnk.test}}"), "emergency0.yaml:6: spec.freeze[0].route.path: no SecurityProfile covers `/**` on `api.bnk.test`: every such request is refused, whatever stands here"),
        (freeze("{route: {path: /apy/x}}"), "emergency0.yaml:6: spec.freeze[0].route.path: no SecurityProfile covers `/apy/x`: every such request is refused, whatever stands here"),
        (freeze("{client: a}", when=WHEN + "  drill: true\n"), "emergency0.yaml:10: spec.drill: a freeze needs none: leave it out"),
        (glass(), "emergency0.yaml:4: spec.approvals: break glass needs the approvals of 2 approvers, found 0 (digest "),
        (signed(glass(), "ciso"), "emergency0.yaml:12: spec.approvals: break glass needs the approvals of 2 approvers, found 1 (digest "),
        (signed(glass(), "ciso", "ciso"), "emergency0.yaml:14: spec.approvals[1].approver: `ciso` approves it twice"),
        (signed(glass(), "ciso", "stranger"), "emergency0.yaml:14: spec.approvals[1].approver: unknown approver `stranger`, did you mean `duty-manager`?"),
        (signed(glass()).replace("approver: ciso", "approver: duty-manager"), "emergency0.yaml:14: spec.approvals[1].signature: the signature of `duty-manager` is not for this"),
        (signed(glass(when=WHEN.replace("T02", "T05"))), "emergency0.yaml:9: spec.end: break glass lasts 4 hours at most"),
        (signed(glass(why="")), "emergency0.yaml:4: spec.justification: must be 1 to 500 printable characters"),
        (signed(glass(GLASS.replace("id: u1", "roles: [x]"))), "emergency0.yaml:5: spec.breakGlass.tenant: missing: every tenant has subjects with such roles, name one tenant"),
        (signed(glass(GLASS + "    tenant: umbrella\n")), "emergency0.yaml:8: spec.breakGlass.tenant: unknown tenant `umbrella`"),
        (signed(glass(GLASS.replace("issuer: bank", "issuer: bnk"))), "emergency0.yaml:6: spec.breakGlass.subjects[0].issuer: unknown issuer `bnk`, did you mean `bank`?"),
        (signed(glass(GLASS.replace("id: u1", "id: u1, roles: [x]") + "    tenant: acme\n")), "emergency0.yaml:6: spec.breakGlass.subjects[0]: a subject is named by exactly one of `id` and `roles`"),
        (signed(glass(GLASS.replace("[{issuer: bank, id: u1}]", "[]"))), "emergency0.yaml:6: spec.breakGlass.subjects: name 1 to 64 subjects"),
        (signed(glass(GLASS.replace("/api/{tenant}/loans/**", "/**"))), "emergency0.yaml:7: spec.breakGlass.routes[0].path: `/**` must begin with a literal segment, as in `/api/loans/**`"),
        (signed(glass(GLASS.replace("api.bank.test", "'*.bank.test'"))), "emergency0.yaml:7: spec.breakGlass.routes[0].host: `*.bank.test` must be one host: each that is opened is named"),
        (signed(glass(GLASS.replace("[GET, POST]", "[]"))), "emergency0.yaml:7: spec.breakGlass.routes[0].methods: name the methods, e.g. `[GET]`"),
        (signed(glass(GLASS.replace("api.bank.test", "web.bank.test"))), "emergency0.yaml:7: spec.breakGlass.routes[0].path: no SecurityProfile covers `/api/{tenant}/loans/**` on `web.bank.test`"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_says_what_would_be_right(document: str, expected: str) -> None:
    (found,) = findings(document)
    assert found.startswith(expected)


@pytest.mark.parametrize(
    ("approvers", "expected"),
    [
        ("[{name: a, key: abc}]", "bundle.yaml:4: spec.approvers[0].key: holds no public key in PEM: Ed25519 or ECDSA with P-256"),
        ("[{name: '', key: abc}]", "bundle.yaml:4: spec.approvers[0].name: must be 1 to 63 printable characters"),
    ],
)  # fmt: skip
def test_an_approver_is_somebody_with_a_key(approvers: str, expected: str) -> None:
    assert expected in findings(bundle=BUNDLE.replace("{revision: small-1}", f"{{approvers: {approvers}}}"))


def test_a_key_that_is_two_approvers_is_one_person_twice() -> None:

    approvers = f"[{{name: a, key: {PUBLIC['ciso']}}}, {{name: b, key: {PUBLIC['ciso']}}}, {{name: a, key: {PUBLIC['stranger']}}}]"
    assert [
        "bundle.yaml:4: spec.approvers[1].key: this is the key of `a`: each approver has an own one",
        "bundle.yaml:4: spec.approvers[2].name: two approvers are called `a`",
    ] == findings(bundle=BUNDLE.replace("{revision: small-1}", f"{{approvers: {approvers}}}"))


def test_keys_are_read_as_pem_too() -> None:

    text = BUNDLE.replace("{revision: small-1}\n", "\n  approvers:\n")
    for name in ("duty-manager", "ciso"):
        text += f"  - name: {name}\n    key: |\n" + "".join(f"      {line}\n" for line in public_pem(name).splitlines())
    assert [] == findings(signed(glass()), bundle=text)


def test_what_was_signed_is_everything_but_how_it_is_written() -> None:
    """Times in another zone and members in another order are the same request."""
    text = signed(glass())
    assert [] == findings(text.replace("2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00"))
    for old, new in (
        ("INC-1", "INC-2"),
        ("is down", "is up"),
        ("T02", "T01"),
        ("[GET, POST]", "[GET]"),
        ("name: inc-1", "name: inc-2"),
    ):
        assert "is not for this" in findings(text.replace(old, new))[0], old
    assert "is not for this" in findings(text + "  drill: true\n")[0]


def test_an_emergency_does_not_excuse_other_documents() -> None:
    """A file that cannot be parsed may hold the approvers: they are not reported as missing."""
    assert not any("approver" in line for line in findings(signed(glass()), bundle="a: [\n"))


def test_the_bundle_counts_and_lists_what_it_declares() -> None:
    built = read_bundle(
        bundle(signed(glass()), freeze("{client: a}", "{everything: true}").replace("inc-1", "inc-2")), NoTokenCache()
    )
    assert 2 == built.snapshot.documents["Emergency"]
    listed = [(found.id, found.kind, found.what, found.approvers) for found in built.snapshot.emergencies.summaries]
    assert [
        ("inc-1", "break_glass", "u1 may GET,POST api.bank.test/api/{tenant}/loans/**", ("duty-manager", "ciso")),
        ("inc-2", "freeze_everything", "client a, everything", ()),
    ] == listed
    assert WHY in glass()


def test_what_is_over_is_a_warning_of_lint_and_activates_all_the_same() -> None:
    files = bundle(freeze("{client: a}"))
    end = int(datetime(2026, 1, 1, 2, tzinfo=UTC).timestamp())
    (found,) = lint_bundle(files, end).warnings
    assert "emergency0.yaml:8: spec.end: this is over and without effect: remove the document" == str(found)
    assert ("warning", "ended-emergency") == (found.severity, found.code)
    assert [] == lint_bundle(files, end - 1).warnings
    assert [] == read_bundle(files, NoTokenCache()).warnings


CASES = """\
apiVersion: extauthz.io/v1
kind: PolicyTest
metadata: {name: emergencies}
spec:
  cases:
  - name: whatever its time, the break glass lets the named one in
    request: {host: api.bank.test, path: /api/acme/loans/7}
    given: {emergency: inc-1}
    token: {issuer: bank, claims: {tenant_id: acme, sub: u1}}
    expect: {outcome: allow, reason: break_glass_allowed, emergency: inc-1}
  - name: nobody else
    request: {host: api.bank.test, path: /api/acme/loans/7}
    given: {emergency: inc-1}
    token: {issuer: bank, claims: {tenant_id: acme, sub: u2}}
    expect: {outcome: deny, reason: no_policy_matched, emergency: ""}
  - name: and not at other times
    request: {host: api.bank.test, path: /api/acme/loans/7}
    token: {issuer: bank, claims: {tenant_id: acme, sub: u1}}
    expect: {outcome: deny, reason: no_policy_matched}
"""
LATER = WHEN.replace("2026-01-01", "2027-03-01")


def test_policy_tests_can_be_given_an_emergency() -> None:
    built = read_bundle(bundle(signed(glass(when=LATER)), tests__staff=None, tests__cases=CASES), NoTokenCache())
    assert [(), (), ()] == [result.differences for result in run_tests(built)]


def test_policy_tests_can_name_the_time_instead() -> None:
    text = CASES.replace("spec:\n", "spec:\n  now: 2027-03-01T01:00:00Z\n").replace(
        "    given: {emergency: inc-1}\n", ""
    )
    built = read_bundle(bundle(signed(glass(when=LATER)), tests__staff=None, tests__cases=text), NoTokenCache())
    last = ("outcome: expected `deny`, got `allow`", "reason: expected `no_policy_matched`, got `break_glass_allowed`")
    assert [(), (), last] == [result.differences for result in run_tests(built)]


def test_an_emergency_that_a_case_names_must_be_there() -> None:
    (first, second) = findings(tests__cases=CASES.replace("inc-1}", "inc-9}", 2).split("  - name: nobody")[0])
    assert first.startswith("tests/cases.yaml:8: spec.cases[0].given.emergency: unknown emergency `inc-9`")
    assert second.startswith("tests/cases.yaml:10: spec.cases[0].expect.emergency: unknown emergency `inc-9`")
