"""What tokens cost, as ratios of interleaved runs in one process: A B A B. And the longest that a single Check takes.

A Check here is everything between the bytes of Envoy's question and those of the answer. Every kind is compared with
the same Check whose bearer token was verified before. Exits with 1 when one Check took more processor time than the
limit, for nobody else is answered in the meantime; the ratios are reported, not judged.
"""

import argparse
import base64
import gc
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from statistics import median

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from msgspec import Struct
from msgspec.structs import replace

from extauthz.bundle import read_bundle
from extauthz.check import decide
from extauthz.identity import thumbprint
from extauthz.model.ports import NoTokenCache, TokenCache
from extauthz.snapshot import Snapshot
from extauthz.sources.replay_store import MemoryReplayStore
from extauthz.sources.token_cache import GenerationalTokenCache
from extauthz.wire import AnswerContext, InboundOptions, OutboundOptions, read_check, write_answer
from loadtest import signed

BATCH = 500  # Checks measured at a time
TOKENS = 10_000
FEW = 100
HOST = "api.bank.example"
ISSUER = "https://login.bank.example"
INBOUND, OUTBOUND = InboundOptions(), OutboundOptions()
CONTEXT = AnswerContext(decision_id="0" * 32, interaction_id="93bac548-d2de-4546-b106-880a5018460d", revision="tokens")
KEYS = {
    "rsa": rsa.generate_private_key(65537, 2048),
    "ec": ec.generate_private_key(ec.SECP256R1()),
    "ed": ed25519.Ed25519PrivateKey.generate(),
}
SIGNERS = {"RS256": "rsa", "PS256": "rsa", "ES256": "ec", "EdDSA": "ed"}
CLIENT = ec.generate_private_key(ec.SECP256R1())
HEAVY_CLIENT = rsa.generate_private_key(65537, 4096)
THIEF = ec.generate_private_key(ec.SECP256R1())

DOCUMENTS = f"""
apiVersion: extauthz.io/v1
kind: Issuer
metadata: {{name: login}}
spec:
  issuer: {ISSUER}
  audiences: [bank]
  algorithms: [RS256, PS256, ES256, EdDSA]
  jwks: {{file: keys.json}}
---
apiVersion: extauthz.io/v1
kind: SecurityProfile
metadata: {{name: api}}
spec:
  match: {{hosts: [{HOST}], paths: [/**]}}
  authentication: {{mode: required, issuers: [login]}}
---
apiVersion: extauthz.io/v1
kind: AccessPolicy
metadata: {{name: staff}}
spec:
  effect: allow
  rules:
  - name: read
    from: [{{roles: [officer], scopes: [accounts]}}]
    to: [{{methods: [GET], paths: ["/accounts/{{id}}"]}}]
"""


