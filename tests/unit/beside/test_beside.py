"""What a candidate can be compared on, what it cannot, and that it touches nothing that decides."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import extauthz.beside.tally
import extauthz.identity
import extauthz.identity.access_token
from extauthz.beside.budget import Budget
from extauthz.guards import AsListed, Entry, listed
from extauthz.model.decision import IntrospectToken, Question
from tests.unit.beside.bench import ISSUER, PROFILES, READERS, Bench, a_check, bound_token, bundle, proof, token

NOBODY = READERS.replace("effect: allow", "effect: deny")
NOTHING = READERS.replace("/accounts/**", "/elsewhere/**")
ALL = READERS.replace("methods: [GET], ", "")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(candidate: dict[str, bytes] | None = None, live: dict[str, bytes] | None = None, **options: Any) -> Bench:
        made.append(Bench(tmp_path / str(len(made)), live or bundle(), candidate, **options))
        return made[-1]

    yield make
    for each in made:
        each.journal.close()


# --- identities


@pytest.fixture
def verified(monkeypatch) -> list[str]:
    """Every signature of a token that is verified, by its algorithm."""
    found: list[str] = []
    real = extauthz.identity.access_token.verify_signature

    def verify(algorithm: str, *more: Any) -> bool:
        found.append(algorithm)
        return real(algorithm, *more)

    monkeypatch.setattr(extauthz.identity.access_token, "verify_signature", verify)
    return found


@pytest.mark.parametrize("tokens", [1000, 0], ids=["tokens are kept", "no token is kept"])
def test_a_verified_caller_is_taken_over_and_no_signature_is_verified_again(bench, verified, tokens: int) -> None:
    found = bench(bundle(NOBODY), tokens=tokens)
    assert found.ask(a_check(credential=f"Bearer {token()}")).allowed
    assert (1, {"allow_to_deny": 1}, 0, {}) == found.outcome
    assert ["ES256"] == verified


OTHER_AUDIENCE = ISSUER.replace("audiences: [bank]", "audiences: [shop]")
NO_ROLES = ISSUER.replace("roles: [roles]", "roles: [groups]")


@pytest.mark.parametrize(
    ("changed", "expected"), [(OTHER_AUDIENCE, {"allow_to_deny": 2}), (NO_ROLES, {"obligations": 2})]
)
def test_a_candidate_with_another_issuer_document_verifies_a_token_once_for_itself(
    bench, verified, changed: str, expected: dict[str, int]
) -> None:
    """With the keys that are here; what it verified is kept where no live decision finds it."""
    found = bench(bundle(issuer=changed))
    raw = a_check(credential=f"Bearer {token()}")
    assert found.ask(raw).allowed
    kept = len(found.tokens)
    assert found.ask(raw).allowed
    assert (2, expected, 0, {}) == found.outcome
    assert kept == len(found.tokens)
    assert len(verified) == (2 if changed is NO_ROLES else 3)  # a refused token is kept nowhere


def test_a_token_that_only_the_candidate_accepts_would_pass(bench) -> None:
    found = bench(bundle(issuer=OTHER_AUDIENCE))
    raw = a_check(credential=f"Bearer {token(aud='shop')}")
    for _ in range(2):
        assert "token_audience_refused" == found.ask(raw).metadata["reason"]
    assert (2, {"deny_to_allow": 2}, 0, {}) == found.outcome


def test_a_forged_token_is_refused_alike_and_verified_once(bench, verified) -> None:
    """By the same keys, whatever else the document says."""
    found = bench(bundle(issuer=OTHER_AUDIENCE))
    forged = token()[:-8] + "AAAAAAAA"
    assert "token_signature_invalid" == found.ask(a_check(credential=f"Bearer {forged}")).metadata["reason"]
    assert (1, {}, 0, {}) == found.outcome
    assert ["ES256"] == verified


@pytest.mark.parametrize(
    "changed",
    [
        ISSUER.replace("/certs", "/other-certs"),
        ISSUER.replace("algorithms: [ES256]", "algorithms: [ES256, PS256]"),
        ISSUER.replace("issuer: https://idp.bank.test", "issuer: https://other.bank.test"),
    ],
    ids=["keys from elsewhere", "other keys of the set", "another iss"],
)
def test_where_other_keys_would_be_fetched_a_token_says_nothing_about_the_candidate(bench, changed: str) -> None:
    found = bench(bundle(issuer=changed))
    assert found.ask(a_check(credential=f"Bearer {token()}")).allowed
    assert (0, {}, 0, {"credential": 1}) == found.outcome
    assert 1.0 == found.found.incomparable


def test_a_token_of_an_issuer_that_only_the_candidate_knows_says_nothing(bench) -> None:
    second = ISSUER.replace("name: bank", "name: second").replace("idp.bank.test", "second.test")
    both = PROFILES.replace("issuers: [bank]", "issuers: [bank, second]")
    found = bench(bundle(issuer=f"{NO_ROLES}---{second}", profiles=both))
    raw = a_check(credential=f"Bearer {token(iss='https://second.test')}")
    assert "token_issuer_refused" == found.ask(raw).metadata["reason"]
    assert (0, {}, 0, {"credential": 1}) == found.outcome


def test_a_refused_token_is_refused_alike_where_the_candidate_s_profile_accepts_its_issuer(bench) -> None:
    found = bench(bundle(NOBODY))
    expired = token(exp=1_799_999_000, iat=1_799_998_000)
    assert "token_expired" == found.ask(a_check(credential=f"Bearer {expired}")).metadata["reason"]
    assert (1, {}, 0, {}) == found.outcome
    found.compare(
        bundle(
            profiles=PROFILES.replace(
                "hosts: [api.test]}\n  authentication: {mode: required, issuers: [bank]}",
                "hosts: [api.test]}\n  authentication: {mode: none}",
            )
        )
    )
    found.ask(a_check(credential=f"Bearer {expired}"))
    assert (1, {"deny_to_allow": 1}, 0, {}) == found.outcome  # it would not even look


def test_a_candidate_that_asks_nobody_who_calls_changes_what_upstreams_are_told(bench) -> None:
    found = bench(
        bundle(
            profiles=PROFILES.replace(
                "hosts: [api.test]}\n  authentication: {mode: required, issuers: [bank]}",
                "hosts: [api.test]}\n  authentication: {mode: none}",
            )
        )
    )
    found.ask(a_check(credential=f"Bearer {token()}"))
    assert {"obligations": 1} == found.outcome[1]


# --- what is used up


def test_dp_17_a_proof_is_used_up_once_by_the_live_bundle_alone(bench) -> None:
    """Its first use is one for the candidate too, its second none; neither is looked up a second time."""
    bound = bound_token()
    found = bench(bundle())
    raw = a_check("/accounts/1", "proven.test", f"DPoP {bound}", ("dpop", proof(bound)))
    assert found.ask(raw).allowed
    assert 1 == len(found.replay)
    assert "proof_replayed" == found.ask(raw).metadata["reason"]
    assert (2, {}, 0, {}) == found.outcome
    assert (1, 1) == (len(found.replay), found.replay.status().replayed)


def test_a_proof_that_the_live_bundle_never_came_to_is_new_and_stays_so(bench) -> None:
    bound = bound_token()
    found = bench(bundle(), live=bundle(NOTHING))
    raw = a_check("/accounts/1", "proven.test", f"DPoP {bound}", ("dpop", proof(bound)))
    assert not found.ask(raw).allowed
    assert (1, {"deny_to_allow": 1}, 0, {}) == found.outcome
    assert 0 == len(found.replay)
    found.activate(bundle())
    assert found.ask(raw).allowed  # the candidate did not use it up


def test_no_token_of_the_candidate_s_is_kept(bench) -> None:
    found = bench(bundle(NOBODY))
    raw = a_check(credential=f"Bearer {token()}")
    found.ask(raw)
    before = len(found.tokens)
    found.ask(raw)
    assert before == len(found.tokens)
    assert 2 == found.outcome[0]


# --- introspection


INTROSPECTED = ISSUER.replace(
    '  jwks: {uri: "https://idp.bank.test/certs"}',
    "  introspection: {endpoint: https://idp.bank.test/introspect, only: true}",
)
SAID = b'{"active":true,"iss":"https://idp.bank.test","sub":"alice","client_id":"app","exp":1800000300,"roles":["reader"],"aud":"bank"}'


class Oracle:
    """An issuer's answers, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def recall(self, question: Question) -> None:
        return None

    def ask(self, question: Question, deadline: float | None) -> bytes | None:
        self.asked += 1
        return SAID if isinstance(question, IntrospectToken) else None


