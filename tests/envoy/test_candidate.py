"""A candidate beside the bank's bundle, behind a real Envoy: what it would change is found, and nothing is changed."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from extauthz.cli.audit import command
from extauthz.cli.demo_requests import ASKS, MANAGER, Ask
from extauthz.cli.demo_run import _send, run
from extauthz.cli.demo_stack import CHECKOUT, Issuer, Server, Stack, copy_bundle, start_server
from extauthz.cli.demo_tokens import Minter
from extauthz.journal import verify
from extauthz.journal.candidates import CandidateEvent, read_candidate
from extauthz.journal.chain import parse_line
from tests.envoy.gateway import Gateway, Launch
from tests.envoy.variants import Variant

OFFICERS = """\
  - name: officers-read-loans
    from: [{roles: [banking-officer]}]
    to: [{methods: [GET], paths: [/api/loans/**]}]
"""
# What the candidate says otherwise: file, what stands there, what stands there instead.
CHANGES = (
    ("staff.yaml", "roles: [banking-manager, banking-admin]", "roles: [banking-admin]"),
    (
        "staff.yaml",
        "  - name: customers-and-accounts\n",
        f"{OFFICERS}  - name: customers-and-accounts\n",
    ),
    ("platform.yaml", "paths: [/actuator/heapdump, /actuator/env/**]", "paths: [/actuator/env/**]"),
    ("platform.yaml", "methods: [DELETE], paths: [/api/**]", "methods: [DELETE], paths: [/api/accounts/**]"),
    ("open-banking.yaml", "        x-bank-region: data.tenants[resource.tenant].region\n", ""),
)
# By request: what changes, and the policy and rule that are named for it. All others would be answered alike.
EXPECTED = {
    "manager reads a loan": ("allow_to_deny", "staff", "loans-and-customers"),
    "spoofed identity headers are overwritten": ("allow_to_deny", "staff", "loans-and-customers"),
    "officer reads a loan": ("deny_to_allow", "staff", "officers-read-loans"),
    "admin dumps the heap: deny wins": ("deny_to_allow", "staff", "administration"),
    "manager deletes a customer": ("reason", "never", "deletion-by-others-than-admins"),
    "third party with the right financial id": ("obligations", "open-banking", "accounts"),
}
IDS = re.compile(rb"[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
RUN_BY_ENVOY = {"date", "x-envoy-upstream-service-time"}


def candidate_of(directory: Path, issuer: Issuer) -> Path:
    """The bank's bundle with those changes."""
    bundle = copy_bundle(CHECKOUT / "examples" / "banking", directory, issuer)
    for name, before, after in CHANGES:
        file = bundle / "policies" / name
        text = file.read_text()
        assert before in text, name
        file.write_text(text.replace(before, after))
    return bundle


@pytest.fixture
def compared(tmp_path: Path, issuer: Issuer) -> Iterator[Server]:
    """The bank with a candidate that is compared as a whole."""
    with ExitStack() as stack:
        bundle = copy_bundle(CHECKOUT / "examples" / "banking", tmp_path / "bundle", issuer)
        settings = [
            f"bundle.candidate.directory={candidate_of(tmp_path / 'candidate', issuer)}",
            "bundle.candidate.runTests=false",  # they are the live bundle's, and say what it decides
            "bundle.candidate.maxShare=1",
            "bundle.candidate.gate={minCompared: 1, minSeconds: 0}",
        ]
        server = start_server(tmp_path, stack, bundle, settings)
        end = time.monotonic() + 20
        while not status(server)["revision"]:  # no start waits for a candidate
            assert time.monotonic() < end
            time.sleep(0.02)
        yield server


def status(server: Server) -> Any:
    return httpx.get(f"{server.admin}/status").json()["candidate"]


def seen(server: Server) -> int:
    """How many Checks the candidate has heard of."""
    found = status(server)["comparison"]
    return found["compared"] + found["errors"] + sum(found["skipped"].values())


def events(server: Server) -> list[CandidateEvent]:
    lines = [line for file in sorted(server.journal.glob("*.ndjson")) for line in file.read_bytes().splitlines()]
    records = [record for line in lines if (record := parse_line(line))]
    return [found for record in records if (found := read_candidate(bytes(record.event))) is not None]


def until_seen(server: Server, count: int) -> None:
    end = time.monotonic() + 20
    while seen(server) < count:
        assert time.monotonic() < end, status(server)
        time.sleep(0.02)


def series(server: Server, name: str) -> dict[tuple[str, ...], float]:
    lines = httpx.get(f"{server.admin}/metrics").text.splitlines()
    found = {}
    for line in lines:
        if line.startswith(f"{name}{{"):
            labels, _, value = line.removeprefix(f"{name}{{").partition("} ")
            found[tuple(re.findall(r'"([^"]*)"', labels))] = float(value)
    return found


def test_a_candidate_disagrees_exactly_where_it_differs_and_every_request_ends_as_before(
    compared: Server, launch_envoy: Launch, issuer: Issuer, minter: Minter, upstream_port: int
) -> None:
    gateway = launch_envoy(Variant(), authz_port=compared.port)
    outcomes = run(ASKS, Stack(upstream_port, issuer, compared, gateway.envoy, gateway.log), minter)
    assert [] == [(each.ask.name, each.faults) for each in outcomes if each.faults]  # status, reason, headers, journal

    whose = {each.decision_id: each.ask.name for each in outcomes}
    has_a_say = [ask for ask in ASKS if ask.reason != "path_ambiguous"]
    until_seen(compared, len(has_a_say))
    found = {
        whose[each.decision_id]: (each.change, each.policy or each.live_policy, each.rule or each.live_rule)
        for each in events(compared)
    }
    assert EXPECTED == found
    counts: dict[tuple[str, ...], float] = {}
    for change, policy, _ in EXPECTED.values():
        counts[change, policy] = counts.get((change, policy), 0) + 1
    assert counts == series(compared, "extauthz_candidate_disagreements_total")

    shown = status(compared)
    assert {(g["change"], g["policy"], g["rule"], g["tenant"]) for g in shown["comparison"]["groups"]} == {
        (*what, "acme") for what in EXPECTED.values()
    }
    assert (0, False) == (shown["comparison"]["errors"], shown["promotable"])
    assert verify(compared.journal).ok


def bare(gateway: Gateway, ask: Ask, minter: Minter) -> tuple[int, list[tuple[str, str]], bytes]:
    """The whole answer but what differs from one request to the next."""
    answer = _send(ask, gateway.port, minter)
    headers = [
        (name, IDS.sub(b"#", value.encode()).decode()) for name, value in answer.headers if name not in RUN_BY_ENVOY
    ]
    return answer.status, headers, re.sub(rb"Bearer [\w.-]+", b"Bearer #", IDS.sub(b"#", answer.body))


def test_clients_and_upstreams_get_the_same_bytes_with_and_without(
    compared: Server, bank: Server, launch_envoy: Launch, minter: Minter
) -> None:
    with_one, without = (launch_envoy(Variant(), authz_port=server.port) for server in (compared, bank))
    for ask in ASKS:
        assert bare(without, ask, minter) == bare(with_one, ask, minter), ask.name


def test_a_policy_in_shadow_mode_is_counted_and_recorded_and_decides_nothing(
    bank: Server, launch_envoy: Launch, minter: Minter
) -> None:
    """The bank's `loans-need-strong-authentication`: who changes a loan without would be refused."""
    gateway = launch_envoy(Variant(), authz_port=bank.port)
    shadow = ("loans-need-strong-authentication", "weak", "deny", "shadow")

    def change_a_loan(acr: str) -> str:
        token = minter.mint(MANAGER.but(acr=acr).claims)
        answer = gateway.h1("/api/loans/l-17", [("authorization", f"Bearer {token}")], method="POST")
        assert 200 == answer.status
        return answer.header("x-authz-decision-id") or ""

    before = matches(bank).get(shadow, 0)
    weak, strong = change_a_loan("urn:banking:loa1"), change_a_loan("urn:banking:loa3")
    assert before + 1 == matches(bank)[shadow]
    show = ["show", str(bank.journal), "--outcome", "allow", "--shadow", shadow[0]]
    shown = [json.loads(line)["event"]["decision"] for line in CliRunner().invoke(command, show).stdout.splitlines()]
    found = {each["decision_id"]: (each["policy"], each["shadow"]) for each in shown}
    assert ("staff", [{"policy": shadow[0], "rule": "weak", "effect": "deny"}]) == found[weak]
    assert strong not in found


def matches(server: Server) -> dict[tuple[str, ...], float]:
    """Counts by policy, rule, effect and mode."""
    counted = series(server, "extauthz_policy_matches_total")
    return {(policy, rule, effect, mode): count for (effect, mode, policy, rule), count in counted.items()}
