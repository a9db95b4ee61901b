"""The names that conditions may use, their types, and where each value comes from.

Rule 1: names are declared with their dots, so that the type checker knows every one of them.
Rule 2: what may be read in more than one way is UNREADABLE, and the condition errs. So is a text that holds a NUL.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from cel_expr_python import cel
from msgspec import Struct

from extauthz.model.request import Headers
from extauthz.policy.asked import Asked, within_int64, workload

Getter = Callable[[Asked], object]
UNREADABLE: Final = object()

_TEXT = cel.Type.STRING
_NUMBER = cel.Type.INT
_TEXTS = cel.Type.List(cel.Type.STRING)
_TEXT_MAP = cel.Type.Map(cel.Type.STRING, cel.Type.STRING)

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


class Variable(Struct, frozen=True):
    """One name. `keyed` is given instead of `get` when single keys of a map can be read."""

    type: Any  # cel.Type
    get: Getter
    http: bool = True  # unknown of a connection without HTTP
    keyed: Callable[[tuple[str, ...]], Getter] | None = None


def has_one_reading(headers: Headers, name: str, value: str) -> bool:
    """Whether a header has one value for sure (T-26)."""
    return ("," not in value or name in LISTED_HEADERS) and not headers.is_repeated(name)


def _all_headers(asked: Asked) -> object:
    headers = asked.request.headers
    found: dict[str, str] = {}
    for name, value in headers.items():
        if name in found or not has_one_reading(headers, name, value):
            return UNREADABLE
        found[name] = value
    return found


def _some_headers(names: tuple[str, ...]) -> Getter:
    def get(asked: Asked) -> object:
        headers = asked.request.headers
        found: dict[str, str] = {}
        for name in names:
            if (value := headers.get(name)) is not None:
                if not has_one_reading(headers, name, value):
                    return UNREADABLE
                found[name] = value
        return found

    return get


def _all_query(asked: Asked) -> object:
    query = asked.query
    return UNREADABLE if query is None or query.is_repeated else query.values


def _some_query(names: tuple[str, ...]) -> Getter:
    def get(asked: Asked) -> object:
        query = asked.query
        if query is None:
            return UNREADABLE
        found: dict[str, str] = {}
        for name in names:
            values = query.find(name)
            if values is None:
                return UNREADABLE
            if values:
                found[name] = values[0]
        return found

    return get


def _all_claims(asked: Asked) -> object:
    claims = asked.claims
    return claims if claims is not None and within_int64(claims) else UNREADABLE


def _some_claims(names: tuple[str, ...]) -> Getter:
    def get(asked: Asked) -> object:
        claims = asked.claims
        if claims is None:
            return UNREADABLE
        found = {name: claims[name] for name in names if name in claims}
        return found if within_int64(found) else UNREADABLE

    return get


# The core may not import `datetime`; CEL makes the value that CEL wants for a timestamp.
_EPOCH = cel.NewEnv(variables={"seconds": _NUMBER}).compile("timestamp(seconds)")


def _now(asked: Asked) -> object:
    return _EPOCH.eval(data={"seconds": asked.now}).value()


VARIABLES: dict[str, Variable] = {
    "request.method": Variable(_TEXT, lambda asked: asked.request.method),
    "request.host": Variable(_TEXT, lambda asked: asked.request.host),
    "request.port": Variable(_NUMBER, lambda asked: asked.request.port),
    "request.scheme": Variable(_TEXT, lambda asked: asked.request.scheme),
    "request.path": Variable(_TEXT, lambda asked: asked.request.path),
    "request.segments": Variable(_TEXTS, lambda asked: list(asked.request.segments)),
    "request.headers": Variable(_TEXT_MAP, _all_headers, keyed=_some_headers),
    "request.query": Variable(_TEXT_MAP, _all_query, keyed=_some_query),
    "subject.authenticated": Variable(cel.Type.BOOL, lambda asked: not asked.subject.is_anonymous),
    "subject.issuer": Variable(_TEXT, lambda asked: asked.subject.issuer),
    "subject.id": Variable(_TEXT, lambda asked: asked.subject.id),
    "subject.client": Variable(_TEXT, lambda asked: asked.subject.client),
    "subject.tenant": Variable(_TEXT, lambda asked: asked.subject.tenant),
    "subject.roles": Variable(_TEXTS, lambda asked: list(asked.subject.roles)),
    "subject.scopes": Variable(_TEXTS, lambda asked: list(asked.subject.scopes)),
    "subject.actors": Variable(_TEXTS, lambda asked: list(asked.subject.actors)),
    "subject.session": Variable(_TEXT, lambda asked: asked.subject.session),
    "subject.acr": Variable(_TEXT, lambda asked: asked.subject.acr),
    "subject.auth_time": Variable(_NUMBER, lambda asked: asked.subject.auth_time),
    "subject.issued_at": Variable(_NUMBER, lambda asked: asked.subject.issued_at),
    "subject.expires_at": Variable(_NUMBER, lambda asked: asked.subject.expires_at),
    "subject.claims": Variable(cel.Type.Map(_TEXT, cel.Type.DYN), _all_claims, keyed=_some_claims),
    "resource.tenant": Variable(_TEXT, lambda asked: asked.tenant),
    "params": Variable(_TEXT_MAP, lambda asked: asked.params),
    "source.address": Variable(_TEXT, lambda asked: asked.request.source.address, http=False),
    "source.port": Variable(_NUMBER, lambda asked: asked.request.source.port, http=False),
    "source.principal": Variable(_TEXT, lambda asked: asked.request.source.principal, http=False),
    "source.namespace": Variable(_TEXT, lambda asked: workload(asked.request.source.principal)[0], http=False),
    "remote.address": Variable(_TEXT, lambda asked: asked.request.facts.client_address, http=False),
    "destination.address": Variable(_TEXT, lambda asked: asked.request.destination.address, http=False),
    "destination.port": Variable(_NUMBER, lambda asked: asked.request.destination.port, http=False),
    "destination.principal": Variable(_TEXT, lambda asked: asked.request.destination.principal, http=False),
    "connection.sni": Variable(_TEXT, lambda asked: asked.request.sni, http=False),
    "now": Variable(cel.Type.TIMESTAMP, _now),
}


def getter(name: str, keys: Iterable[str] | None) -> Getter:
    """How to read `name`: only these keys of it, or all of it when `keys` is None."""
    variable = VARIABLES[name]
    get = variable.get if keys is None or variable.keyed is None else variable.keyed(tuple(sorted(keys)))
    return get if variable.type in _WITHOUT_TEXT else partial(_get_text, get)


_WITHOUT_TEXT = (_NUMBER, cel.Type.BOOL, cel.Type.TIMESTAMP)


def _get_text(get: Getter, asked: Asked) -> object:
    value = get(asked)
    return UNREADABLE if has_nul(value) else value


def has_nul(value: object) -> bool:
    """Whether a text in a JSON value holds a NUL. CEL's binding ends texts there (`admin` and more)."""
    match value:
        case str():
            return "\0" in value
        case dict():
            return any("\0" in key or has_nul(member) for key, member in value.items())
        case list():
            return any(map(has_nul, value))
        case _:
            return False