def test_int_01_what_the_issuer_said_is_used_again_and_nobody_is_asked(bench) -> None:
    oracle = Oracle()
    found = bench(bundle(NOBODY, INTROSPECTED), live=bundle(issuer=INTROSPECTED), outside=oracle)
    assert found.ask(a_check(credential="Bearer opaque-1")).allowed
    assert (1, {"allow_to_deny": 1}, 0, {}) == found.outcome
    assert 1 == oracle.asked


def test_int_01_a_candidate_that_would_ask_another_issuer_is_not_compared(bench) -> None:
    oracle = Oracle()
    other = INTROSPECTED.replace("idp.bank.test/introspect", "other.bank.test/introspect")
    found = bench(bundle(NOBODY, other), live=bundle(issuer=INTROSPECTED), outside=oracle)
    assert found.ask(a_check(credential="Bearer opaque-1")).allowed
    assert (0, {}, 0, {"introspection": 1}) == found.outcome
    assert 1 == oracle.asked


# --- failures


def test_a_candidate_that_fails_is_counted_recorded_and_logged_once(bench, caplog) -> None:
    found = bench(bundle())
    world = found.held.latest
    assert world is not None

    class Broken:
        kinds, policies = world.policies.kinds, world.policies.policies  # what a snapshot looks at when it is made

        def __getattr__(self, name: str) -> None:
            message = "secret of a client"
            raise KeyError(message)

    found.held.latest = replace(world, policies=Broken())
    for _ in range(3):
        assert found.ask(a_check(credential=f"Bearer {token()}")).allowed
    assert (0, {}, 3, {}) == found.outcome
    events = found.events()
    assert ["KeyError at test_beside.py"] * 3 == [event.error.partition(":")[0] for event in events]
    assert {""} == {event.change for event in events}
    assert 1 == caplog.text.count("the candidate")
    assert "secret of a client" not in caplog.text + "".join(event.error for event in events)


