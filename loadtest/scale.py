"""A whole bundle of 10,000 policies and 1,000 tenants: seconds to load it, and what a whole decision costs over it.

The cost is compared with that over a bundle of 10 policies and 3 tenants, in one process, A B A B. A decision here is
everything between the bytes of Envoy's question and those of the answer, with a token that was verified before. Exits
with 1 when loading takes too long or the ratio is above the limit, which leaves room for noise above the goal.
"""

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable
from statistics import median

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from msgspec import Struct

from extauthz.bundle import BundleError, read_bundle
from extauthz.check import decide
from extauthz.snapshot import Snapshot
from extauthz.sources.token_cache import GenerationalTokenCache
from extauthz.wire import AnswerContext, InboundOptions, OutboundOptions, read_check, write_answer

GOAL = 1.10
BATCH = 600  # decisions measured at a time
SMALL = (10, 3)
FILE_SIZE = 100  # policies to a file
ISSUER = "https://login.bank.example/realms/bank"
KEY = ec.generate_private_key(ec.SECP256R1())
INBOUND, OUTBOUND = InboundOptions(), OutboundOptions()
CONTEXT = AnswerContext(decision_id="0" * 32, interaction_id="93bac548-d2de-4546-b106-880a5018460d", revision="scale")

FRAME = f"""
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {{name: login}}
spec:
  preset: keycloak
  issuer: {ISSUER}
  audiences: [bank]
  algorithms: [ES256]
  jwks: {{file: keys.json}}
  claims: {{tenant: tenant_id, roles: [roles]}}
---
apiVersion: extauthz.io/v1
kind: Tenancy
metadata: {{name: banks}}
spec: {{tenants: data.tenants}}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {{name: api}}
spec:
  match: {{hosts: [api.bank.example], paths: ["/banks/**"]}}
  authentication: {{mode: required, issuers: [login]}}
  tenancy: {{resourceTenant: [{{path: "/banks/{{tenant}}/**"}}]}}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {{name: hosts}}
spec:
  match: {{hosts: ["{{tenant}}.bank.example"]}}
  authentication: {{mode: required, issuers: [login]}}
  tenancy: {{resourceTenant: [{{host: "{{tenant}}.bank.example"}}]}}
"""


class Question(Struct, frozen=True):
    """A Check and the reason for its answer."""

    path: str
    reason: str
    host: str = "api.bank.example"


# Every one is decided by the first ten policies, so that both bundles must answer alike.
QUESTIONS = [
    Question("/banks/bank-0/limits-0/7", "policy_allowed"),
    Question("/banks/bank-0/accounts-1/7", "policy_allowed"),
    Question("/accounts-2/7/entries/3", "policy_allowed", "bank-0.bank.example"),
    Question("/banks/bank-0/reports-6", "policy_allowed"),
    Question("/banks/bank-0/reports-7", "no_policy_matched"),
    Question("/banks/bank-0/accounts-1/frozen-7", "policy_denied"),
    Question("/banks/bank-1/accounts-1/7", "tenant_mismatch"),
    Question("/banks/bank-0/nowhere", "no_policy_matched"),
]


def policy(number: int, tenants: int) -> str:
    """Of ten policies one has a condition, five are bound to a tenant, three go by role, one denies."""
    tenant, kind = f"bank-{number // 10 % tenants}", number % 10
    effect, bound, condition = "allow", tenant, ""
    caller = "roles: [teller, manager]"
    paths = f'["/banks/{{tenant}}/accounts-{kind}/{{id}}", "/accounts-{kind}/{{id}}/entries/**"]'
    match kind:
        case 0:
            paths = f'["/banks/{{tenant}}/limits-{number}/{{id}}"]'
            bound, condition = "", f"subject.claims.limit >= {number} && params.id in data.portfolio[subject.id]"
        case 6 | 7 | 8:
            # A hundred of these share a route in the large bundle and differ by the role alone.
            paths, bound, caller = f'["/banks/{{tenant}}/reports-{number % 100}"]', "", f"roles: [role-{number // 100}]"
            if kind != 6:  # noqa: PLR2004 - nobody who asks below may read the others
                caller = f"roles: [auditor-{number // 100}]"
        case 9:
            effect, paths = "deny", '["/banks/{tenant}/*/frozen-7"]'
    lines = [
        "apiVersion: extauthz.io/v1",
        "kind: AccessPolicy",
        f"metadata: {{name: policy-{number:05}}}",
        "spec:",
        f"  effect: {effect}",
        *([f"  tenant: {bound}"] if bound else []),
        '  match: {hosts: [api.bank.example, "*.bank.example"]}',
        "  rules:",
        "  - name: staff",
        f"    from: [{{{caller}}}]",
        f"    to: [{{methods: [GET, POST], paths: {paths}}}]",
        *([f'    condition: "{condition}"'] if condition else []),
    ]
    if effect == "allow" and number % 5 == 0:
        lines.append(f"    obligations: {{upstreamHeaders: {{x-desk-{number // 5 % 20}: resource.tenant}}}}")
    return "\n".join(lines)


