"""A decision point in memory with a candidate beside it: whatever it keeps can be looked at."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jwt

import extauthz.handler
from extauthz.beside import Beside, BesideOptions
from extauthz.bundle import read_bundle
from extauthz.handler import Handler, HandlerOptions
from extauthz.identity import NonceKeys, parse_jwks
from extauthz.journal import Journal, JournalIdentity, JournalOptions
from extauthz.journal.candidates import CandidateEvent, read_candidate
from extauthz.journal.chain import parse_line
from extauthz.model.ports import NoTokenCache
from extauthz.questions import Outside
from extauthz.sources import GenerationalTokenCache, Live, Ports
from extauthz.sources.replay_store import MemoryReplayStore
from extauthz.telemetry import Metrics, MetricsOptions
from extauthz.transport import Arrival
from extauthz.wire import InboundOptions, OutboundOptions, settle
from extauthz.wire.twin import Answer, Check, build_check, read_answer
from tests.engine import EC_KEY, PUBLIC
from tests.unit.identity.proofs import a_proof, hash_of, thumbprint_of
from tests.unit.identity.tokens import EC

NOW = 1_800_000_000.0
ISSUER = """
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {name: bank}
spec:
  issuer: https://idp.bank.test
  audiences: [bank]
  algorithms: [ES256]
  claims: {roles: [roles]}
  jwks: {uri: "https://idp.bank.test/certs"}
"""
PROFILES = """
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: open}
spec:
  match: {hosts: [open.test]}
  authentication: {mode: none}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: api}
spec:
  match: {hosts: [api.test]}
  authentication: {mode: required, issuers: [bank]}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {name: proven}
spec:
  match: {hosts: [proven.test]}
  authentication: {mode: required, issuers: [bank]}
  senderConstraint: {accept: [dpop], dpop: {nonce: optional}}
