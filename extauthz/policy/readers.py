"""Where the values of conditions come from: one reader for each, with one reading or none.

Rule: what may be read in more than one way, or CEL cannot hold (a text with a NUL, an integer of more than 64 bits),
raises UnreadableError.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final

from extauthz.model.request import Headers
from extauthz.policy.asked import INT64, Asked, workload
from extauthz.policy.claims import ABSENT, UNREADABLE
from extauthz.policy.lowering import Timestamp, is_plain, is_text

Reader = Callable[[Asked], Any]  # raises UnreadableError

NANOS: Final = 1_000_000_000  # in a second

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


def has_one_reading(headers: Headers, name: str, value: str) -> bool:
    """Whether a header has one value for sure (T-26)."""
    return ("," not in value or name in LISTED_HEADERS) and not headers.is_repeated(name)


def text(attribute: str) -> Reader:
    """Of a text."""
    get = attrgetter(attribute)

    def read(asked: Asked) -> str:
        value: str = get(asked)
        if (value.isascii() and "\0" not in value) or is_text(value):
            return value
        raise UnreadableError

    return read


def texts(attribute: str) -> Reader:
    """Of a list of texts."""
    get = attrgetter(attribute)

    def read(asked: Asked) -> tuple[str, ...]:
        value: tuple[str, ...] = get(asked)
        for text in value:
            if not (text.isascii() and "\0" not in text) and not is_text(text):
                raise UnreadableError
        return value

    return read


def number(attribute: str) -> Reader:
    """Of a whole number."""
    get = attrgetter(attribute)

    def read(asked: Asked) -> int:
        value: int = get(asked)
        if value in INT64:
            return value
        raise UnreadableError

    return read


def _whole(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if is_plain(value):
        return value
    raise UnreadableError


def all_headers(asked: Asked) -> dict[str, str]:
    """Every header; unreadable if one of them is."""
    headers = asked.request.headers
    found: dict[str, str] = {}
    for name, value in headers.items():
        if name in found or not has_one_reading(headers, name, value):
            raise UnreadableError
        found[name] = value
    _whole(found)
    return found


def header(name: str) -> Reader:
    """One header."""
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


def all_query(asked: Asked) -> dict[str, str]:
    """Every query parameter."""
    query = asked.query
    if query is None or query.is_repeated:
        raise UnreadableError
    _whole(query.values)
    return query.values


def parameter(name: str) -> Reader:
    """One query parameter."""

    def read(asked: Asked) -> Any:  # noqa: ANN401 - a text or ABSENT
        query = asked.query
        values = None if query is None else query.find(name)
        if values is None:
            raise UnreadableError
        return _whole(values[0]) if values else ABSENT

    return read


def all_claims(asked: Asked) -> Any:  # noqa: ANN401 - a JSON object
    """The whole payload of the token."""
    if asked.claims is UNREADABLE:
        raise UnreadableError
    return _whole(asked.claims)


def claim(name: str) -> Reader:
    """One claim."""

    def read(asked: Asked) -> Any:  # noqa: ANN401 - any JSON value or ABSENT
        value = asked.claim(name)
        if value is ABSENT:
            return value
        if value is UNREADABLE:
            raise UnreadableError
        return _whole(value)

    return read


def capture(name: str) -> Reader:
    """One capture of the path or host."""

    def read(asked: Asked) -> Any:  # noqa: ANN401 - a text or ABSENT
        value = asked.params.get(name)
        return ABSENT if value is None else _whole(value)

    return read


def authenticated(asked: Asked) -> bool:
    """Whether somebody is known."""
    return not asked.subject.is_anonymous


def namespace(asked: Asked) -> Any:  # noqa: ANN401 - a text
    """Of the peer's workload."""
    return _whole(workload(asked.request.source.principal)[0])


def now(asked: Asked) -> Timestamp:
    """The time of the Check."""
    return Timestamp(asked.now * NANOS)


def params(asked: Asked) -> Any:  # noqa: ANN401 - a map of texts
    """All captures."""
    return _whole(asked.params)
