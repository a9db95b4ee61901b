"""Request headers in the two forms Envoy sends them, behind one face (`model.request.Headers`).

Rule: names are lower case, as Envoy writes them; a name in any other case is unknown.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from msgspec import Struct

# Everything before the first comma that stands outside of quotes. Possessive: one pass, whatever a client writes, and
# a quote that never ends counts as if it did not begin.
_UNDIVIDED = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*+")*+', re.DOTALL)

# Headers whose grammar has no comma outside of quotes, so that a comma means two lines that Envoy joined. The FAPI
# dates have one of their own, which the FAPI guard reads.
WITHOUT_COMMA = frozenset(
    {
        "authorization",
        "content-length",
        "content-type",
        "dpop",
        "host",
        "x-fapi-customer-ip-address",
        "x-fapi-end-user-present",
        "x-fapi-financial-id",
        "x-fapi-interaction-id",
    },
)


def has_two_values(value: str) -> bool:
    """Whether a header without commas in its grammar holds one outside of quotes."""
    if "," not in value:
        return False
    undivided = _UNDIVIDED.match(value)
    return undivided is None or undivided.end() != len(value)


class JoinedHeaders(Struct, eq=False, gc=False):
    """The `headers` map: one value a name, lines of one name already joined with `,` by Envoy.

    Holds upb's own map and looks names up in it: turning it into a dict costs more than the parse did.
    """

    _map: Mapping[str, str]
    _single: frozenset[str]
    get: Callable[[str], str | None]  # the map's own: the value; bytes that are not UTF-8 have become `!` at Envoy's

    def is_repeated(self, name: str) -> bool:
        """Whether a comma betrays a second line; always False for headers whose grammar has commas."""
        value = self.get(name) if name in self._single else None
        return value is not None and "," in value and has_two_values(value)

    def has_repeated(self, names: Iterable[str]) -> bool:
        """Whether one of `names`, none of which has a comma in its grammar, has a second line."""
        headers = self._map
        for name in names:  # noqa: SIM110 - `any` costs more than the lookups: most are absent, which `in` tells fast
            if name in headers and "," in (value := headers[name]) and has_two_values(value):
                return True
        return False

    def among(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that are there."""
        headers, found = self._map, []
        for name in names:
            if name in headers:
                found.append(name)  # noqa: PERF401 - a comprehension is a call more, and most are absent
        return found

    def items(self) -> list[tuple[str, str]]:
        """All headers but pseudo-headers, in order of their names."""
        return sorted((name, value) for name, value in self._map.items() if not name.startswith(":"))


class RawHeader(Protocol):
    """`config.core.v3.HeaderValue`, as far as we read it."""

    key: str
    value: str
    raw_value: bytes


class ListedHeaders:
    """The `header_map` list: every line that arrived, as bytes."""

    __slots__ = ("_lines",)

    def __init__(self, lines: Iterable[RawHeader]) -> None:
        self._lines: dict[str, list[bytes]] = {}
        for line in lines:
            self._lines.setdefault(line.key, []).append(line.raw_value or line.value.encode())

    def get(self, name: str) -> str | None:
        """The value; bytes that are not UTF-8 become U+FFFD, which equals nothing a policy names (T-15)."""
        lines = self._lines.get(name)
        return None if lines is None else b",".join(lines).decode("utf-8", "replace")

    def raw(self, name: str) -> list[bytes]:
        """Every line of that name, in order of arrival."""
        return self._lines.get(name, [])

    def is_repeated(self, name: str) -> bool:
        """Whether more than one line of that name arrived."""
        return len(self._lines.get(name, ())) > 1

    def has_repeated(self, names: Collection[str]) -> bool:
        """Whether one of `names`, a pseudo-header or any header of FAPI has a second line."""
        repeated = [name for name, lines in self._lines.items() if len(lines) > 1]
        return any(name in names or name.startswith((":", "x-fapi-")) for name in repeated)

    def among(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that are there."""
        return [name for name in names if name in self._lines]

    def items(self) -> list[tuple[str, str]]:
        """All headers but pseudo-headers, in order of their names."""
        return sorted((name, self.get(name) or "") for name in self._lines if not name.startswith(":"))