def test_a_metric_or_journal_that_fails_reaches_no_answer(bench, monkeypatch, caplog) -> None:
    found = bench(bundle(NOBODY))

    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(found.metrics, "candidate_checks", fail)
    monkeypatch.setattr(found.metrics, "candidate_skipped", fail)
    assert found.ask(a_check(credential=f"Bearer {token()}")).allowed
    monkeypatch.setattr(found.beside, "offer", fail)
    assert found.ask(a_check(credential=f"Bearer {token()}")).allowed
    assert "comparing with the candidate failed" in caplog.text
    assert "a check could not be compared" in caplog.text


def test_disagreements_that_the_journal_does_not_take_are_counted(bench) -> None:
    found = bench(bundle(NOBODY))
    found.leave(a_check(host="open.test"))
    found.journal.close()
    found.spare()
    assert {"allow_to_deny": 1} == found.outcome[1]
    assert 1 == found.found.unrecorded


# --- bounds


def test_what_is_large_is_not_kept_waiting(bench) -> None:
    found = bench(bundle())
    found.ask(a_check("/accounts/1", "open.test", "", ("x-long", "x" * (300 << 10))))
    assert (0, {}, 0, {"large": 1}) == found.outcome


def test_a_queue_that_is_not_worked_off_skips_the_rest(bench) -> None:
    found = bench(bundle(NOBODY))
    raw = a_check(host="open.test")
    found.ask(raw)
    for _ in range(200):
        found.leave(raw)
    assert {"queue": 72} == found.found.skipped
    found.spare()
    assert 129 == found.outcome[0]


def test_who_waited_for_too_long_is_not_compared(bench) -> None:
    found = bench(bundle(NOBODY))
    found.ask(a_check(host="open.test"))
    found.leave(a_check(host="open.test"))
    found.now += 5.5
    found.spare()
    assert (1, {"late": 1}) == (found.outcome[0], found.outcome[3])


def test_a_candidate_that_had_its_share_is_asked_no_more_until_others_have_worked() -> None:
    spent = 0.0
    budget = Budget(0.5, lambda: spent)
    while not budget.is_spent:
        budget.spend(0.01)
        spent += 0.01
    assert 0.2 <= budget.spent < 0.22
    spent += 0.1  # of others
    assert not budget.is_spent
    for _ in range(6):
        budget.spend(0.01)
        spent += 0.01
    assert budget.is_spent
    assert 0.25 <= budget.spent < 0.28


@pytest.mark.parametrize("share", [0.1, 0.35, 1.0])
def test_over_any_stretch_it_gets_its_share_and_a_fifth_of_a_second_at_most(share: float) -> None:
    spent = 0.0
    budget = Budget(share, lambda: spent)
    others = 0.0
    for _ in range(20_000):
        others += 100e-6
        spent += 100e-6
        if not budget.is_spent:
            budget.spend(200e-6)
            spent += 200e-6
        assert budget.spent <= 0.2 + share * others + 1e-3
    assert budget.spent >= share * others


