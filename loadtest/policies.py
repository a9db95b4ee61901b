"""What a decision costs beside 10 and beside 10,000 policies, as a ratio of interleaved runs: A B A B.

Run `python loadtest/policies.py [--rounds N] [--max-ratio 1.10]`; exits with 1 when the ratio is above the limit.
"""

import argparse
import gc
import sys
import time
from statistics import median

import msgspec

from extauthz.model.paths import Path, canonicalise
from extauthz.model.problems import Problem
from extauthz.model.reasons import Reason
from extauthz.model.request import Facts, Peer, Request
from extauthz.model.subject import Subject
from extauthz.policy import AccessPolicySpec, NamedPolicy, Names, PolicySet, compile_policies

NOW = 1_700_000_000
TENANTS = 1_000
REPEATS = 4_000
SMALL, LARGE = 10, 10_000
DENIES = 4  # last digit of the policies that deny
RESOURCES = ("customers", "accounts", "loans", "payments", "orders")


class Headers(dict[str, str]):
    """Headers of one request."""

    def is_repeated(self, name: str) -> bool:  # noqa: ARG002
        """No header is repeated here."""
        return False

    def items(self) -> list[tuple[str, str]]:  # type: ignore[override]
        """All headers."""
        return list(super().items())


def policy(number: int) -> NamedPolicy:
    """Every second policy is bound to a tenant; every tenth has a condition, every tenth denies."""
    tenant = f"tenant-{number % TENANTS}"
    resource = f"{RESOURCES[number % len(RESOURCES)]}-{number // 10}"
    rule: dict[str, object] = {
        "name": "staff",
        "from": [{"roles": ["officer", f"role-{number % 7}"], "notTenants": ["tenant-999"]}],
        "to": [{"methods": ["GET", "POST"], "paths": [f"/api/{resource}/{{id}}", f"/api/{resource}/{{id}}/parts/**"]}],
        "when": [{"key": "request.headers[x-channel]", "values": ["mobile", "branch"]}],
    }
    if number % 10 == 0:
        rule["condition"] = f"subject.claims.limit >= {number % 500} && params.id in data.portfolio[subject.id]"
    deny = number % 10 == DENIES
    if deny:
        rule["when"] = [{"key": "request.headers[x-risk]", "values": ["high"]}]
    spec = {
        "effect": "deny" if deny else "allow",
        "tenant": tenant if number % 2 else "",
        "match": {"hosts": ["api.example.com" if number % 3 else f"{tenant}.example.com"]},
        "rules": [rule],
    }
    return NamedPolicy(f"policy-{number:05}", msgspec.convert(spec, AccessPolicySpec))


def build(count: int) -> tuple[PolicySet, float]:
    """The compiled policies and the seconds that compiling took."""
    policies = [policy(number) for number in range(count)]
    names = Names(tenants=frozenset(f"tenant-{number}" for number in range(TENANTS)))
    problems: list[list[Problem]] = [[] for _ in policies]
    data = {"portfolio": {"alice": [f"c{number}" for number in range(50)]}}
    start = time.perf_counter()
    compiled = compile_policies(policies, names, data, problems)
    seconds = time.perf_counter() - start
    errors = [problem for found in problems for problem in found if problem.severity == "error"]
    if errors:
        sys.exit(f"the generated policies have errors: {errors[0]}")
    return compiled, seconds


def requests() -> list[tuple[Request, Subject, str, Reason]]:
    """A mix that is decided alike by both sets: plain allow, allow by condition, default deny."""
    subject = Subject("https://idp.example.com", "alice", roles=("officer",), claims=b'{"limit":1000}')
    mix = []
    for raw, host, reason in (
        ("/api/loans-0/c7", "api.example.com", Reason.POLICY_ALLOWED),
        ("/api/customers-0/c7", "tenant-0.example.com", Reason.POLICY_ALLOWED),
        ("/api/payments-0/c7/parts/1/2?amount=5", "api.example.com", Reason.POLICY_ALLOWED),
        ("/api/orders-0/c7", "api.example.com", Reason.NO_POLICY_MATCHED),
        ("/nowhere", "api.example.com", Reason.NO_POLICY_MATCHED),
    ):
        path = canonicalise(raw)
        if not isinstance(path, Path):
            sys.exit(f"not a canonical path: {raw}")
        headers = Headers({"x-channel": "mobile", "user-agent": "bench"})
        request = Request(
            Facts(), "GET", host, 0, "https", path.text, path.segments, path.query, headers, Peer(), Peer()
        )
        mix.append((request, subject, "", reason))
    return mix


def run(policies: PolicySet, mix: list[tuple[Request, Subject, str, Reason]]) -> float:
    """Microseconds per decision."""
    start = time.perf_counter()
    for _ in range(REPEATS // len(mix)):
        for request, subject, tenant, _reason in mix:
            policies.evaluate(request, subject, tenant, NOW)
    return (time.perf_counter() - start) / REPEATS * 1e6


def main() -> int:
    """Compare and print; 0 when within the limit."""
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--max-ratio", type=float, default=1.10)
    given = options.parse_args()
    small, _ = build(SMALL)
    large, seconds = build(LARGE)
    mix = requests()
    for request, subject, tenant, reason in mix:
        for policies in (small, large):
            found = policies.evaluate(request, subject, tenant, NOW).reason
            if found is not reason:
                sys.exit(f"{request.host}{request.path}: expected {reason.code}, found {found.code}")
    gc.collect()
    gc.freeze()
    ratios, few, many = [], [], []
    for _ in range(given.rounds):
        few.append(run(small, mix))
        many.append(run(large, mix))
        ratios.append(many[-1] / few[-1])
    ratio = median(ratios)
    print(f"{LARGE:,} policies compiled in {seconds:.2f} s")
    print(
        f"a decision beside {SMALL}: {median(few):.1f} us, beside {LARGE:,}: {median(many):.1f} us, ratio {ratio:.3f}"
    )
    return int(ratio > given.max_ratio)


if __name__ == "__main__":
    sys.exit(main())
