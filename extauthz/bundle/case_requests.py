"""The request of a PolicyTest's case, built as `wire` builds one from Envoy's message.

The same canonical path and host, or the same refusal.
"""

import re
from collections.abc import Iterable
from typing import Final

from extauthz.bundle.kinds import CaseRequestSpec
from extauthz.identity import base64url
from extauthz.model.hosts import canonicalise_host
from extauthz.model.paths import Ambiguous, canonicalise
from extauthz.model.reasons import Reason
from extauthz.model.request import Connection, Facts, ForwardedCertificate, Peer, Refused, Request

_METHOD: Final = re.compile(r"[A-Z][A-Z0-9_\-]{0,19}")
_DIGEST: Final = 32  # bytes of SHA-256


class CaseHeaders:
    """Request headers as a case writes them: a text or a list of lines for each name, in any case."""

    def __init__(self, lines: dict[str, str | tuple[str, ...]]) -> None:
        self._lines: dict[str, tuple[str, ...]] = {}
        for name, value in lines.items():
            more = (value,) if isinstance(value, str) else value
            self._lines[name.lower()] = self._lines.get(name.lower(), ()) + more

    def with_line(self, name: str, value: str) -> "CaseHeaders":
        """The same headers with one more line."""
        return CaseHeaders({**self._lines, name: (*self._lines.get(name, ()), value)})

    def get(self, name: str) -> str | None:
        """The value, several lines joined with `,` as Envoy does; None when absent."""
        lines = self._lines.get(name)
        return ",".join(lines) if lines else None

    def among(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that are there."""
        return [name for name in names if self.get(name) is not None]

    def is_repeated(self, name: str) -> bool:
        """Whether more than one line of that name was sent."""
        return len(self._lines.get(name, ())) > 1

    def items(self) -> list[tuple[str, str]]:
        """All headers in order of their names."""
        return sorted((name, ",".join(lines)) for name, lines in self._lines.items() if lines)


def build_request(spec: CaseRequestSpec, headers: CaseHeaders) -> Request | Connection | Refused:
    """What a decision is asked."""
    source = Peer(address=spec.source_address, principal=spec.principal)
    destination = Peer(port=spec.destination_port, principal=spec.destination_principal)
    client = spec.client_address or spec.source_address
    if spec.tcp:
        return Connection(
            Facts(source=source, destination=destination, client_address=client), source, destination, spec.sni
        )
    host = canonicalise_host(spec.host)
    facts = Facts(
        method=spec.method,
        host=host.name if host else "",
        source=source,
        destination=destination,
        client_address=client,
    )
    if not _METHOD.fullmatch(spec.method):
        return Refused(facts, Reason.METHOD_INVALID, "T-22")
    if host is None:
        return Refused(facts, Reason.HOST_INVALID, "T-18")
    path = canonicalise(spec.path)
    if isinstance(path, Ambiguous):
        return Refused(facts, Reason.PATH_AMBIGUOUS, path.check)
    return Request(
        facts=facts,
        method=spec.method,
        host=host.name,
        port=host.port,
        scheme="https",
        path=path.text,
        segments=path.segments,
        query=path.query,
        headers=headers,
        source=source,
        destination=destination,
        forwarded=_certificate(spec),
        body=spec.body.encode() or None,
        sni=spec.sni,
        raw_path=spec.path.partition("?")[0],
    )


def _certificate(spec: CaseRequestSpec) -> ForwardedCertificate | None:
    """What Envoy would say in x-forwarded-client-cert: the peer's certificate, or that of the client in front of it."""
    if spec.client_certificate:
        return ForwardedCertificate(hash=digest_of(spec.client_certificate) or "", uri=spec.principal)
    if spec.forwarded_certificate:
        return ForwardedCertificate(hash=digest_of(spec.forwarded_certificate) or "", hop=2)
    return None


def digest_of(thumbprint: str) -> str | None:
    """A thumbprint as Envoy writes it, 64 lower-case hexadecimal digits; None when it is none."""
    found = base64url.decode(thumbprint)
    return found.hex() if found is not None and len(found) == _DIGEST else None
