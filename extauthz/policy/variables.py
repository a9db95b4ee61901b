"""The names that conditions may use, their types, and where each value comes from.

Rule 1: names are declared with their dots, so that the type checker knows every one of them.
Rule 2: what may be read in more than one way, or CEL cannot hold (a text with a NUL, an integer of more than 64 bits),
raises UnreadableError, and the condition errs, whatever else is in it.
Rule 3: values come as `lowering` has them; `for_cel` makes what CEL's own evaluator takes.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final

from cel_expr_python import cel
from msgspec import Struct

from extauthz.model.request import Headers
from extauthz.policy.asked import INT64, Asked, workload
from extauthz.policy.claims import ABSENT, UNREADABLE
from extauthz.policy.lowering import Kind, Timestamp, is_plain, is_text

Reader = Callable[[Asked], Any]  # raises UnreadableError

_TEXT = cel.Type.STRING
_NUMBER = cel.Type.INT
_TEXTS = cel.Type.List(cel.Type.STRING)
_TEXT_MAP = cel.Type.Map(cel.Type.STRING, cel.Type.STRING)
_NANOS: Final = 1_000_000_000

# RFC 9110: fields whose one value commonly holds a comma. In these a comma alone is no sign of a second field.
LISTED_HEADERS = frozenset(
    [
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "accept-patch",
        "access-control-request-headers",
        "cache-control",
        "connection",
        "date",
        "expect",
        "forwarded",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-unmodified-since",
        "link",
        "pragma",
        "prefer",
        "referer",
        "te",
        "trailer",
        "upgrade",
        "user-agent",
        "via",
        "x-forwarded-for",
    ]
)


class UnreadableError(Exception):
    """A value has no single reading."""


class Variable(Struct, frozen=True):
    """One name. `keyed` reads one key of a map, ABSENT when it is not there."""

    type: Any  # cel.Type
    kind: Kind
    read: Reader
    http: bool = True  # unknown of a connection without HTTP
    keyed: Callable[[str], Reader] | None = None
    key_kind: Kind = "string"


def has_one_reading(headers: Headers, name: str, value: str) -> bool:
    """Whether a header has one value for sure (T-26)."""
    return ("," not in value or name in LISTED_HEADERS) and not headers.is_repeated(name)


def _text(attribute: str, *, http: bool = True) -> Variable:
    get = attrgetter(attribute)

    def read(asked: Asked) -> str:
        value: str = get(asked)
        if (value.isascii() and "\0" not in value) or is_text(value):
            return value
        raise UnreadableError

    return Variable(_TEXT, "string", read, http)


def _texts(attribute: str) -> Variable:
    get = attrgetter(attribute)

    def read(asked: Asked) -> tuple[str, ...]:
        value: tuple[str, ...] = get(asked)
        for text in value:
            if not (text.isascii() and "\0" not in text) and not is_text(text):
                raise UnreadableError
        return value

    return Variable(_TEXTS, "strings", read)


def _number(attribute: str, *, http: bool = True) -> Variable:
    get = attrgetter(attribute)

    def read(asked: Asked) -> int:
        value: int = get(asked)
        if value in INT64:
            return value
        raise UnreadableError

    return Variable(_NUMBER, "int", read, http)


def _whole(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if is_plain(value):
        return value
    raise UnreadableError


def _all_headers(asked: Asked) -> dict[str, str]:
    headers = asked.request.headers
    found: dict[str, str] = {}
    for name, value in headers.items():
        if name in found or not has_one_reading(headers, name, value):
            raise UnreadableError
        found[name] = value
    _whole(found)
    return found


def _header(name: str) -> Reader:
    listed = name in LISTED_HEADERS

    def read(asked: Asked) -> Any:  # noqa: ANN401 - a text or ABSENT
        headers = asked.request.headers
        value = headers.get(name)
        if value is None:
            return ABSENT
        if ("," in value and not listed) or headers.is_repeated(name) or not is_text(value):
            raise UnreadableError
        return value

    return read


def _all_query(asked: Asked) -> dict[str, str]:
    query = asked.query
    if query is None or query.is_repeated:
        raise UnreadableError
    _whole(query.values)
    return query.values


def _parameter(name: str) -> Reader:
    def read(asked: Asked) -> Any:  # noqa: ANN401 - a text or ABSENT
        query = asked.query
        values = None if query is None else query.find(name)
        if values is None:
            raise UnreadableError
        return _whole(values[0]) if values else ABSENT

    return read


def _all_claims(asked: Asked) -> Any:  # noqa: ANN401 - a JSON object
    if asked.claims is UNREADABLE:
        raise UnreadableError
    return _whole(asked.claims)


def _claim(name: str) -> Reader:
    def read(asked: Asked) -> Any:  # noqa: ANN401 - any JSON value or ABSENT
        value = asked.claim(name)
        if value is ABSENT:
            return value
        if value is UNREADABLE:
            raise UnreadableError
        return _whole(value)

    return read


def _capture(name: str) -> Reader:
    def read(asked: Asked) -> Any:  # noqa: ANN401 - a text or ABSENT
        value = asked.params.get(name)
        return ABSENT if value is None else _whole(value)

    return read


def _authenticated(asked: Asked) -> bool:
    return not asked.subject.is_anonymous


def _namespace(asked: Asked) -> Any:  # noqa: ANN401 - a text
    return _whole(workload(asked.request.source.principal)[0])


def _now(asked: Asked) -> Timestamp:
    return Timestamp(asked.now * _NANOS)


VARIABLES: dict[str, Variable] = {
    "request.method": _text("request.method"),
    "request.host": _text("request.host"),
    "request.port": _number("request.port"),
    "request.scheme": _text("request.scheme"),
    "request.path": _text("request.path"),
    "request.raw_path": _text("request.raw_path"),  # as Envoy forwards it; for what must be compared letter by letter
    "request.segments": _texts("request.segments"),
    "request.headers": Variable(_TEXT_MAP, "string_map", _all_headers, keyed=_header),
    "request.query": Variable(_TEXT_MAP, "string_map", _all_query, keyed=_parameter),
    "subject.authenticated": Variable(cel.Type.BOOL, "bool", _authenticated),
    "subject.issuer": _text("subject.issuer"),
    "subject.id": _text("subject.id"),
    "subject.client": _text("subject.client"),
    "subject.tenant": _text("subject.tenant"),
    "subject.roles": _texts("subject.roles"),
    "subject.scopes": _texts("subject.scopes"),
    "subject.actors": _texts("subject.actors"),
    "subject.session": _text("subject.session"),
    "subject.acr": _text("subject.acr"),
    "subject.auth_time": _number("subject.auth_time"),
    "subject.issued_at": _number("subject.issued_at"),
    "subject.expires_at": _number("subject.expires_at"),
    "subject.claims": Variable(cel.Type.Map(_TEXT, cel.Type.DYN), "map", _all_claims, keyed=_claim, key_kind="dyn"),
    "resource.tenant": _text("tenant"),
    "params": Variable(_TEXT_MAP, "string_map", lambda asked: _whole(asked.params), keyed=_capture),
    "source.address": _text("request.source.address", http=False),
    "source.port": _number("request.source.port", http=False),
    "source.principal": _text("request.source.principal", http=False),
    "source.namespace": Variable(_TEXT, "string", _namespace, http=False),
    "remote.address": _text("request.facts.client_address", http=False),
    "destination.address": _text("request.destination.address", http=False),
    "destination.port": _number("request.destination.port", http=False),
    "destination.principal": _text("request.destination.principal", http=False),
    "connection.sni": _text("request.sni", http=False),
    "now": Variable(cel.Type.TIMESTAMP, "timestamp", _now),
}

# The core may not import `datetime`; CEL makes the value that CEL wants for a timestamp.
_EPOCH = cel.NewEnv(variables={"seconds": _NUMBER}).compile("timestamp(seconds)")


def for_cel(value: Any) -> Any:  # noqa: ANN401 - any value of a variable
    """A value of a variable as CEL's binding takes it."""
    if type(value) is tuple:
        return list(value)
    if type(value) is Timestamp:
        return _EPOCH.eval(data={"seconds": value // _NANOS}).value()
    return value
