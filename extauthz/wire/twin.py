"""The independent second implementation of the messages (betterproto2): for tests, `extauthz check` and load tests.

Builds what Envoy would send and reads what Envoy would receive, so that a mistake in `inbound` or `outbound` cannot
hide behind its own mirror image. Importing the messages takes 0.4 s, so the functions do it, not the module.
"""

import json
import re
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

from msgspec import Struct

_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what surrogateescape makes of a stray byte


@cache
def _messages() -> tuple[Any, Any, Any]:
    """The modules of the authorization service and of the core types, and google.protobuf.Struct."""
    with warnings.catch_warnings():  # the library's classes are written for an older pydantic
        warnings.simplefilter("ignore", DeprecationWarning)
        from envoy_data_plane.envoy.config.core import v3 as core  # noqa: PLC0415 - 0.4 s, see above
        from envoy_data_plane.envoy.service.auth import v3  # noqa: PLC0415
        from envoy_data_plane.google.protobuf import Struct as JsonObject  # noqa: PLC0415
    return v3, core, JsonObject


class Peer(Struct, frozen=True, kw_only=True):
    """One end of a connection. `address` beginning with `/` or `@` is a Unix socket."""

    address: str = ""
    port: int = 0
    principal: str = ""
    certificate: str = ""
    service: str = ""


class Check(Struct, frozen=True, kw_only=True):
    """The parts of a CheckRequest. `headers` may repeat a name; pseudo-headers are added as Envoy does."""

    method: str = "GET"
    path: str | bytes = "/"  # bytes: what a client of HTTP/2 may send beside UTF-8
    host: str = "localhost"
    scheme: str = "https"
    protocol: str = "HTTP/2"
    request_id: str = "1"
    headers: tuple[tuple[str, str | bytes], ...] = ()
    raw_headers: bool = False  # `encode_raw_headers`: a list with bytes instead of a map
    body: bytes = b""
    pack_as_bytes: bool = False
    source: Peer = Peer(address="127.0.0.1", port=50000)
    destination: Peer = Peer(address="127.0.0.1", port=8080)
    extensions: Mapping[str, str] = {}
    metadata: Mapping[str, Mapping[str, Any]] = {}
    route_metadata: Mapping[str, Mapping[str, Any]] = {}
    sni: str = ""


class CheckError(ValueError):
    """The JSON is no CheckRequest; the message says where."""


def build_check(check: Check) -> bytes:
    """CheckRequest bytes as the HTTP filter would send them."""
    v3, core, _ = _messages()
    path = _as_envoy_shows(check.path)
    http = v3.AttributeContextHttpRequest(
        id=check.request_id,
        method=check.method,
        path=path,
        host=check.host,
        scheme=check.scheme,
        protocol=check.protocol,
        size=len(check.body),
    )
    pseudo = ((":authority", check.host), (":method", check.method), (":path", check.path), (":scheme", check.scheme))
    lines = [(name.lower(), value) for name, value in (*pseudo, *check.headers)]
    if check.raw_headers:
        fields = [core.HeaderValue(key=name, raw_value=_as_bytes(value)) for name, value in lines]
        http.header_map = core.HeaderMap(headers=fields)
    else:
        for name, value in lines:
            shown = _as_envoy_shows(value)
            http.headers[name] = f"{http.headers[name]},{shown}" if name in http.headers else shown
    if check.pack_as_bytes:
        http.raw_body = check.body
    else:
        http.body = _as_envoy_shows(check.body)
    context = _context(check.source, check.destination, check.sni)
    context.request = v3.AttributeContextRequest(http=http)
    context.context_extensions = dict(check.extensions)
    context.metadata_context = _metadata(check.metadata)
    if check.route_metadata:
        context.route_metadata_context = _metadata(check.route_metadata)
    return bytes(v3.CheckRequest(attributes=context))


def build_connection(source: Peer, destination: Peer, sni: str = "") -> bytes:
    """CheckRequest bytes as the network filter would send them: no HTTP."""
    v3, _, _ = _messages()
    context = _context(source, destination, sni)
    context.request = v3.AttributeContextRequest()
    context.metadata_context = _metadata({})
    return bytes(v3.CheckRequest(attributes=context))


def check_from_json(text: str | bytes) -> bytes:
    """CheckRequest bytes from its protobuf JSON, camelCase or snake_case. Raises CheckError."""
    v3, _, _ = _messages()
    try:
        fields = json.loads(text)
        if isinstance(fields, dict):
            return bytes(v3.CheckRequest.from_dict(fields))
    except Exception as error:  # the library raises whatever its parts raise
        detail = error.args[0] if isinstance(error, KeyError) and error.args else error
        message = f"not a CheckRequest: {detail}"
        raise CheckError(message) from error
    message = "not a CheckRequest: it must be an object with `attributes`"
    raise CheckError(message)


