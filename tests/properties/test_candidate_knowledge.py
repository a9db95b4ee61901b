"""What is known of a candidate from earlier Checks changes nothing that is found: each is compared as if it were the first."""

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import extauthz.beside.beside
import extauthz.beside.weigh
from extauthz.beside.known import Agreed, Disagreed, Known, Open
from extauthz.bundle import BundleError
from extauthz.guards import NOTHING_LISTED, AsListed, Entry, Listed, listed
from extauthz.identity import NonceKeys
from extauthz.wire.twin import Check, Peer, build_check
from tests.unit.beside.bench import (
    ISSUER,
    PROFILES,
    READERS,
    Bench,
    bound_token,
    bundle,
    fixed_ids,
    proof,
    token,
)
from tests.unit.policy.generated import SPECS

BOUND = bound_token(roles=["clerk"])
CALLERS = [
    *(f"Bearer {token(sub=name, roles=roles)}" for name in ("alice", "bob") for roles in (["clerk"], ["officer"])),
    f"Bearer {token(sub='carl', roles=['clerk'], limit=50)}",
    f"Bearer {token(sub='dora', roles=['clerk'], client_id='other-app')}",
    f"Bearer {token(sub='eve', roles=['officer'], scope='openid payments')}",
    f"Bearer {token(exp=1_799_999_000, iat=1_799_998_000)}",
    "",
]
CALLING = [build_check(Check(host="api.test", headers=(("authorization", caller),))) for caller in CALLERS if caller]
PATHS = ["/accounts/1", "/accounts/2", "/Accounts/1", "/api/c1", "/api/x", "/x", "/admin"]
PEERS = ["", "spiffe://td/ns/a/sa/b", "spiffe://td/ns/web/sa/front"]
LINES = [(), (("x-said", "yes"),), (("x_said", "no"),), (("x-more", "1"),), (("x-said", "x" * 9000), ("x-more", "1"))]


numbers = itertools.count()


def a_rule(effect: str, **more: Any) -> str:
    """A policy with one rule."""
    document = {"apiVersion": "extauthz.io/v1", "kind": "AccessPolicy", "metadata": {"name": f"own-{next(numbers)}"}}
    return yaml.safe_dump({**document, "spec": {"effect": effect, "rules": [{"name": "only", **more}]}})


# For each attribute that a rule can tell apart, and each way in which answers can differ.
RULES = [
    READERS,
    READERS.replace("methods: [GET], ", "").replace("readers", "all"),
    a_rule("allow", to=[{"paths": ["/**"]}]),
    a_rule("allow", **{"from": [{"roles": ["clerk"]}]}, to=[{"paths": ["/**"]}]),
    a_rule("allow", **{"from": [{"clients": ["other-app"]}]}),
    a_rule("allow", **{"from": [{"scopes": ["payments"]}]}, to=[{"paths": ["/api/{id}"]}]),
    a_rule("allow", to=[{"paths": ["/api/{id}"]}], condition="params.id == 'x'"),
    a_rule("allow", to=[{"paths": ["/accounts/{id}"]}], condition="subject.claims.limit > 10"),
    a_rule("deny", to=[{"paths": ["/accounts/2"]}]),
    a_rule("deny", to=[{"paths": ["/accounts/{id}"]}], condition="params.id == '2'"),
    a_rule("deny", **{"from": [{"principals": ["td/ns/a/sa/b"]}]}),
    a_rule("deny", **{"from": [{"requestPrincipals": ["https://idp.bank.test/bob"]}]}),
    a_rule("deny", to=[{"ports": [9090]}]),
    a_rule("deny", when=[{"key": "request.headers[x-said]", "values": ["yes"]}]),
    a_rule("allow", to=[{"paths": ["/**"]}], obligations={"upstreamHeaders": {"x-more": "'1'"}}),
    a_rule("allow", to=[{"paths": ["/accounts/**"]}], obligations={"upstreamHeaders": {"x-said": "subject.id"}}),
    a_rule("allow", obligations={"upstreamHeaders": {"x-more": "request.headers['x-said']", "x-m": "'a'"}}),
    a_rule("allow", obligations={"metadata": {"who": "subject.id"}}),
]
ISSUERS = [ISSUER, ISSUER, ISSUER, ISSUER.replace("roles: [roles]", "roles: [groups]")]
PROFILE_SETS = [
    PROFILES,
    PROFILES,
    PROFILES.replace("issuers: [bank]}\n", "issuers: [bank]}\n  stepUp: {maxAge: 5m}\n", 1),
    PROFILES.replace("hosts: [open.test]", "hosts: [open.test], paths: [/accounts/**]"),
    PROFILES.replace("{mode: required, issuers: [bank]}", "{mode: optional, issuers: [bank]}"),
    PROFILES.replace("nonce: optional", "nonce: required"),
]


def _without_issuers(spec: Any) -> Any:
    """Those that it may name are not there."""
    for rule in spec["rules"]:
        for source in rule.get("from", ()):
            for name in ("issuers", "notIssuers"):
                source.pop(name, None)
        rule["from"] = [source for source in rule.get("from", ()) if source] or [{"roles": ["clerk"]}]
        for when in rule.pop("when", ()):
            rule["when"] = [{"key": when["key"], "values": ["acme", "*"]}]
    return spec