def jwk(key: object) -> dict[str, str]:
    """The public half of a key."""
    if isinstance(key, rsa.RSAPrivateKey):
        found = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        found = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    else:
        assert isinstance(key, ed25519.Ed25519PrivateKey)  # noqa: S101 - of three kinds the last
        found = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key()))
    return {name: found[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in found}


def files() -> dict[str, bytes]:
    """The bundle, with the issuer's keys in a file."""
    keys = [{**jwk(key), "kid": name} for name, key in KEYS.items()]
    return {"bank.yaml": DOCUMENTS.encode(), "keys.json": json.dumps({"keys": keys}).encode()}


def token(number: int, algorithm: str = "ES256", *, forged: bool = False, **more: object) -> str:
    """The access token of one of many officers."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": "bank",
        "sub": f"officer-{number}",
        "client_id": "mobile",
        "jti": f"token-{number}",
        "iat": now,
        "exp": now + 3600,
        "scope": "openid accounts payments",
        "roles": ["officer", "auditor"],
        **more,
    }
    kid = SIGNERS[algorithm]
    return jwt.encode(claims, THIEF if forged else KEYS[kid], algorithm, {"typ": "at+jwt", "kid": kid})


def proof(access_token: str, number: int, key: object = CLIENT) -> str:
    """A DPoP proof for one Check."""
    ath = base64.urlsafe_b64encode(hashlib.sha256(access_token.encode()).digest()).rstrip(b"=").decode()
    url = f"https://{HOST}/accounts/17"
    claims = {"jti": f"proof-{number}", "htm": "GET", "htu": url, "iat": int(time.time()), "ath": ath}
    algorithm = "ES256" if key is CLIENT else "PS256"
    return jwt.encode(claims, key, algorithm, {"typ": "dpop+jwt", "jwk": jwk(key)})  # type: ignore[arg-type] # either kind


def question(credential: str, dpop: str = "") -> bytes:
    """Envoy's bytes for a request with this credential."""
    check = CheckRequest()
    check.attributes.source.address.socket_address.address = "192.0.2.7"
    http = check.attributes.request.http
    http.id, http.method, http.path, http.host = "1", "GET", "/accounts/17", HOST
    http.scheme, http.protocol = "https", "HTTP/2"
    http.headers.update({":method": "GET", ":path": http.path, ":authority": HOST, "authorization": credential})
    http.headers.update({"user-agent": "bench", "accept": "*/*", "x-request-id": "7a5a2f0e"})
    if dpop:
        http.headers["dpop"] = dpop
    return check.SerializeToString()


class Kind(Struct):
    """Checks of one kind: what is asked in turn, in which world, and what must come out."""

    name: str
    asked: Iterator[bytes]
    world: Snapshot
    reason: str = "policy_allowed"


def answer(raw: bytes, world: Snapshot) -> str:
    """One whole Check."""
    asked = read_check(raw, INBOUND)
    decision = decide(asked, world, int(time.time()))
    write_answer(decision, CONTEXT, OUTBOUND)
    return decision.reason.code


def kinds(rounds: int) -> list[Kind]:
    """The first is what the others are compared with."""
    built = read_bundle(files(), NoTokenCache())
    used = (rounds + 2) * BATCH  # proofs are good for one Check each

    def world(cache: TokenCache | None = None) -> Snapshot:
        tokens = cache or GenerationalTokenCache(2 * TOKENS)
        return replace(built.snapshot, tokens=tokens, replay=MemoryReplayStore(1_000_000, time.time))

    def bearers(tokens: Sequence[str]) -> Iterator[bytes]:
        return cycle([question(f"Bearer {each}") for each in tokens])

    def proven(key: object, count: int) -> Iterator[bytes]:
        bound = token(0, cnf={"jkt": thumbprint(jwk(key))})
        return cycle([question(f"DPoP {bound}", proof(bound, number, key)) for number in range(count)])

    many = [token(number) for number in range(TOKENS)]
    uncached = [
        Kind(f"uncached {name}", bearers([token(number, name) for number in range(FEW)]), world(NoTokenCache()))
        for name in SIGNERS
    ]
    signing = replace(
        read_bundle({**files(), **signed.files()}, NoTokenCache()).snapshot,
        tokens=GenerationalTokenCache(2 * TOKENS),
        replay=MemoryReplayStore(1_000_000, time.time),
    )
    paid = [*signed.payments(many[0], used, 2048)]
    forged = [token(number, forged=True) for number in range(FEW)]
    bad_rsa = [f"{good[:-6]}AAAAAA" for good in (token(number, "PS256") for number in range(FEW))]
    return [
        Kind("cached bearer token", bearers(many[:1]), world()),
        Kind(f"{FEW:,} cached tokens in rotation", bearers(many[:FEW]), world()),
        Kind(f"{TOKENS:,} cached tokens in rotation", bearers(many), world()),
        Kind("cached DPoP token, a new ES256 proof", proven(CLIENT, used), world()),
        Kind("cached token, a signed request", cycle([signed.signed_request(many[0])]), signing),
        Kind("cached token, a signed payment of 2 KiB", cycle(paid), signing),
        *uncached,
        Kind("forged ES256", bearers(forged), world(), "token_signature_invalid"),
        Kind("forged PS256", bearers(bad_rsa), world(), "token_signature_invalid"),
    ]


def hostile() -> list[Kind]:
    """What a stranger may send to keep a worker busy: measured for its longest single Check alone."""
    built = read_bundle(files(), NoTokenCache()).snapshot
    bound = token(0, cnf={"jkt": thumbprint(jwk(HEAVY_CLIENT))})
    heavy = [question(f"DPoP {bound}", proof(bound, number, HEAVY_CLIENT)) for number in range(20)]
    padded = base64.urlsafe_b64encode(json.dumps({"iss": ISSUER, "x": "y" * 5500}).encode()).rstrip(b"=").decode()
    head = token(0).split(".", 1)[0]
    deep = base64.urlsafe_b64encode(b'{"iss":' + b"[" * 4000).rstrip(b"=").decode()
    flat = json.dumps({"iss": ISSUER, **{f"m{number}": [[]] for number in range(350)}}).encode()
    wide = base64.urlsafe_b64encode(flat).rstrip(b"=").decode()
    replay = MemoryReplayStore(1_000_000, time.time)
    signing = read_bundle({**files(), **signed.files()}, NoTokenCache()).snapshot
    signing = replace(signing, tokens=GenerationalTokenCache(TOKENS), replay=replay)
    known = token(0)
    return [
        Kind(
            "a signed request with a body of 256 KiB",
            cycle([signed.signed_request(known, b"x" * (256 << 10))]),
            signing,
        ),
        Kind("a signed payment of 32 KiB", cycle([signed.payment(known, 0, 32 << 10)]), signing),
        Kind("signature fields of 8 KiB", cycle(signed.odd_fields(known)), signing),
        Kind("a proof by an RSA key of 4096 bits", cycle(heavy), replace(built, replay=replay), ""),
        Kind("a forged token of 8 KiB", cycle([question(f"Bearer {head}.{padded}.{'A' * 86}")]), built, ""),
        Kind("a token of nothing but depth", cycle([question(f"Bearer {head}.{deep}.{'A' * 86}")]), built, ""),
        Kind("a token of many members", cycle([question(f"Bearer {head}.{wide}.{'A' * 86}")]), built, ""),
        Kind("8 KiB that are no token", cycle([question(f"Bearer {'.' * 8000}")]), built, ""),
    ]


def run(kind: Kind) -> float:
    """Microseconds for each Check of a batch."""
    asked, world = kind.asked, kind.world
    start = time.perf_counter()
    for _ in range(BATCH):
        answer(next(asked), world)
    return (time.perf_counter() - start) / BATCH * 1e6


def longest(kind: Kind, count: int) -> float:
    """The most processor time, in milliseconds, that one of `count` Checks took; what the machine took is left out."""
    asked, world = kind.asked, kind.world
    worst = 0
    for _ in range(count):
        raw = next(asked)
        start = time.thread_time_ns()
        answer(raw, world)
        worst = max(worst, time.thread_time_ns() - start)
    return worst / 1e6


def measure(rounds: int, say: Callable[[str], None]) -> list[tuple[str, float, float, float]]:
    """(kind, median microseconds, median ratio to the first kind, longest single Check in milliseconds)."""
    compared = kinds(rounds)
    for kind in compared:
        found = {answer(next(kind.asked), kind.world) for _ in range(TOKENS if "rotation" in kind.name else 1)}
        if found != {kind.reason}:
            sys.exit(f"{kind.name}: expected {kind.reason}, found {found}")
    gc.collect()
    gc.freeze()
    times: dict[str, list[float]] = {kind.name: [] for kind in compared}
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for kind in compared:
            times[kind.name].append(run(kind))
    first = times[compared[0].name]
    found = []
    for kind in compared:
        ratio = median(each / base for each, base in zip(times[kind.name], first, strict=True))
        found.append((kind.name, median(times[kind.name]), ratio, longest(kind, BATCH)))
    for kind in hostile():
        found.append((kind.name, 0.0, 0.0, longest(kind, BATCH)))
    return found


def main() -> int:
    """Measure and print; 0 when no single Check was too long."""
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    options.add_argument("--rounds", type=int, default=11)
    options.add_argument("--max-ms", type=float, default=1.0, help="processor time of one Check")
    options.add_argument("--result", type=Path, default=None, help="write the figures to this file as JSON")
    given = options.parse_args()
    found = measure(given.rounds, lambda text: print(text, end="\r", file=sys.stderr))
    print(f"{'':40} {'us a Check':>12} {'ratio':>7} {'longest ms':>11}")
    for name, microseconds, ratio, worst in found:
        shown = f"{microseconds:12.1f} {ratio:7.2f}" if microseconds else f"{'':12} {'':7}"
        print(f"{name:40} {shown} {worst:11.3f}")
    if given.result:
        rows = [dict(zip(("kind", "us", "ratio", "longest_ms"), row, strict=True)) for row in found]
        given.result.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return int(max(worst for *_, worst in found) > given.max_ms)


if __name__ == "__main__":
    sys.exit(main())
