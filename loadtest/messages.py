"""What reading a CheckRequest and writing a CheckResponse costs in each implementation, as ratios.

Run: `python loadtest/messages.py [--rounds 15] [--seconds 0.05]`. Every round runs every candidate once, forwards in
one round and backwards in the next (A B B A), in one process, so that a busy neighbour slows all of them alike. Ratios
are medians over the rounds; the absolute figures are only there to give an idea.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse

from extauthz.model.decision import Allow, Evidence
from extauthz.model.subject import Subject
from extauthz.wire import AnswerContext, InboundOptions, OutboundOptions, read_check, write_answer
from extauthz.wire.twin import Answer, Check, Peer, build_check, read_answer

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from envoy_data_plane.envoy.config.core import v3 as core
    from envoy_data_plane.envoy.service.auth import v3
    from envoy_data_plane.google import rpc
    from envoy_data_plane.google.protobuf import Struct as JsonObject

HEADERS = (
    ("authorization", "Bearer " + "e" * 900),
    ("accept", "application/json"),
    ("content-type", "application/json"),
    ("user-agent", "bank-mobile/7.3 (iOS 19.1)"),
    ("x-forwarded-for", "203.0.113.7, 10.1.2.3"),
    ("x-forwarded-proto", "https"),
    ("x-request-id", "6f1c9d3e-1111-2222-3333-444444444444"),
    ("x-fapi-interaction-id", "6f1c9d3e-1111-2222-3333-444444444445"),
    ("x-fapi-auth-date", "Sun, 10 Sep 2017 19:43:31 GMT"),
    ("x-forwarded-client-cert", f"By=spiffe://td/ns/a/sa/b;Hash={'a' * 64};URI=spiffe://td/ns/istio-system/sa/ingress"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    *((f"x-custom-{number}", "value " * 5) for number in range(7)),
)
CHECK = Check(
    path="/api/customers/4711/accounts?limit=50",
    host="api.bank.test",
    headers=HEADERS,
    source=Peer(address="10.1.2.3", port=41234, principal="spiffe://td/ns/istio-system/sa/ingress"),
    destination=Peer(address="10.1.2.4", port=8080, principal="spiffe://td/ns/a/sa/b"),
)
TEN = ("authorization", "content-type", "x-fapi-interaction-id", "x-forwarded-for")
SUBJECT = Subject(
    issuer="https://idp.bank.test/realms/bank",
    id="f3b0c442-98fc-1c14",
    client="mobile-app",
    roles=("banking-officer", "banking-manager"),
    scopes=("openid", "accounts"),
)
ALLOW = Allow(
    evidence=Evidence(subject=SUBJECT, tenant="acme", policy="customers", rule="officers-read"),
)
CONTEXT = AnswerContext("01J9ZC5GS1Q4T2W9", "6f1c9d3e-1111-2222-3333-444444444445", "2026-01-07.1")
INBOUND, OUTBOUND = InboundOptions(xff_trusted_hops=1), OutboundOptions()


def ten_fields_upb(raw: bytes) -> tuple[Any, ...]:
    """Parse and read ten fields, four of them headers."""
    attributes = CheckRequest.FromString(raw).attributes
    http = attributes.request.http
    found = [http.headers.get(name) for name in TEN]
    return (
        *found,
        http.method,
        http.path,
        http.host,
        http.id,
        attributes.source.principal,
        attributes.destination.principal,
    )


def ten_fields_betterproto(raw: bytes) -> tuple[Any, ...]:
    """The same with betterproto."""
    attributes = v3.CheckRequest.parse(raw).attributes
    http = attributes.request.http
    found = [http.headers.get(name) for name in TEN]
    return (
        *found,
        http.method,
        http.path,
        http.host,
        http.id,
        attributes.source.principal,
        attributes.destination.principal,
    )


def write_upb(answer: Answer) -> bytes:
    """Build and serialise the same allow with upb's objects."""
    response = CheckResponse()
    response.status.code = 0
    response.status.SetInParent()
    allowed = response.ok_response
    for target, headers in (
        (allowed.headers, answer.upstream_headers),
        (allowed.response_headers_to_add, answer.client_headers),
    ):
        for name, value in headers:
            option = target.add(append_action=2)
            option.header.key = name
            option.header.value = value
            option.append.value = False
    allowed.headers_to_remove.extend(answer.removed_headers)
    response.dynamic_metadata.update(answer.metadata)
    return bytes(response.SerializeToString(deterministic=True))


def write_betterproto(answer: Answer) -> bytes:
    """Build and serialise the same allow with betterproto's objects."""

    def option(pair: tuple[str, str]) -> Any:  # noqa: ANN401
        header = core.HeaderValue(key=pair[0], value=pair[1])
        return core.HeaderValueOption(
            header=header, append=False, append_action=core.HeaderValueOptionHeaderAppendAction(2)
        )

    allowed = v3.OkHttpResponse(
        headers=[option(pair) for pair in answer.upstream_headers],
        headers_to_remove=list(answer.removed_headers),
        response_headers_to_add=[option(pair) for pair in answer.client_headers],
    )
    metadata = JsonObject.from_dict(dict(answer.metadata))
    return bytes(v3.CheckResponse(status=rpc.Status(), ok_response=allowed, dynamic_metadata=metadata))


def microseconds(call: Callable[[], object], seconds: float) -> float:
    """Mean time of a call over about `seconds`, in microseconds."""
    calls, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for _ in range(10):
            call()
        calls += 10
    return elapsed / calls * 1e6


def compare(candidates: dict[str, Callable[[], object]], rounds: int, seconds: float) -> None:
    """Print median time and median ratio to the first candidate."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds):
        order = list(candidates) if number % 2 == 0 else list(reversed(candidates))
        for name in order:
            times[name].append(microseconds(candidates[name], seconds))
    base = times[next(iter(candidates))]
    for name, measured in times.items():
        ratio = statistics.median(mine / first for mine, first in zip(measured, base, strict=True))
        print(f"  {name:<44}{statistics.median(measured):>9.1f} us {ratio:>8.2f}x")


def main() -> None:
    """Measure reading and writing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.05)
    arguments = parser.parse_args()
    raw, written = build_check(CHECK), write_answer(ALLOW, CONTEXT, OUTBOUND)
    answer = read_answer(written)
    if written != write_upb(answer) or ten_fields_upb(raw) != ten_fields_betterproto(raw):
        raise SystemExit("the implementations disagree: see tests/unit/wire/test_two_implementations.py")  # noqa: TRY003, EM101
    warnings.simplefilter("ignore", DeprecationWarning)
    print(f"read: CheckRequest of {len(raw)} bytes, {len(HEADERS) + 4} headers")
    compare(
        {
            "upb: parse, ten fields": lambda: ten_fields_upb(raw),
            "betterproto: parse, ten fields": lambda: ten_fields_betterproto(raw),
            "read_check (upb, every guard of the wire)": lambda: read_check(raw, INBOUND),
        },
        arguments.rounds,
        arguments.seconds,
    )
    print(f"write: CheckResponse of {len(written)} bytes, {len(answer.upstream_headers)} headers set")
    compare(
        {
            "write_answer (bytes, settled)": lambda: write_answer(ALLOW, CONTEXT, OUTBOUND),
            "upb: build and serialise": lambda: write_upb(answer),
            "betterproto: build and serialise": lambda: write_betterproto(answer),
        },
        arguments.rounds,
        arguments.seconds,
    )


if __name__ == "__main__":
    main()