class Answer(Struct, frozen=True, kw_only=True):
    """A CheckResponse as Envoy 1.40 would act on it."""

    allowed: bool
    status: int  # google.rpc.Code; 0 also when there is none
    http_status: int  # what the client gets when not allowed, else 200
    is_error: bool = False  # error_response: failure_mode_allow may let the request pass
    upstream_headers: tuple[tuple[str, str], ...] = ()
    removed_headers: tuple[str, ...] = ()
    client_headers: tuple[tuple[str, str], ...] = ()  # on allow added to the response, on refusals sent
    set_query: tuple[tuple[str, str], ...] = ()
    removed_query: tuple[str, ...] = ()
    overwrites: bool = True  # every header replaces what is there, for every version of Envoy
    metadata: dict[str, Any] = {}
    body: str = ""

    def client_header(self, name: str) -> str | None:
        """The first value of that name, which is in lower case."""
        return next((value for key, value in self.client_headers if key == name), None)

    def upstream_header(self, name: str) -> str | None:
        """The value the upstream gets from us; None when it is removed or left alone."""
        values = [value for key, value in self.upstream_headers if key == name]
        return values[-1] if values and name not in self.removed_headers else None


def read_answer(raw: bytes) -> Answer:
    """Read CheckResponse bytes with the second implementation."""
    v3, _, _ = _messages()
    with warnings.catch_warnings():  # the library warns of `append`, which Envoy still needs
        warnings.simplefilter("ignore", DeprecationWarning)
        response = v3.CheckResponse.parse(raw)
    code = response.status.code if response.status else 0
    fields = response.dynamic_metadata.fields if response.dynamic_metadata else {}
    metadata = {name: value.string_value for name, value in fields.items()}
    if code == 0:
        return _read_allowed(response.ok_response or v3.OkHttpResponse(), metadata)
    refused = response.denied_response or response.error_response or v3.DeniedHttpResponse()
    return Answer(
        allowed=False,
        status=code,
        http_status=int(refused.status.code) if refused.status and refused.status.code else 403,
        is_error=response.error_response is not None,
        client_headers=_pairs(refused.headers),
        overwrites=_overwrites(refused.headers),
        metadata=metadata,
        body=refused.body,
    )


def _read_allowed(response: Any, metadata: dict[str, Any]) -> Answer:  # noqa: ANN401 - the library has no static types
    return Answer(
        allowed=True,
        status=0,
        http_status=200,
        upstream_headers=_pairs(response.headers),
        removed_headers=tuple(response.headers_to_remove),
        client_headers=_pairs(response.response_headers_to_add),
        set_query=tuple((parameter.key, parameter.value) for parameter in response.query_parameters_to_set),
        removed_query=tuple(response.query_parameters_to_remove),
        overwrites=_overwrites([*response.headers, *response.response_headers_to_add]),
        metadata=metadata,
    )


def _pairs(options: list[Any]) -> tuple[tuple[str, str], ...]:
    return tuple((option.header.key, option.header.value) for option in options)


def _overwrites(options: list[Any]) -> bool:
    """Whether the deprecated and the new field both say so: `append` false but present, action 2."""
    return all(option.append is False and int(option.append_action) == 2 for option in options)  # noqa: PLR2004


def _context(source: Peer, destination: Peer, sni: str) -> Any:  # noqa: ANN401
    v3, _, _ = _messages()
    context = v3.AttributeContext(source=_peer(source), destination=_peer(destination))
    if sni:
        context.tls_session = v3.AttributeContextTlsSession(sni=sni)
    return context


def _peer(peer: Peer) -> Any:  # noqa: ANN401
    v3, core, _ = _messages()
    if peer.address.startswith(("/", "@")):
        address = core.Address(pipe=core.Pipe(path=peer.address))
    else:
        address = core.Address(socket_address=core.SocketAddress(address=peer.address, port_value=peer.port))
    return v3.AttributeContextPeer(
        address=address,
        principal=peer.principal,
        certificate=peer.certificate,
        service=peer.service,
    )


def _metadata(namespaces: Mapping[str, Mapping[str, Any]]) -> Any:  # noqa: ANN401
    _, core, json_object = _messages()
    found = {name: json_object.from_dict(dict(fields)) for name, fields in namespaces.items()}
    return core.Metadata(filter_metadata=found)


def _as_bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _as_envoy_shows(value: str | bytes) -> str:
    """Text as the string fields show it: every byte that is no part of UTF-8 becomes `!`."""
    if isinstance(value, str):
        return value
    return _NOT_UTF8.sub("!", value.decode("utf-8", "surrogateescape"))
