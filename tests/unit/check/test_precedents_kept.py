"""How long precedents are kept: as long as nothing changes that they depend on, and in bounded memory."""

import gc
from pathlib import Path

from msgspec.structs import replace

from extauthz import precedents
from extauthz.identity import NO_NONCE_KEYS
from extauthz.model.reasons import Reason
from extauthz.model.subject import Subject, likeness_of
from extauthz.policy import PolicySet, Verdict
from extauthz.snapshot import ProfileIndex
from tests.engine import Engine, load
from tests.fakes import a_request
from tests.unit.policy.bench import NOW, policy_set

BANK = Path(__file__).parents[3] / "examples" / "banking"
ALICE = Subject("https://idp.test", "alice", "keycloak", "app", "acme", ("officer",))


def test_other_keys_change_no_precedent_and_another_bundle_has_its_own() -> None:
    world = Engine(load(BANK)).world
    assert world.precedents is replace(world, keys={}, nonces=NO_NONCE_KEYS).precedents
    for changed in (
        {"revision": "r2"},
        {"digest": "00"},
        {"profiles": ProfileIndex(world.profiles.profiles)},
        {"policies": PolicySet(())},
    ):
        assert world.precedents is not replace(world, **changed).precedents


def test_precedents_are_bounded_and_invisible_to_the_collector() -> None:
    """Ever other hosts and ever other callers fill no memory and cause no pause."""
    made = policy_set("{effect: allow, match: {hosts: ['*.test']}, rules: [{from: [{roles: [officer]}]}]}")
    found = precedents.Precedents((), lambda _: None, frozenset(), made)
    for number in range(precedents._MAX_STANDINGS + 100):
        request, subject = a_request(host=f"h{number % 9_000}.test"), replace(ALICE, client=f"c{number}")
        likeness = likeness_of(subject)
        assert likeness is not None
        standing = found.standing(found.route(request), likeness, request, subject, "", NOW)
        assert standing.precedent(made.judge(standing.shortlist, request, subject, "", NOW)) is not None
    assert 0 < len(found._routes) <= precedents._MAX_ROUTES
    assert precedents._MAX_STANDINGS // 4 <= len(found._standings) <= precedents._MAX_STANDINGS
    gc.collect()
    for young in (found._routes.young, found._standings.young):
        assert not any(gc.is_tracked(item) for pair in young.items() for item in pair)
    assert not any(gc.is_tracked(standing.precedents) for standing in found._standings.young.values())


def test_a_standing_keeps_so_many_verdicts_and_no_more() -> None:
    standing = precedents.Standing(policy_set("{effect: allow, rules: [{}]}").shortlist(a_request(), ALICE, "", NOW))
    verdicts = [Verdict(Reason.POLICY_ALLOWED, rule=f"r{number}") for number in range(precedents._MAX_PRECEDENTS + 1)]
    found = [standing.precedent(verdict) for verdict in verdicts]
    assert found[:-1] == [standing.precedent(verdict) for verdict in verdicts[:-1]]
    assert len(set(found[:-1])) == precedents._MAX_PRECEDENTS
    assert found[-1] is None


def test_methods_that_clients_make_up_are_not_kept() -> None:
    found = precedents.Precedents((), lambda _: None, frozenset(), policy_set("{effect: allow, rules: [{}]}"))
    assert not found.route(a_request("BREW")).is_kept
    assert 0 == len(found._routes)


def test_paths_are_told_apart_by_the_patterns_of_profiles_and_of_policies() -> None:
    made = policy_set("{effect: allow, rules: [{to: [{paths: [/api/policy]}]}]}")
    for literals in (frozenset({"profile"}), frozenset({"other"}), frozenset({"profile"})):
        found = precedents.Precedents((), lambda _: None, literals, made)
        ours = {id(found.route(a_request(path=f"/{name}"))) for name in ("x", "y", "api", "policy", *literals)}
        assert 4 == len(ours)  # `x` and `y` are named nowhere
