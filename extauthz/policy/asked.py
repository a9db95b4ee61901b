"""One question in the course of its evaluation: the request, and what rules derive from it, each derived once."""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from extauthz.model.paths import CanonicalPath
from extauthz.model.request import Connection, Request
from extauthz.model.subject import ANONYMOUS, Subject
from extauthz.policy.claims import ABSENT, ALL_CLAIMS, UNREADABLE, ClaimsReader, decode_all
from extauthz.policy.facts import NO_FACTS, Facts
from extauthz.policy.matchers import read_address
from extauthz.policy.query import Query, read_query

INT64: Final = range(-(2**63), 2**63)
_WORKLOAD = re.compile(r"spiffe://[^/]+/ns/([^/]+)/sa/([^/]+)")


class _NoHeaders:
    def get(self, name: str) -> str | None:  # noqa: ARG002
        return None

    def is_repeated(self, name: str) -> bool:  # noqa: ARG002
        return False

    def among(self, names: Iterable[str]) -> list[str]:  # noqa: ARG002
        return []

    def items(self) -> list[tuple[str, str]]:
        return []


_NO_HEADERS = _NoHeaders()


class Asked:
    """What rules and conditions read. Attributes that are derived are None until asked for."""

    __slots__ = (
        "_addresses",
        "_all_claims",
        "_claims",
        "_query",
        "_reader",
        "facts",
        "folded",
        "now",
        "params",
        "request",
        "subject",
        "tenant",
    )

    def __init__(
        self,
        request: Request,
        subject: Subject,
        tenant: str,
        now: int,
        reader: ClaimsReader = ALL_CLAIMS,
        facts: Facts = NO_FACTS,
    ) -> None:
        """`tenant` is the tenant of the resource; `now` is whole seconds since the epoch; `reader` knows the claims.

        `facts`: the bundle's data. Expressions of others than their owner read what they were compiled with.
        """
        self.request = request
        self.subject = subject
        self.tenant = tenant
        self.now = now
        self.facts = facts
        self.params: dict[str, str] = {}  # captures of the rule that is being tried
        self.folded = request.folded
        self._query: Query | bool = False
        self._reader = reader
        self._claims: object = None
        self._all_claims: Any = None
        self._addresses: dict[str, tuple[int, int] | None] | None = None

    @property
    def query(self) -> Query | None:
        """The query's parameters; None when parsers may differ about them."""
        if self._query is False:
            self._query = read_query(self.request.query) or True
        return None if isinstance(self._query, bool) else self._query

    @property
    def claims(self) -> Any:  # noqa: ANN401 - a JSON object as a dict, or UNREADABLE
        """All claims of the token; UNREADABLE when they are no JSON object."""
        if self._all_claims is None:
            self._all_claims = decode_all(self.subject.claims)
        return self._all_claims

    def claim(self, name: str) -> Any:  # noqa: ANN401 - any JSON value, ABSENT or UNREADABLE
        """One claim of the token, ABSENT when there is none of that name."""
        claims = self._claims
        if claims is None:
            claims = self._claims = self._reader.decode(self.subject.claims)
        if claims is UNREADABLE:
            return UNREADABLE
        get = self._reader.fields.get(name)
        if get is not None:
            return get(claims)
        return UNREADABLE if self.claims is UNREADABLE else self.claims.get(name, ABSENT)

    def address(self, text: str) -> tuple[int, int] | None:
        """(version, number) of an address, None when it is none (a Unix socket, an internal listener)."""
        if self._addresses is None:
            self._addresses = {}
        if text not in self._addresses:
            self._addresses[text] = read_address(text)
        return self._addresses[text]


Ask = Callable[[Request, Subject, str, int, ClaimsReader, Facts], Asked]


def asked_of_connection(connection: Connection, facts: Facts = NO_FACTS, ask: Ask = Asked) -> Asked:
    """A connection as a request of which nothing is known but its ends; HTTP attributes are never read."""
    request = Request(
        facts=connection.facts,
        method="",
        host="",
        port=0,
        scheme="",
        path=CanonicalPath("/"),
        segments=(),
        query="",
        headers=_NO_HEADERS,
        source=connection.source,
        destination=connection.destination,
        sni=connection.sni,
    )
    return ask(request, ANONYMOUS, "", 0, ALL_CLAIMS, facts)


def within_int64(value: object) -> bool:
    """Whether CEL can hold every integer in a JSON value; it would turn larger ones into another type."""
    match value:
        case int():
            return value in INT64
        case dict():
            return all(within_int64(member) for member in value.values())
        case list():
            return all(within_int64(member) for member in value)
        case _:
            return True


def workload(principal: str) -> tuple[str, str]:
    """(namespace, service account) of a SPIFFE identity as Istio issues it, ("", "") of any other."""
    match = _WORKLOAD.fullmatch(principal)
    return (match[1], match[2]) if match else ("", "")
