"""CheckRequest bytes to a Request with exactly one reading.

Rule 1: total. Whatever the bytes, the result is Request, Connection or Refused.
Rule 2: what two readers could read differently is refused here, so that nobody behind has to ask again.
Rule 3: `Facts` of a refused request hold only what passed its own check: they reach journals and spans.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated

from google.protobuf.message import DecodeError
from msgspec import Meta, Struct

from extauthz.generated.extauthz.v1.check_pb2 import AttributesView, CheckView, HeaderValueView, HttpView
from extauthz.model.hosts import Host, canonicalise_host
from extauthz.model.paths import Ambiguous, Path, canonicalise
from extauthz.model.reasons import Reason
from extauthz.model.request import Connection, Facts, Peer, Refused, Request
from extauthz.wire.headers import WITHOUT_COMMA, JoinedHeaders, ListedHeaders
from extauthz.wire.metadata import read_metadata
from extauthz.wire.peers import client_address, read_peer, read_sni
from extauthz.wire.xfcc import MalformedError, read_forwarded

# A token (RFC 9110 section 5.6.2) in upper case; the longest registered method has 17 characters.
_METHOD = re.compile(r"[A-Z][A-Z0-9_\-]{0,19}")
_USUAL_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"})
_STREAM_ID = re.compile(r"[A-Za-z0-9\-]{1,64}")
_PROTOCOLS = frozenset({"HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3"})
_SCHEMES = frozenset({"http", "https"})
INTERACTION_ID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_GRPC = "application/grpc"
_NIL = "00000000-0000-0000-0000-000000000000"

_HeaderName = Annotated[str, Meta(pattern=r"^[a-z0-9!#$%&'*+.^_`|~-]+$")]
_Hops = Annotated[int, Meta(ge=0, le=16)]


class InboundOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", cache_hash=True):
    """What to believe of a request's headers. Hops count the proxies of ours, from the right."""

    xff_trusted_hops: _Hops = 0  # 0: the client address is the direct peer's
    xfcc_trusted_hops: _Hops = 1  # 0: x-forwarded-client-cert is never read
    single_headers: tuple[_HeaderName, ...] = ()  # more headers that may arrive once and have no comma


_Headers = JoinedHeaders | ListedHeaders
_NOTHING: dict[str, str] = {}
_NO_HEADERS = JoinedHeaders(_NOTHING, frozenset(), _NOTHING.get)
_parse = CheckView.FromString


class _Rules(Struct, frozen=True):
    """Which headers may arrive once, from the options."""

    marked: frozenset[str]  # `is_repeated` tells of them
    refused: tuple[str, ...]  # the request is refused when they are repeated (T-26)


@lru_cache(maxsize=8)
def _rules(options: InboundOptions) -> _Rules:
    marked = WITHOUT_COMMA.union(options.single_headers)
    # Identity has a reason of its own for the first; Envoy itself guards the second.
    return _Rules(marked, tuple(sorted(marked - {"authorization", "content-length"})))


def read_check(raw: bytes, options: InboundOptions) -> Request | Connection | Refused:
    """Read `envoy.service.auth.v3.CheckRequest`."""
    try:
        check = _parse(raw)
        attributes = check.attributes  # empty where there are none
        request = attributes.request
        if request.HasField("http"):
            return _read_http(request.http, attributes, options)
        if not check.HasField("attributes"):
            return Refused(Facts(), Reason.REQUEST_MALFORMED, "T-62")
        return _read_connection(attributes)
    except DecodeError:  # of the whole, or of a part that it holds as bytes
        return Refused(Facts(), Reason.REQUEST_MALFORMED, "T-62")


def _read_connection(attributes: AttributesView) -> Connection:
    source, destination = read_peer(attributes.source), read_peer(attributes.destination)
    sni = read_sni(attributes.tls_session)
    for metadata in (attributes.metadata_context, attributes.route_metadata_context):
        read_metadata(metadata)  # what is malformed is refused, though nobody reads it
    return Connection(
        Facts(source=source, destination=destination, client_address=source.address), source, destination, sni
    )


