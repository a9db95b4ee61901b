"""The URL that a DPoP proof speaks about (RFC 9449 section 4.3), in one spelling.

Rule 1: normalising is RFC 3986 sections 6.2.2 and 6.2.3, and nothing beyond: `%2F` stays, case and a last slash count.
Rule 2: what is no plain URL has no spelling at all; library parsers drop tabs and line ends, so none is used.
"""

import re
from collections.abc import Mapping

from msgspec import Struct

from extauthz.model.hosts import HostPattern, canonicalise_host, parse_host_pattern
from extauthz.model.problems import Location, Problem
from extauthz.model.request import Request

# Scheme, authority without user, path; a query and a fragment are dropped (RFC 9449 section 4.3).
_URL = re.compile(r"([A-Za-z]+)://([^/?#@\\]+)([^?#]*)(?:\?[^#]*)?(?:#.*)?")
_VISIBLE = re.compile(r"[!-~]+")
_PATH = re.compile(r"(?:/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*)?")
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
_UNRESERVED = re.compile(r"[A-Za-z0-9\-._~]")
_DEFAULT_PORTS = {"https": 443, "http": 80}
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Origins(Struct, frozen=True):
    """What clients call this service, by the host that Envoy sees; an origin may end with a path prefix."""

    by_host: tuple[tuple[HostPattern, str], ...] = ()
    else_host: bool = False  # without an entry, `https://` and the host itself

    def url(self, request: Request) -> str | None:
        """The public URL of a request without query, normalised; None where it is not known."""
        origin = self._find(request.host)
        path = _normalise_path(request.raw_path)
        if not origin or path is None:
            return None
        return origin + path

    def target_uri(self, request: Request) -> str | None:
        """The public URL as the client wrote it, with query (RFC 9421 section 2.2.2); None where not known."""
        origin, query = self._find(request.host), f"?{request.query}" if request.query else ""
        if not origin or not _PATH.fullmatch(request.raw_path) or not _VISIBLE.fullmatch(f"/{query}"):
            return None
        return f"{origin}{request.raw_path or '/'}{query}"

    def _find(self, host: str) -> str:
        for pattern, origin in self.by_host:
            captured = pattern.match(host)
            if captured is not None:
                return origin.replace(f"{{{pattern.capture}}}", captured[pattern.capture]) if captured else origin
        if not self.else_host:
            return ""
        return f"https://[{host}]" if ":" in host else f"https://{host}"


def normalise(url: str) -> str | None:
    """An absolute URL without query and fragment in its one spelling; None for everything else (DP-12)."""
    match = _URL.fullmatch(url) if _VISIBLE.fullmatch(url) else None
    if match is None or match[1].lower() not in _DEFAULT_PORTS:
        return None
    scheme = match[1].lower()
    host, path = canonicalise_host(match[2].removesuffix(":")), _normalise_path(match[3])
    if host is None or path is None:
        return None
    name = f"[{host.name}]" if ":" in host.name else host.name
    port = f":{host.port}" if host.port not in {0, _DEFAULT_PORTS[scheme]} else ""
    return f"{scheme}://{name}{port}{path}"


def _normalise_path(path: str) -> str | None:
    if not _PATH.fullmatch(path):
        return None
    if "%" in path:
        path = _ENCODED.sub(_decode_unreserved, path)
    if "/." in path:
        path = _without_dot_segments(path)
    return path or "/"


def _decode_unreserved(encoded: re.Match[str]) -> str:
    char = chr(int(encoded[0][1:], 16))
    return char if _UNRESERVED.fullmatch(char) else encoded[0].upper()


def _without_dot_segments(path: str) -> str:
    """RFC 3986 section 5.2.4, for a path that begins with a slash."""
    kept: list[str] = []
    *parents, last = path.split("/")[1:]
    for segment in (*parents, last):
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    if last in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)


def compile_origins(
    spec: str | Mapping[str, str], hosts: tuple[str, ...], problems: list[Problem], location: Location
) -> Origins:
    """Check and compile a `publicOrigin`; `hosts` are the host patterns of the profile."""
    if not spec:
        # With `*` the host is whatever the client says, also the host of a proof that was made for somebody else.
        return Origins(else_host="*" not in hosts)
    entries = {"*": spec} if isinstance(spec, str) else spec
    compiled = []
    for text, origin in entries.items():
        where = location if isinstance(spec, str) else (*location, text)
        pattern = parse_host_pattern(text)
        if isinstance(pattern, str):
            problems.append(Problem(where, pattern))
            continue
        spelled = _compile_origin(origin, pattern, problems, where)
        compiled.append((pattern, spelled))
    compiled.sort(key=lambda entry: entry[0].specificity)
    return Origins(tuple(compiled), else_host=not isinstance(spec, str) and "*" not in hosts)


def _compile_origin(origin: str, pattern: HostPattern, problems: list[Problem], where: Location) -> str:
    """The origin in its one spelling, `{name}` kept where the pattern of the host captures it."""
    placeholder, label = f"{{{pattern.capture}}}", "0captured0"
    known = origin.replace(placeholder, label) if pattern.capture else origin
    spelled = normalise(known)
    if spelled is None or "?" in origin or "#" in origin:
        message = f"`{origin}` must be a URL such as `https://api.example.com`, with a path prefix at most"
        problems.append(Problem(where, message))
        return ""
    host = canonicalise_host(known.partition("://")[2].partition("/")[0])
    if spelled.startswith("http://") and (host is None or host.name not in _LOOPBACK):
        problems.append(Problem(where, f"`{origin}` must begin with `https://`; `http://` is for loopback only"))
    spelled = spelled.removesuffix("/")
    return spelled.replace(label, placeholder) if pattern.capture else spelled