def bundle(policies: int, tenants: int) -> dict[str, bytes]:
    """The files."""
    public = {
        **json.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key())),
        "kid": "k1",
        "alg": "ES256",
        "use": "sig",
    }
    files = {
        "frame.yaml": FRAME,
        "keys.json": json.dumps({"keys": [public]}),
        "data/tenants.yaml": "\n".join(f"bank-{number}: {{region: eu, cap: {number}}}" for number in range(tenants)),
        "data/portfolio.json": json.dumps(
            {f"user-{number}": [str(at) for at in range(20)] for number in range(tenants)}
        ),
    }
    for first in range(0, policies, FILE_SIZE):
        texts = [policy(number, tenants) for number in range(first, min(first + FILE_SIZE, policies))]
        files[f"policies/{first:05}.yaml"] = "\n---\n".join(texts)
    return {name: text.encode() for name, text in files.items()}


def load(policies: int, tenants: int) -> tuple[Snapshot, float]:
    """The snapshot, and the seconds from files in memory to it."""
    files = bundle(policies, tenants)
    start = time.perf_counter()
    try:
        built = read_bundle(files, GenerationalTokenCache(10_000))
    except BundleError as error:
        sys.exit(f"the generated bundle has errors: {error.findings[0]}")
    return built.snapshot, time.perf_counter() - start


def messages(now: int) -> list[tuple[bytes, Question]]:
    """The questions as Envoy asks them, with the token of one teller."""
    claims = {
        "iss": ISSUER, "aud": "bank", "sub": "user-0", "azp": "branch-app", "jti": "t-1", "iat": now, "exp": now + 3600,
        "typ": "Bearer", "tenant_id": "bank-0", "roles": ["teller", "role-0", "staff"], "scope": "openid",
        "limit": 1_000_000,
    }  # fmt: skip
    token = jwt.encode(claims, KEY, "ES256", headers={"kid": "k1"})
    found = []
    for question in QUESTIONS:
        check = CheckRequest()
        check.attributes.source.address.socket_address.address = "192.0.2.7"
        http = check.attributes.request.http
        http.id, http.method, http.path, http.host = "1", "GET", question.path, question.host
        http.scheme, http.protocol = "https", "HTTP/2"
        pseudo = {":method": "GET", ":path": question.path, ":authority": question.host}
        http.headers.update({**pseudo, "authorization": f"Bearer {token}", "user-agent": "scale/1", "accept": "*/*"})
        found.append((check.SerializeToString(), question))
    return found


def answer(raw: bytes, world: Snapshot, now: int) -> bytes:
    """A whole decision."""
    return write_answer(decide(read_check(raw, INBOUND), world, now), CONTEXT, OUTBOUND)


def check_answers(world: Snapshot, asked: list[tuple[bytes, Question]], now: int) -> None:
    """End here unless every answer is the expected one, from the second time on with the token from the cache."""
    for raw, question in (*asked, *asked):
        decision = decide(read_check(raw, INBOUND), world, now)
        if decision.reason.code != question.reason:
            sys.exit(f"{question.host}{question.path}: expected {question.reason}, found {decision.reason.code}")


def measure(world: Snapshot, asked: list[tuple[bytes, Question]], now: int) -> float:
    """Microseconds per decision."""
    start = time.perf_counter()
    for _ in range(BATCH // len(asked)):
        for raw, _question in asked:
            answer(raw, world, now)
    return (time.perf_counter() - start) / (BATCH // len(asked) * len(asked)) * 1e6


def compare(small: Callable[[], float], large: Callable[[], float], rounds: int) -> tuple[float, float, float]:
    """Medians of both, and of their ratios round by round."""
    few, many = [], []
    for _ in range(rounds):
        few.append(small())
        many.append(large())
    return median(few), median(many), median(b / a for a, b in zip(few, many, strict=True))


def main() -> int:
    """Load, compare and print; 0 when within the limits."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--policies", type=int, default=10_000, help="of the large bundle (default: 10000)")
    options.add_argument("--tenants", type=int, default=1_000, help="of the large bundle (default: 1000)")
    options.add_argument("--rounds", type=int, default=31, help="measurements of each bundle (default: 31)")
    options.add_argument(
        "--max-ratio", type=float, default=1.25, help=f"fail above (default: 1.25; the goal is {GOAL})"
    )
    options.add_argument("--max-seconds", type=float, default=5.0, help="fail when loading takes longer (default: 5)")
    given = options.parse_args()
    large, seconds = load(given.policies, given.tenants)
    small, _ = load(*SMALL)
    size = f"{given.policies:,} policies and {given.tenants:,} tenants"
    print(f"{size} loaded in {seconds:.2f} s")
    now = int(time.time())
    asked = messages(now)
    for world in (small, large):
        check_answers(world, asked, now)
    gc.collect()
    gc.freeze()
    few, many, ratio = compare(
        lambda: measure(small, asked, now), lambda: measure(large, asked, now), rounds=given.rounds
    )
    print(f"a decision over {SMALL[0]} policies and {SMALL[1]} tenants: {few:.1f} us, over {size}: {many:.1f} us")
    print(f"ratio {ratio:.3f} (goal: below {GOAL:.2f}, limit: {given.max_ratio:.2f})")
    failures = []
    if seconds > given.max_seconds:
        failures.append(f"loading took {seconds:.2f} s, at most {given.max_seconds:.2f} s are allowed")
    if ratio > given.max_ratio:
        failures.append(f"a decision costs {ratio:.3f} times as much, at most {given.max_ratio:.2f} is allowed")
    for failure in failures:
        print(f"FAILED: {failure}")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
