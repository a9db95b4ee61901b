"""The CheckRequest of the benchmarks: what an Istio sidecar sends for an officer of the bank, 22 headers, one token."""

import struct
from collections.abc import Mapping

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse

from extauthz.cli.demo_requests import HOST, OFFICER
from extauthz.cli.demo_stack import Issuer
from extauthz.cli.demo_tokens import Minter
from loadtest.header_blocks import Header
from loadtest.http2 import Question

UNAVAILABLE = 503
CHECK = "/envoy.service.auth.v3.Authorization/Check"
OFFICERS = 2000  # different questions, of a hundredth as many callers
FORGERIES = 5000
_CALLERS = 20


def grpc_headers(timeout: float) -> tuple[Header, ...]:
    """As Envoy's own gRPC client sends them; h2load adds its user-agent. `timeout` in seconds."""
    return (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", CHECK),
        (":authority", "extauthz.extauthz.svc.cluster.local"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("grpc-timeout", f"{timeout * 1000:.0f}m"),
        ("x-envoy-internal", "true"),
        ("x-forwarded-for", "10.1.2.3"),
    )


GRPC_HEADERS = grpc_headers(1.0)
_HEADERS = {
    "accept": "application/json",
    "accept-encoding": "gzip, deflate, br",
    "accept-language": "de-DE,de;q=0.9,en;q=0.8",
    "cache-control": "no-cache",
    "content-type": "application/json",
    "user-agent": "bank-mobile/7.3 (iOS 19.1; build 7301)",
    "x-b3-sampled": "0",
    "x-envoy-attempt-count": "1",
    "x-envoy-internal": "true",
    "x-fapi-auth-date": "Sun, 10 Sep 2017 19:43:31 GMT",
    "x-fapi-customer-ip-address": "203.0.113.7",
    "x-forwarded-client-cert": (
        f'By=spiffe://cluster.local/ns/banking/sa/customers;Hash={"a" * 64};Subject="";'
        "URI=spiffe://cluster.local/ns/istio-system/sa/ingress"
    ),
    "x-forwarded-for": "203.0.113.7,10.1.2.3",
    "x-forwarded-proto": "https",
    "x-request-id": "6f1c9d3e-1111-4222-8333-444444444444",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
}


def check_request(headers: Mapping[str, str], path: str, method: str = "GET", host: str = HOST) -> bytes:
    """The bytes of a sidecar's question about a request with these headers."""
    check = CheckRequest()
    attributes = check.attributes
    attributes.source.address.socket_address.address = "10.1.2.3"
    attributes.source.address.socket_address.port_value = 41234
    attributes.source.principal = "spiffe://cluster.local/ns/istio-system/sa/ingress"
    attributes.destination.address.socket_address.address = "10.1.2.4"
    attributes.destination.address.socket_address.port_value = 8080
    attributes.destination.principal = "spiffe://cluster.local/ns/banking/sa/customers"
    attributes.request.time.GetCurrentTime()
    http = attributes.request.http
    http.id, http.method, http.path, http.host = "1234567890123456789", method, path, host
    http.scheme, http.protocol = "https", "HTTP/2"
    http.headers.update({":method": method, ":path": path, ":authority": host, ":scheme": "https", **headers})
    return bytes(check.SerializeToString())


def officers(issuer: Issuer, number: int, callers: int = _CALLERS) -> list[Question]:
    """`number` different questions of some officers in turn: other customers, other ids, tokens that come back."""
    minter = Minter(issuer)
    tokens = [minter.mint(OFFICER.claims | {"sub": f"officer-{caller:05}"}) for caller in range(callers)]
    return [officer_question(at, tokens[at % callers]) for at in range(number)]


def forgeries(issuer: Issuer, number: int) -> list[Question]:
    """The same with a signature that is wrong, each time another: no cache helps, every one is verified."""
    token = Minter(issuer).mint(OFFICER.claims)
    return [forged_question(at, token) for at in range(number)]


def forged_question(at: int, token: str) -> Question:
    """A token whose signature is wrong in a way of its own."""
    head, body, signature = token.split(".")
    return officer_question(at, f"{head}.{body}.{at:08}{signature[8:]}")._replace(label="forged")


def officer_question(at: int, token: str) -> Question:
    """An officer reads a customer of that number."""
    own = {
        "authorization": f"Bearer {token}",
        "x-request-id": f"6f1c9d3e-1111-4222-8333-{at:012d}",
        "x-fapi-interaction-id": f"93bac548-d2de-4546-b106-{at:012d}",
    }
    path = f"/api/customers/c-{at:08}/accounts?limit=50"
    return Question(b"", framed(check_request(_HEADERS | own, path)), "good")


def framed(message: bytes) -> bytes:
    """With gRPC's prefix: not compressed, length."""
    return struct.pack(">BI", 0, len(message)) + message


def read_answer(body: bytes) -> tuple[int, str]:
    """(HTTP status that the client gets, reason code) of a framed CheckResponse."""
    answer = CheckResponse.FromString(body[5:])
    fields = answer.dynamic_metadata.fields
    reason = fields["reason"].string_value if "reason" in fields else ""
    return (answer.denied_response.status.code if answer.status.code else 200), reason


def explain(body: bytes) -> str:
    """Status and reason in one word or two; a refusal without Retry-After is told apart."""
    answer = CheckResponse.FromString(body[5:])
    status, reason = read_answer(body)
    told = any(each.header.key.lower() == "retry-after" for each in answer.denied_response.headers)
    if status == UNAVAILABLE and not told:
        reason += " without retry-after"
    return f"{status} {reason}".strip()
