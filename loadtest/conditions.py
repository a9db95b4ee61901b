"""What conditions cost: lowered, and by CEL's own evaluator, in interleaved runs: A B A B.

Run `python loadtest/conditions.py [--rounds N] [--max-microseconds 1.0]`; exits with 1 when a simple one is slower.
Times are those of the whole evaluation, what the condition reads of the request included; query and claims are parsed
once for all conditions of a request, and before.
"""

import argparse
import sys
import time
from collections.abc import Callable

from extauthz.model.paths import Path, canonicalise
from extauthz.model.request import Facts, Peer, Request
from extauthz.model.subject import Subject
from extauthz.policy.asked import Asked
from extauthz.policy.claims import ClaimsReader
from extauthz.policy.condition import Conditions

NOW = 1_700_000_000
REPEATS = 500
DATA = {
    "portfolio": {"alice": [f"c{number}" for number in range(50)]},
    "limits": {"officer": 500, "manager": 5000},
    "blocked": [f"user-{number}" for number in range(10_000)],
}
CLAIMS = b'{"limit":1000,"groups":["tellers","staff"],"address":{"country":"DE"},"amr":["pwd","otp"]}'
SIMPLE = (
    "subject.id == 'alice'",
    "subject.authenticated && resource.tenant == subject.tenant",
    "'officer' in subject.roles && request.method == 'GET'",
    "request.headers['x-channel'] in ['mobile', 'branch']",
    "params.id == subject.id || 'officer' in subject.roles",
    "subject.claims.limit >= 500",
    "has(subject.claims.limit) && subject.claims.limit >= 500",
    "int(request.query.amount) <= data.limits.officer",
    "params.id in data.portfolio[subject.id]",
    "!(subject.id in data.blocked)",
    "now < timestamp(subject.expires_at)",
    "now.getHours('Europe/Berlin') >= 8",
    "request.path.startsWith('/api/') && request.host.endsWith('.example.com')",
    "request.headers['x-account'].matches('^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$')",
)
LARGER = (
    "subject.roles.exists(role, role in ['officer', 'manager'])",
    "subject.claims.groups.all(group, group.startsWith('t') || group == 'staff')",
    "request.method == 'POST' ? int(request.query.amount) * 100 <= data.limits[subject.roles[0]] : subject.acr == '2'",
    """subject.tenant == resource.tenant && ('officer' in subject.roles || 'manager' in subject.roles)
    && int(request.query.amount) <= subject.claims.limit && subject.claims.address.country == 'DE'
    && now < timestamp(subject.expires_at)""",
)


class Headers(dict[str, str]):
    """Headers of one request."""

    def is_repeated(self, name: str) -> bool:  # noqa: ARG002
        """No header is repeated here."""
        return False

    def items(self) -> list[tuple[str, str]]:  # type: ignore[override]
        """All headers."""
        return list(super().items())


def question() -> Asked:
    """One request with everything that the conditions read."""
    path = canonicalise("/api/customers/c7?amount=250")
    if not isinstance(path, Path):
        sys.exit("not a canonical path")
    headers = Headers({"x-channel": "mobile", "user-agent": "bench", "x-account": "DE89370400440532013000"})
    request = Request(
        Facts(), "GET", "api.example.com", 0, "https", path.text, path.segments, path.query, headers, Peer(), Peer()
    )
    subject = Subject(
        "https://idp.example.com",
        "alice",
        tenant="acme",
        roles=("teller", "officer"),
        expires_at=NOW + 300,
        claims=CLAIMS,
    )
    asked = Asked(request, subject, "acme", NOW, ClaimsReader(["limit", "groups", "address"]))
    asked.params = {"id": "c7"}
    return asked


def run(evaluate: Callable[[Asked], object], asked: Asked) -> float:
    """Microseconds per evaluation."""
    start = time.perf_counter()
    for _ in range(REPEATS):
        evaluate(asked)
    return (time.perf_counter() - start) / REPEATS * 1e6


def main() -> int:
    """Measure and print; 0 when within the limit."""
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    options.add_argument("--rounds", type=int, default=50)
    options.add_argument("--max-microseconds", type=float, default=1.0)
    given = options.parse_args()
    conditions, asked = Conditions(DATA), question()
    over = []
    print(" lowered     by CEL   ratio  condition")
    for text in (*SIMPLE, *LARGER):
        program, flaws = conditions.condition(text)
        if program is None or program.slow:
            sys.exit(f"{text}: {flaws or program}")
        if program.value(asked) is not program.by_cel(asked) or not isinstance(program.value(asked), bool):
            sys.exit(f"{text}: {program.value(asked)} and {program.by_cel(asked)}")
        runs = [(run(program.value, asked), run(program.by_cel, asked)) for _ in range(given.rounds)]
        fast, slow = (min(side) for side in zip(*runs, strict=True))  # others on the machine only ever add
        print(f"{fast:5.2f} us  {slow:6.2f} us  {slow / fast:5.1f}x  {' '.join(text.split())}")
        if text in SIMPLE and fast > given.max_microseconds:
            over.append(text)
    for text in over:
        print(f"above {given.max_microseconds} us: {text}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