@st.composite
def bundles(draw: st.DrawFn) -> dict[str, bytes]:
    """Mostly of the rules above, so that two of them differ in little."""
    specs = [_without_issuers(spec) for spec in draw(st.lists(SPECS, max_size=1))]
    documents = [
        {"apiVersion": "extauthz.io/v1", "kind": "AccessPolicy", "metadata": {"name": f"p{number}"}, "spec": spec}
        for number, spec in enumerate(specs)
    ]
    policies = draw(st.lists(st.sampled_from(RULES), min_size=1, max_size=4, unique=True))
    text = "---\n".join([*map(yaml.safe_dump, documents), *policies])
    return bundle(text, draw(st.sampled_from(ISSUERS)), draw(st.sampled_from(PROFILE_SETS)))


@st.composite
def checks(draw: st.DrawFn) -> bytes:
    host = draw(st.sampled_from(["api.test"] * 8 + ["open.test", "proven.test"]))
    path, method = draw(st.sampled_from(PATHS)), draw(st.sampled_from(["GET", "GET", "POST"]))
    lines = [*draw(st.sampled_from(LINES))]
    if host == "proven.test":
        number = draw(st.integers(0, 3))
        lines += [("authorization", f"DPoP {BOUND}"), ("dpop", proof(BOUND, f"p-{number}", path=path))]
    elif credential := draw(st.sampled_from(CALLERS)):
        lines.append(("authorization", credential))
    source = Peer(address="10.0.0.1", principal=draw(st.sampled_from(PEERS)))
    target = Peer(address="10.0.0.2", port=draw(st.sampled_from([8080, 9090])))
    return build_check(
        Check(method=method, host=host, path=path, headers=tuple(lines), source=source, destination=target)
    )


ASKS = st.builds(lambda raws: ("ask", raws), st.lists(checks(), min_size=2, max_size=8))
STEPS = st.lists(
    ASKS
    | ASKS
    | ASKS
    | ASKS
    | st.tuples(st.sampled_from(["live", "candidate"]), st.integers(0, 2))
    | st.tuples(st.sampled_from(["frozen", "nonces", "again", "again"]), st.none()),
    min_size=8,
    max_size=25,
)
FROZEN = listed([Entry(selector="everything", value="", place="an order", until=2_000_000_000, emergency="f-1")])
used: Counter[str] = Counter()


class Ordered:
    """What is ordered at run time."""

    listed: Listed = NOTHING_LISTED

    def moment(self, now: int) -> Any:
        return AsListed().moment(now)


@contextmanager
def looking(*, plainly: bool) -> Iterator[None]:
    """Compare every Check from the beginning; else count what was known."""
    real = extauthz.beside.weigh.recall

    def recall(*arguments: Any) -> Known | None:
        known = None if plainly else real(*arguments)
        used[type(known).__name__] += known is not None
        return known

    with pytest.MonkeyPatch.context() as patched:
        for place in (extauthz.beside.beside, extauthz.beside.weigh):
            patched.setattr(place, "recall", recall)
        if plainly:
            patched.setattr(extauthz.beside.weigh, "_is_left_to_policies", lambda *_: False)
        yield


def found_by(bench: Bench) -> tuple[Any, ...]:
    """All that is said about the two bundles that are compared."""
    found = bench.found
    groups = sorted((each.change, each.policy, each.rule, each.tenant, each.count) for each in found.groups)
    return (found.digest, found.live_digest, *bench.outcome, groups)


def walk(directory: Path, pool: list[dict[str, bytes]], steps: list[Any]) -> list[Any]:
    """Everything that is found on the way, and what the journal has of it in the end."""
    orders = Ordered()
    bench = Bench(directory, pool[0], pool[1], orders=orders)
    seen: list[Any] = []
    asked: list[bytes] = []
    bench.ask_all(CALLING)  # their tokens are verified
    for number, (step, what) in enumerate(steps):
        if step == "ask":
            asked = what
        orders.listed = FROZEN if step == "frozen" else NOTHING_LISTED
        if step in {"ask", "again", "frozen"}:
            seen += [bench.ask_all(asked), bench.ask_all(asked)]
        elif step == "live":
            bench.activate(pool[what])
        elif step == "candidate":
            bench.compare(pool[what])
        else:
            bench.live.set_nonces(NonceKeys((bytes([number]) * 32,)))
        seen.append(found_by(bench))
    bench.journal.close()
    return [*seen, sorted(bench.events(), key=lambda event: event.decision_id)]  # what is known is written later


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(pool=st.lists(bundles(), min_size=3, max_size=3), steps=STEPS)
def test_what_is_found_is_the_same_as_if_every_check_were_the_first(
    pool: list[dict[str, bytes]], steps: list[Any]
) -> None:
    """Whatever the bundles, the callers, the order of requests, and what changes in between."""
    seen = []
    with TemporaryDirectory() as work, pytest.MonkeyPatch.context() as patched:
        begin = fixed_ids(patched)
        for plainly in (True, False):
            begin()
            try:
                with looking(plainly=plainly):
                    seen.append(walk(Path(work) / str(plainly), pool, steps))
            except BundleError:
                return
    assert seen[0] == seen[1]


def test_this_property_is_about_checks_that_were_known() -> None:
    assert {Agreed.__name__, Disagreed.__name__, Open.__name__} <= used.keys()
    assert min(used[each.__name__] for each in (Agreed, Disagreed, Open)) > 20, used