"""
READERS = """
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {name: readers}
spec:
  effect: allow
  rules:
  - name: public
    from: [{notRoles: [nobody]}]
    to: [{methods: [GET], paths: [/accounts/**]}]
"""


def bundle(policies: str = READERS, issuer: str = ISSUER, profiles: str = PROFILES) -> dict[str, bytes]:
    """The files of a bundle."""
    return {"issuer.yaml": issuer.encode(), "profiles.yaml": profiles.encode(), "policies.yaml": policies.encode()}


class Bench:
    """A handler, what it keeps, and a candidate if there is one."""

    def __init__(
        self,
        directory: Path,
        live: Mapping[str, bytes],
        candidate: Mapping[str, bytes] | None = None,
        *,
        sample: float = 1.0,
        orders: Any = None,
        outside: Outside | None = None,
        tokens: int = 1000,
    ) -> None:
        self.now = NOW
        self.tokens = GenerationalTokenCache(tokens) if tokens else NoTokenCache()
        self.replay = MemoryReplayStore(10_000, self.clock)
        more = {} if orders is None else {"orders": orders}
        self.live = Live(Ports(self.tokens, self.replay, NonceKeys((b"n" * 32,)), **more))
        self.held = Live()
        self.activate(live)
        self.journal = Journal(
            JournalOptions(directory=str(directory)), JournalIdentity(instance="bench", boot="1"), self.clock
        )
        self.directory = directory
        self.metrics = Metrics(MetricsOptions(), self.clock)
        settings = HandlerOptions(InboundOptions(), OutboundOptions())
        asked = () if outside is None else (outside,)
        self.handler = Handler(
            self.live, self.journal, [self.metrics.observe], settings, self.clock, self.metrics.shed, *asked
        )
        self.beside: Beside | None = None
        if candidate is not None:
            self.compare(candidate)
            self.beside = self.handler.beside = Beside(
                self.live, self.held, BesideOptions(sample, 1e9), partial(settle, options=OutboundOptions()),
                self.journal, self.metrics, self.clock,
            )  # fmt: skip

    def clock(self) -> float:
        return self.now

    def activate(self, files: Mapping[str, bytes]) -> None:
        built = read_bundle(files, NoTokenCache())
        self.live.activate(built.snapshot, built.issuers)
        for issuer in built.issuers:
            jwks = {"keys": [{**PUBLIC["ES256"], "kid": "k1", "alg": "ES256", "use": "sig"}]}
            keys, dropped = parse_jwks(json.dumps(jwks).encode(), issuer)
            assert [] == dropped
            self.live.set_keys(issuer.name, keys)

    def compare(self, files: Mapping[str, bytes]) -> None:
        built = read_bundle(files, NoTokenCache())
        self.held.activate(built.snapshot, built.issuers)

    def ask(self, raw: bytes) -> Answer:
        """One Check, and then what can wait."""
        answer = read_answer(self.handler.answer(Arrival(raw)))
        self.spare()
        return answer

    def leave(self, raw: bytes) -> Answer:
        """One Check; what can wait, waits."""
        return read_answer(self.handler.answer(Arrival(raw)))

    def ask_all(self, raws: Sequence[bytes]) -> list[bytes]:
        """All at the same time."""
        answers = self.handler.answer_all([Arrival(raw) for raw in raws])
        found = []
        for answer in answers:
            while not isinstance(answer, bytes):
                answer = answer()  # noqa: PLW2901 - until it is one
            found.append(answer)
        self.spare()
        return found

    def spare(self) -> None:
        while self.beside is not None and self.beside.waiting:
            self.beside.do()

    @property
    def found(self) -> Any:
        assert self.beside is not None
        comparison = self.beside.comparison()
        assert comparison is not None
        return comparison

    @property
    def outcome(self) -> tuple[int, dict[str, int], int, dict[str, int]]:
        """Compared, what would change, failed, skipped."""
        found = self.found
        return found.compared, found.changes, found.errors, found.skipped

    def events(self) -> list[CandidateEvent]:
        lines = [line for file in sorted(self.directory.glob("*.ndjson")) for line in file.read_bytes().splitlines()]
        records = [record for line in lines if (record := parse_line(line))]
        return [event for record in records if (event := read_candidate(bytes(record.event))) is not None]

    def decisions(self) -> list[Any]:
        """What the journal says about decisions, in its order."""
        lines = [line for file in sorted(self.directory.glob("*.ndjson")) for line in file.read_bytes().splitlines()]
        events = [json.loads(line)["event"] for line in lines]
        return [event["decision"] for event in events if "decision" in event]


def token(**claims: Any) -> str:
    usual = {
        "iss": "https://idp.bank.test", "aud": "bank", "sub": "alice", "client_id": "app", "jti": "t", "iat": int(NOW),
        "exp": int(NOW) + 300, "roles": ["reader"],
    }  # fmt: skip
    return jwt.encode({**usual, **claims}, EC_KEY, "ES256", headers={"kid": "k1", "typ": "at+jwt"})


def bound_token(**claims: Any) -> str:
    return token(cnf={"jkt": thumbprint_of(EC)}, **claims)


def proof(bound: str, jti: str = "p-1", host: str = "proven.test", path: str = "/accounts/1") -> str:
    claims = {"jti": jti, "iat": int(NOW), "ath": hash_of(bound), "htu": f"https://{host}{path}", "htm": "GET"}
    return a_proof(claims)


def a_check(
    path: str = "/accounts/1", host: str = "api.test", credential: str = "", *more: tuple[str, str], method: str = "GET"
) -> bytes:
    headers = (("authorization", credential),) if credential else ()
    return build_check(Check(method=method, host=host, path=path, headers=(*headers, *more)))


def fixed_ids(monkeypatch: Any) -> Callable[[], None]:
    """Ids that count; the function begins anew."""
    counts = {"decision_id": itertools.count(), "interaction_id": itertools.count()}

    def begin() -> None:
        for name in counts:
            counts[name] = itertools.count()

    monkeypatch.setattr(extauthz.handler, "decision_id", lambda: f"{next(counts['decision_id']):032x}")
    monkeypatch.setattr(
        extauthz.handler, "interaction_id", lambda: f"00000000-0000-4000-8000-{next(counts['interaction_id']):012x}"
    )
    return begin