def test_without_a_share_left_checks_are_skipped(bench) -> None:
    found = bench(bundle(NOBODY))
    found.beside.budget = Budget(1e-9, lambda: 0.0)
    found.beside.budget.spend(1.0)
    found.ask(a_check(host="open.test"))
    assert 1 == found.metrics._shards.total().counts["candidate_skipped", "share"]
    assert 0 == found.outcome[0]


# --- what changes meanwhile


def test_a_check_that_another_bundle_decided_is_not_held_against_this_one(bench) -> None:
    found = bench(bundle())
    found.ask(a_check(host="open.test"))
    found.leave(a_check(host="open.test"))
    found.activate(bundle(NOTHING))
    found.spare()
    assert 1 == found.metrics._shards.total().counts["candidate_skipped", "changed"]
    assert 0 == found.outcome[0]  # the pair is another


def test_new_keys_are_no_new_comparison(bench) -> None:
    found = bench(bundle(NOBODY))
    raw = a_check(credential=f"Bearer {token()}")
    found.ask(raw)
    live = found.live.latest
    assert live is not None
    found.live.set_keys("bank", replace(live.keys["bank"], version=b"v" * 32))
    found.ask(raw)
    assert (2, {"allow_to_deny": 2}, 0, {}) == found.outcome


def test_a_freeze_holds_for_both_and_one_that_comes_in_between_is_no_disagreement(bench) -> None:
    entry = Entry(selector="everything", value="", place="an order", until=2_000_000_000, emergency="f-1")

    class Orders:
        listed = listed([])

        def moment(self, now: int) -> Any:
            return AsListed().moment(now)

    orders = Orders()
    found = bench(bundle(), orders=orders)
    raw = a_check(host="open.test")
    assert found.ask(raw).allowed
    orders.listed = listed([entry])
    assert not found.ask(raw).allowed
    assert (2, {}, 0, {}) == found.outcome
    orders.listed = listed([])
    found.leave(raw)
    orders.listed = listed([entry])
    found.spare()
    assert (2, {}, 0, {"changed": 1}) == found.outcome


# --- what has no part in it


def test_what_no_bundle_has_a_say_in_is_not_counted(bench) -> None:
    found = bench(bundle(NOBODY))
    assert "path_ambiguous" == found.ask(a_check("/accounts/%2e%2e/x", "open.test")).metadata["reason"]
    assert "request_malformed" == found.ask(b"\xff\xff").metadata["reason"]
    assert (0, {}, 0, {}) == found.outcome


def test_an_undecided_live_answer_says_nothing_about_the_candidate(bench) -> None:
    found = bench(bundle())
    found.ask(a_check(host="open.test"))
    found.live.set_keys("bank", extauthz.identity.NO_KEYS)
    assert "keys_unavailable" == found.ask(a_check(credential=f"Bearer {token()}")).metadata["reason"]
    assert (1, {}, 0, {"undecided": 1}) == found.outcome


def test_an_allow_that_could_not_be_written_would_be_refused(bench) -> None:
    """T-40: what would be answered is compared, not what the rule wanted."""
    said = ", ".join(f"x-note-{number}: \"request.headers['x-said']\"" for number in range(5))
    unsafe = f"{ALL}    obligations: {{upstreamHeaders: {{{said}}}}}\n"
    found = bench(bundle(unsafe))
    assert found.ask(a_check("/accounts/1", "open.test", "", ("x-said", "fine"))).allowed
    assert found.ask(a_check("/accounts/1", "open.test", "", ("x-said", "x" * 4_000))).allowed
    assert {"obligations": 1, "allow_to_deny": 1} == found.outcome[1]
    assert {("allow_to_deny", "internal_error"), ("obligations", "policy_allowed")} == {
        (event.change, event.reason) for event in found.events()
    }


def test_many_tenants_and_rules_are_one_group_when_there_are_too_many(bench, monkeypatch) -> None:
    monkeypatch.setattr(extauthz.beside.tally, "_MAX_GROUPS", 1)
    found = bench(
        bundle(
            NOBODY
            + "---"
            + READERS.replace("readers", "others")
            .replace("/accounts/**", "/more/**")
            .replace("effect: allow", "effect: deny")
        ),
        live=bundle(READERS.replace("/accounts/**", "/**")),
    )
    for path in ("/accounts/1", "/more/1", "/more/2"):
        found.ask(a_check(path, "open.test"))
    groups = [(group.policy, group.count) for group in found.found.groups]
    assert [("other", 2), ("readers", 1)] == groups
