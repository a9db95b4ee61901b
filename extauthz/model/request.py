"""Our view of a CheckRequest: immutable, normalised, free of protobuf."""

from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct

from extauthz.model.paths import CanonicalPath, fold
from extauthz.model.reasons import Reason


class Headers(Protocol):
    """Request headers by lower-case name. A lookup costs; ask only for what a snapshot reads."""

    def get(self, name: str) -> str | None:
        """The value; several fields of one name are joined with `,` as Envoy does. None when absent."""
        ...

    def is_repeated(self, name: str) -> bool:
        """Whether more than one field of that name arrived.

        `header_map` mode can tell; in the other, a comma tells for headers whose grammar has none.
        """
        ...

    def among(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that are there; cheaper than to `get` each."""
        ...

    def items(self) -> list[tuple[str, str]]:
        """All headers but pseudo-headers, for conditions that read them by a computed name."""
        ...


class Peer(Struct, frozen=True, gc=False):
    """One end of the connection (`AttributeContext.Peer`)."""

    address: str = ""  # IP address, or the path of a Unix socket; the direct peer, never X-Forwarded-For
    port: int = 0
    principal: str = ""  # e.g. `spiffe://cluster.local/ns/web/sa/front`; "" means anonymous
    certificate: str = ""  # URL-encoded PEM of the leaf, when Envoy sends it


class ForwardedCertificate(Struct, frozen=True, gc=False):
    """One element of x-forwarded-client-cert, chosen by the configured hop count."""

    by: str = ""
    hash: str = ""  # SHA-256 of the DER, 64 lower-case hex digits
    uri: str = ""
    subject: str = ""
    dns: tuple[str, ...] = ()
    hop: int = 1  # whose peer it was, counted from the right; 1: of the connection to the Envoy that asks


class Facts(Struct, frozen=True, gc=False):
    """What an answer and a journal record need, whether or not the request could be accepted."""

    request_id: str = ""  # http.id: Envoy's stream id
    method: str = ""
    host: str = ""
    protocol: str = ""
    interaction_id: str = ""  # x-fapi-interaction-id as sent, only if it is a single well-formed UUID
    is_grpc: bool = False  # content-type is application/grpc*: the client wants a gRPC status
    source: Peer = Peer()
    destination: Peer = Peer()
    client_address: str = ""  # the configured hop of X-Forwarded-For, "" when it is not there; without hops the source


class Request(Struct, frozen=True, gc=False):
    """An HTTP request with exactly one reading. Only `wire.inbound` builds it from bytes."""

    facts: Facts
    method: str  # upper-case token, at most 20 characters
    host: str  # lower case, without port and trailing dot
    port: int  # 0 when the authority names none
    scheme: str  # as Envoy saw it: chosen by the client on a sidecar, never trust it
    path: CanonicalPath  # without query
    segments: tuple[str, ...]  # decoded segments of the path
    query: str  # raw text behind the first `?`, "" when absent
    headers: Headers
    source: Peer
    destination: Peer
    forwarded: ForwardedCertificate | None = None
    body: bytes | None = None  # None when Envoy sent none
    body_is_partial: bool = False
    sni: str = ""
    raw_path: str = ""  # `path` as the client wrote it, percent-encoding and trailing slash included
    extensions: tuple[tuple[str, str], ...] = ()  # context_extensions: owned by Envoy's configuration
    metadata: tuple[tuple[str, bytes], ...] = ()  # filter metadata by namespace, each a JSON object
    route_metadata: tuple[tuple[str, bytes], ...] = ()  # the same of the route
    case_folded: tuple[str, ...] | None = None  # of `segments`, if it was worked out

    @property
    def folded(self) -> tuple[str, ...]:
        """The case-folded segments; the same object as `segments` where that changes nothing."""
        return fold(self.path, self.segments) if self.case_folded is None else self.case_folded


class Connection(Struct, frozen=True, gc=False):
    """A Check without HTTP: the TCP filter asks whether a connection may be opened."""

    facts: Facts
    source: Peer
    destination: Peer
    sni: str = ""


class Refused(Struct, frozen=True, gc=False):
    """A CheckRequest that has no single reading, and why."""

    facts: Facts
    reason: Reason
    check: str = ""  # id of the failed check or threat, e.g. "T-08"
