"""The one reading of a path, and patterns that match it segment by segment.

Rule 1: a path that another parser could read differently is refused, never repaired.
Rule 2: patterns see decoded segments, so `/` inside a segment cannot exist.
Rule 3: no regular expression on attacker text but linear character classes.
"""

import re
import unicodedata
from typing import Final, NewType

from msgspec import Struct

CanonicalPath = NewType("CanonicalPath", str)  # made only by `canonicalise`

# Servers commonly cut a request line at 8 KiB, so a longer path never arrives whole everywhere.
MAX_PATH = 8 * 1024
MAX_SEGMENTS = 64

# RFC 3986 pchar without `;` (path parameters, threat 5) and without `!`: Envoy shows a raw byte >= 0x80
# as `!` while the upstream gets the byte itself (threat 9).
_PLAIN = re.compile(r"[A-Za-z0-9\-._~$&'()*+,=:@/]*")
_ENCODED = re.compile(r"(?:[A-Za-z0-9\-._~$&'()*+,=:@/]|%[0-9A-Fa-f]{2})*")
# RFC 3986 query; brackets, braces, bars and quotes are tolerated, for clients commonly leave them raw.
_QUERY = re.compile(r"""[!"$-;=?-_a-~]*""")
# After decoding, these would let another parser split, cut or decode once more (threats 2, 5, 8, 10).
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f/\\%;?#]")


class Path(Struct, frozen=True, gc=False):
    """A path with exactly one reading."""

    text: CanonicalPath  # `/` + decoded segments joined with `/`; a trailing slash is dropped
    segments: tuple[str, ...]
    query: str  # raw text behind the first `?`


class Ambiguous(Struct, frozen=True, gc=False):
    """Why a path was refused: the threat's number and what is wrong in words."""

    check: str
    detail: str


def canonicalise(raw: str) -> Path | Ambiguous:
    """The one reading of an HTTP request target in origin form (RFC 9112 section 3.2.1), or why there is none.

    Takes `AttributeContext.HttpRequest.path`: path and query as Envoy forwards them.
    """
    if len(raw) > MAX_PATH:
        return Ambiguous("T-13", "longer than 8 KiB")
    if not raw.startswith("/"):
        return Ambiguous("T-13", "not in origin form: it must begin with `/`")
    path, _, query = raw.partition("?")
    if not _QUERY.fullmatch(query):
        return Ambiguous("T-07", "a character in the query that no client may send raw")
    if _PLAIN.fullmatch(path):
        decoded = path
    else:
        unquoted = _unquote(path)
        if isinstance(unquoted, Ambiguous):
            return unquoted
        decoded = unquoted
    if decoded == "/":
        return Path(CanonicalPath("/"), (), query)
    segments = tuple(decoded[1:].split("/"))
    if segments[-1] == "":
        segments = segments[:-1]
    if len(segments) > MAX_SEGMENTS:
        return Ambiguous("T-13", "more than 64 segments")
    for segment in segments:
        if not segment:
            return Ambiguous("T-01", "an empty segment")
        if segment[-1] in ". " or segment[0] == " ":
            return _dots(segment)
    return Path(CanonicalPath("/" + "/".join(segments)), segments, query)


def _dots(segment: str) -> Ambiguous:
    if segment in {".", ".."}:
        return Ambiguous("T-03", "a dot segment")
    return Ambiguous("T-11", "a segment that begins or ends with a space or ends with a dot")


def _unquote(path: str) -> str | Ambiguous:
    """Decode percent-encoding once, segment by segment."""
    if not _ENCODED.fullmatch(path):
        return _illegal_character(path)
    decoded = []
    for segment in path.split("/"):
        if "%" not in segment:
            decoded.append(segment)
            continue
        try:
            text = _percent_decode(segment).decode("utf-8", "strict")
        except UnicodeDecodeError:
            return Ambiguous("T-09", "percent-encoding that is not UTF-8")
        if found := _FORBIDDEN.search(text):
            return Ambiguous("T-08" if found[0] == "%" else "T-02", "an encoded separator or control character")
        if not text.isascii() and (unicodedata.normalize("NFKC", text) != text or not _is_visible(text)):
            return Ambiguous("T-11", "characters that normalisation changes or that cannot be seen")
        decoded.append(text)
    return "/".join(decoded)