def _read_http(http: HttpView, attributes: AttributesView, options: InboundOptions) -> Request | Refused:
    """Written out at length: it runs for every Check, and a call costs as much as the step that it would name."""
    source, destination = read_peer(attributes.source), read_peer(attributes.destination)
    tls_session, metadata, of_route = (
        attributes.tls_session,
        attributes.metadata_context,
        attributes.route_metadata_context,
    )
    sni = read_sni(tls_session) if tls_session else ""
    namespaces = read_metadata(metadata) if metadata else ()
    route_namespaces = read_metadata(of_route) if of_route else ()
    rules = _rules(options)
    joined = http.headers
    headers: _Headers | None
    if http.HasField("header_map"):
        headers = None if joined else _read_list(http.header_map.headers)
    else:
        headers = JoinedHeaders(joined, rules.marked, joined.get)
    written = http.method
    method = written if written in _USUAL_METHODS or _METHOD.fullmatch(written) else ""
    host = canonicalise_host(http.host)
    facts = _read_facts(http, headers or _NO_HEADERS, method, host, source, destination, options.xff_trusted_hops)
    if headers is None:
        return Refused(facts, Reason.REQUEST_MALFORMED, "T-62")
    if not method:
        return Refused(facts, Reason.METHOD_INVALID, "T-22")
    if host is None:
        return Refused(facts, Reason.HOST_INVALID, "T-19" if "," in http.host else "T-18")
    target = http.path
    path = canonicalise(target) if isinstance(headers, JoinedHeaders) else _read_path(target, headers)
    if not isinstance(path, Path):
        return Refused(facts, Reason.PATH_AMBIGUOUS, path.check)
    if headers.has_repeated(rules.refused):
        return Refused(facts, Reason.HEADER_REPEATED, "T-26")
    hops = options.xfcc_trusted_hops
    certificate = headers.get("x-forwarded-client-cert") if hops else None
    try:
        forwarded = None if certificate is None else read_forwarded(certificate, hops)
    except MalformedError:
        return Refused(facts, Reason.FORWARDED_CERTIFICATE_INVALID, "T-31")
    body, text_body = http.raw_body, http.body
    if body and text_body:
        return Refused(facts, Reason.REQUEST_MALFORMED, "T-67")
    scheme = http.scheme.lower()
    partial = headers.get("x-envoy-auth-partial-body")
    extensions = attributes.context_extensions
    # In the order of its fields: with more than 15 names Python calls anything at five times the cost.
    return Request(
        facts,
        method,
        host.name,
        host.port,
        scheme if scheme in _SCHEMES else "",
        path.text,
        path.segments,
        path.query,
        headers,
        source,
        destination,
        forwarded,
        body or (text_body.encode() if text_body else None),
        partial is not None and partial != "false",
        sni,
        target.partition("?")[0] if "?" in target else target,
        tuple(sorted(extensions.items())) if extensions else (),
        namespaces,
        route_namespaces,
        path.folded,
    )


def _read_list(lines: Sequence[HeaderValueView]) -> ListedHeaders | None:
    """The lines; None when a peer filled one both ways."""
    return None if any(line.value and line.raw_value for line in lines) else ListedHeaders(lines)


def _read_path(path: str, headers: ListedHeaders) -> Path | Ambiguous:
    """The canonical path; the raw `:path` of a header list shows whether `!` stands for another byte (T-09)."""
    match headers.raw(":path"):
        case []:  # filtered out by allowed_headers
            return canonicalise(path)
        case [raw] if raw == path.encode():
            return canonicalise(path, verbatim=True)
        case [raw] if not raw.isascii():
            return Ambiguous("T-09", "a byte outside of ASCII that is not percent-encoded")
        case _:
            return Ambiguous("T-62", "more than one path")


def _read_facts(
    http: HttpView,
    headers: _Headers,
    method: str,
    host: Host | None,
    source: Peer,
    destination: Peer,
    hops: int,
) -> Facts:
    request_id, protocol, get = http.id, http.protocol, headers.get
    interaction = get("x-fapi-interaction-id") or ""
    content_type = get("content-type")
    if interaction and (not INTERACTION_ID.fullmatch(interaction) or interaction == _NIL):
        interaction = ""
    return Facts(
        request_id if _STREAM_ID.fullmatch(request_id) else "",
        method,
        host.name if host else "",
        protocol if protocol in _PROTOCOLS else "",
        interaction,
        content_type is not None and content_type.startswith(_GRPC) and _is_grpc(content_type),
        source,
        destination,
        client_address(get("x-forwarded-for") or "", hops, source.address) if hops else source.address,
    )


def _is_grpc(content_type: str) -> bool:
    """As Envoy decides it: `application/grpc`, alone or before `+` or `;`; grpc-web is plain HTTP to Envoy."""
    return content_type.startswith(_GRPC) and content_type[16:17] in ("", "+", ";")
