"""Small stand-ins that several rooms' tests share."""

from collections.abc import Iterable

from extauthz.model.paths import Path, canonicalise
from extauthz.model.request import Facts, Peer, Request

NOBODY = Peer()


class FakeHeaders:
    """Request headers from lines, as `header_map` mode shows them; `joined` as the other mode does."""

    def __init__(self, lines: Iterable[tuple[str, str]] = (), *, joined: bool = False) -> None:
        self._lines = list(lines)
        self._joined = joined

    def get(self, name: str) -> str | None:
        values = [value for key, value in self._lines if key == name]
        return ",".join(values) if values else None

    def is_repeated(self, name: str) -> bool:
        return not self._joined and len([key for key, _ in self._lines if key == name]) > 1

    def items(self) -> list[tuple[str, str]]:
        return sorted({(name, self.get(name) or "") for name, _ in self._lines})


def a_request(
    method: str = "GET",
    path: str = "/",
    *,
    host: str = "api.bank.test",
    headers: Iterable[tuple[str, str]] = (),
    joined: bool = False,
    source: Peer = NOBODY,
    destination: Peer = NOBODY,
) -> Request:
    """A request as `wire.inbound` would have read it."""
    found = canonicalise(path)
    assert isinstance(found, Path), found
    return Request(
        facts=Facts(method=method, host=host, source=source, destination=destination),
        method=method,
        host=host,
        port=0,
        scheme="https",
        path=found.text,
        segments=found.segments,
        query=found.query,
        headers=FakeHeaders(headers, joined=joined),
        source=source,
        destination=destination,
    )