def _percent_decode(segment: str) -> bytes:
    head, *rest = segment.split("%")
    return head.encode() + b"".join(bytes.fromhex(part[:2]) + part[2:].encode() for part in rest)


def _is_visible(text: str) -> bool:
    """No format, control, private, unassigned or odd white-space characters."""
    return all(char == " " or unicodedata.category(char)[0] in "LNMPS" for char in text)


def _illegal_character(path: str) -> Ambiguous:
    if ";" in path:
        return Ambiguous("T-05", "path parameters")
    if "\\" in path:
        return Ambiguous("T-02", "a backslash")
    if "#" in path:
        return Ambiguous("T-06", "a fragment")
    if "!" in path or not path.isascii():
        return Ambiguous("T-09", "a byte outside of ASCII, or `!` that may stand for one")
    return Ambiguous("T-08", "a broken percent-encoding or a character that must be encoded")


ONE: Final = "*"
MANY: Final = "**"
_CAPTURE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class PathPattern(Struct, frozen=True):
    """`/api/{tenant}/**` taken apart. `*` and `{name}` stand for one segment, `**` for any number."""

    text: str
    tokens: tuple[str, ...]  # literal segments (decoded), ONE, MANY; a capture is ONE with a name
    names: tuple[str, ...]  # per token the capture's name or ""

    def match(self, segments: tuple[str, ...]) -> dict[str, str] | None:
        """The captured segments by name, or None when the pattern does not cover these segments."""
        tokens = self.tokens
        if MANY in tokens:
            head = tokens.index(MANY)
            tail = len(tokens) - head - 1
            if len(segments) < head + tail:
                return None
            cut = len(segments) - tail
            before = _match_all(tokens[:head], self.names[:head], segments[:head])
            after = _match_all(tokens[head + 1 :], self.names[head + 1 :], segments[cut:])
            return None if before is None or after is None else before | after
        if len(segments) != len(tokens):
            return None
        return _match_all(tokens, self.names, segments)

    @property
    def specificity(self) -> tuple[int, ...]:
        """Sort key: the smaller, the more specific. Literal before one segment before any number."""
        kinds = [{MANY: 2, ONE: 1}.get(token, 0) for token in self.tokens]
        return (*kinds, 3)

    def folded(self) -> "PathPattern":
        """The same pattern with its literals case-folded, for comparison with case-folded segments."""
        return PathPattern(self.text, tuple(token.casefold() for token in self.tokens), self.names)


def _match_all(tokens: tuple[str, ...], names: tuple[str, ...], segments: tuple[str, ...]) -> dict[str, str] | None:
    captured = {}
    for token, name, segment in zip(tokens, names, segments, strict=True):
        if token is ONE or token == ONE:
            if name:
                captured[name] = segment
        elif token != segment:
            return None
    return captured


def parse_pattern(text: str) -> PathPattern | str:
    """Read a path pattern, or say what is wrong with it."""
    if not text.startswith("/"):
        return f"path pattern `{text}` must begin with `/`"
    if text != "/" and text.endswith("/"):
        return f"path pattern `{text}` must not end with `/`: `{text.rstrip('/')}` covers both spellings"
    tokens: list[str] = []
    names: list[str] = []
    for part in text[1:].split("/") if text != "/" else []:
        capture = _CAPTURE.fullmatch(part)
        name = capture[1] if capture else ""
        if name and name in names:
            return f"path pattern `{text}` captures `{name}` twice"
        if part == MANY and MANY in tokens:
            return f"path pattern `{text}` has more than one `**`"
        if not capture and part not in {ONE, MANY}:
            if any(char in part for char in "*{}"):
                return f"path pattern `{text}`: `*`, `**` and `{{name}}` must each be a whole segment, found `{part}`"
            literal = canonicalise("/" + part)
            if isinstance(literal, Ambiguous) or len(literal.segments) != 1:
                why = literal.detail if isinstance(literal, Ambiguous) else "an empty segment"
                return f"path pattern `{text}` can never match: {why}"
            part = literal.segments[0]  # noqa: PLW2901 - the decoded spelling is the one that is compared
        tokens.append(ONE if capture else part)
        names.append(name)
    return PathPattern(text, tuple(tokens), tuple(names))
