"""The one reading of a path, and patterns that match it segment by segment.

Rule 1: a path that another parser could read differently is refused, never repaired.
Rule 2: patterns see decoded segments, so `/` inside a segment cannot exist.
Rule 3: no regular expression on attacker text but linear character classes.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Final, NewType

from msgspec import Struct
from msgspec.structs import force_setattr

CanonicalPath = NewType("CanonicalPath", str)  # made only by `canonicalise`

# Patterns that are kept as they were read: a bundle's documents are looked at by several, and again with each change.
# 10,000 policies have some 20,000.
_KEPT: Final = 32_768

# Servers commonly cut a request line at 8 KiB, so a longer path never arrives whole everywhere.
MAX_PATH = 8 * 1024
MAX_SEGMENTS = 64

# RFC 3986 pchar without `;` (path parameters, threat 5) and without `!`: Envoy shows a raw byte >= 0x80
# as `!` while the upstream gets the byte itself (threat 9). `+` stays itself, as in RFC 3986: only form
# encoding, which belongs to queries, reads it as a space.
_PLAIN = re.compile(r"[A-Za-z0-9\-._~$&'()*+,=:@/]*")
# What most paths look like: of these characters alone, no empty segment, none that ends with a dot. It tells nothing
# that `_canonicalise_any` would not, in a fourth of its time. Possessive: one pass.
_USUAL = re.compile(r"(?:/[A-Za-z0-9\-._~$&'()*+,=:@]++(?<!\.))++")
_ENCODED = re.compile(r"(?:[A-Za-z0-9\-._~$&'()*+,=:@/]|%[0-9A-Fa-f]{2})*")
_ENCODED_VERBATIM = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,=:@/]|%[0-9A-Fa-f]{2})*")
# RFC 3986 query; brackets, braces, bars and quotes are tolerated, for clients commonly leave them raw. So is
# `!`, which JavaScript never encodes: outside `header_map` mode it may stand for a raw byte in a value.
_QUERY = re.compile(r"""[!"$-;=?-_a-~]*""")
# After decoding, these would let another parser split, cut or decode once more (threats 2, 5, 8, 10).
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f/\\%;?#]")
# Letters and marks that are drawn as nothing (Unicode Default_Ignorable_Code_Point within categories L and M),
# so that some comparers drop them (threat 11).
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


class Path(Struct, frozen=True, gc=False):
    """A path with exactly one reading."""

    text: CanonicalPath  # `/` + decoded segments joined with `/`; a trailing slash is dropped
    segments: tuple[str, ...]
    query: str  # raw text behind the first `?`
    folded: tuple[str, ...]  # `segments` case-folded; the same object where that changes nothing


class Ambiguous(Struct, frozen=True, gc=False):
    """Why a path was refused: the threat's number and what is wrong in words."""

    check: str
    detail: str


def canonicalise(raw: str, *, verbatim: bool = False) -> Path | Ambiguous:
    """The one reading of an HTTP request target in origin form (RFC 9112 section 3.2.1), or why there is none.

    Takes `AttributeContext.HttpRequest.path`: path and query as Envoy forwards them. `verbatim` says that `raw`
    is known to be what the upstream gets, byte for byte, so that a `!` can only be itself.
    """
    if len(raw) > MAX_PATH:
        return Ambiguous("T-13", "longer than 8 KiB")
    if _USUAL.fullmatch(raw):  # and so without a query
        segments = tuple(raw[1:].split("/"))
        if len(segments) <= MAX_SEGMENTS:
            folded = segments if raw.casefold() == raw else fold(raw, segments)
            return Path(CanonicalPath(raw), segments, "", folded)
    path, _, query = raw.partition("?")
    if _USUAL.fullmatch(path) and (not query or _QUERY.fullmatch(query)):
        segments = tuple(path[1:].split("/"))
        if len(segments) <= MAX_SEGMENTS:
            return Path(CanonicalPath(path), segments, query, fold(path, segments))
    return _canonicalise_any(raw, path, query, _ENCODED_VERBATIM if verbatim else _ENCODED)


def _canonicalise_any(raw: str, path: str, query: str, encoded: re.Pattern[str]) -> Path | Ambiguous:
    """Every step, for paths that are not usual."""
    if not raw.startswith("/"):
        return Ambiguous("T-13", "not in origin form: it must begin with `/`")
    if raw.startswith("//"):
        return Ambiguous("T-12", "two slashes in front, which some parsers read as an authority")
    if not _QUERY.fullmatch(query):
        return Ambiguous("T-07", "a character in the query that no client may send raw")
    decoded = path if _PLAIN.fullmatch(path) else _unquote(path, encoded)
    if isinstance(decoded, Ambiguous):
        return decoded
    if decoded == "/":
        return Path(CanonicalPath("/"), (), query, ())
    segments = tuple(decoded.removesuffix("/").split("/")[1:])
    if len(segments) > MAX_SEGMENTS:
        return Ambiguous("T-13", "more than 64 segments")
    for segment in segments:
        if not segment:
            return Ambiguous("T-01", "an empty segment")
        if segment[-1] in ". " or segment[0] == " ":
            return _dots(segment)
    text = "/" + "/".join(segments)
    return Path(CanonicalPath(text), segments, query, fold(text, segments))


def fold(path: str, segments: tuple[str, ...]) -> tuple[str, ...]:
    """The case-folded segments of a path; the same object where that changes nothing."""
    return segments if path.casefold() == path else tuple([segment.casefold() for segment in segments])


def _dots(segment: str) -> Ambiguous:
    if segment in {".", ".."}:
        return Ambiguous("T-03", "a dot segment")
    return Ambiguous("T-11", "a segment that begins or ends with a space or ends with a dot")


def _unquote(path: str, grammar: re.Pattern[str]) -> str | Ambiguous:
    """Decode percent-encoding once, segment by segment."""
    if not grammar.fullmatch(path):
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
        if not text.isascii() and not _is_plain_writing(text):
            return Ambiguous("T-11", "characters that normalisation changes, that cannot be seen or are no letters")
        decoded.append(text)
    return "/".join(decoded)


def _percent_decode(segment: str) -> bytes:
    head, *rest = segment.split("%")
    return head.encode() + b"".join(bytes.fromhex(part[:2]) + part[2:].encode() for part in rest)


def _is_plain_writing(text: str) -> bool:
    r"""Whether all beside ASCII is visible letters, marks and digits that compatibility normalisation keeps.

    Punctuation and symbols outside of ASCII are left out because best-fit conversions to legacy code pages turn
    some of them (U+2215, U+00A5) into `/` and `\`.
    """
    if unicodedata.normalize("NFKC", text) != text or _INVISIBLE.search(text):
        return False
    return all(char.isascii() or (unicodedata.category(char)[0] in "LNM" and _folds_alike(char)) for char in text)


def _folds_alike(char: str) -> bool:
    """Whether case folding, as deny rules compare, covers what other case mappings make of `char`.

    The dotless and the dotted Turkish i become `I` and `i` for whoever upper-cases or lower-cases (T-11).
    """
    reaches_ascii = any(other.isascii() for other in char.upper() + char.lower())
    return not reaches_ascii or char.casefold().isascii()


def _illegal_character(path: str) -> Ambiguous:
    if ";" in path:
        return Ambiguous("T-05", "path parameters")
    if "\\" in path:
        return Ambiguous("T-02", "a backslash")
    if "#" in path:
        return Ambiguous("T-06", "a fragment")
    if not path.isascii():
        return Ambiguous("T-09", "a byte outside of ASCII that is not percent-encoded")
    if "!" in path:
        return Ambiguous("T-09", "`!`, which may stand for a byte outside of ASCII")
    return Ambiguous("T-08", "a broken percent-encoding or a character that must be encoded")


ONE: Final = "*"
MANY: Final = "**"
_CAPTURE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class PathPattern(Struct, frozen=True):
    """`/api/{tenant}/**` taken apart. `*` and `{name}` stand for one segment, `**` for any number."""

    text: str
    tokens: tuple[str, ...]  # literal segments (decoded), ONE, MANY; a capture is ONE with a name
    names: tuple[str, ...]  # per token the capture's name or ""
    # What `match` reads of these, worked out once. Places behind `**` are counted from the end.
    literals: tuple[tuple[int, str], ...] = ()
    captures: tuple[tuple[str, int], ...] = ()
    least: int = 0  # segments that are needed
    open: bool = False  # has `**`: more segments may come

    def __post_init__(self) -> None:
        """Number the segments."""
        tokens = self.tokens
        many = tokens.index(MANY) if MANY in tokens else len(tokens)
        places = [(at if at < many else at - len(tokens), at) for at in range(len(tokens)) if at != many]
        force_setattr(self, "literals", tuple((place, tokens[at]) for place, at in places if tokens[at] != ONE))
        force_setattr(self, "captures", tuple((self.names[at], place) for place, at in places if self.names[at]))
        force_setattr(self, "least", len(places))
        force_setattr(self, "open", many < len(tokens))

    def match(self, segments: tuple[str, ...]) -> dict[str, str] | None:
        """The captured segments by name, or None when the pattern does not cover these segments."""
        count = len(segments)
        if count != self.least and (not self.open or count < self.least):
            return None
        for place, literal in self.literals:
            if segments[place] != literal:
                return None
        return {name: segments[place] for name, place in self.captures}

    @property
    def specificity(self) -> tuple[int, ...]:
        """Sort key: the smaller, the more specific. Literal before one segment before any number."""
        kinds = [{MANY: 2, ONE: 1}.get(token, 0) for token in self.tokens]
        return (*kinds, 3)

    def folded(self) -> "PathPattern":
        """The same pattern with its literals case-folded, for comparison with case-folded segments."""
        return PathPattern(self.text, tuple(token.casefold() for token in self.tokens), self.names)


class _Fault(Struct, frozen=True):
    message: str


def _parse_literal(text: str, part: str) -> str | _Fault:
    """The decoded spelling of one literal segment of the pattern `text`."""
    if any(char in part for char in "*{}"):
        return _Fault(f"path pattern `{text}`: `*`, `**` and `{{name}}` must each be a whole segment, found `{part}`")
    if "?" in part:
        return _Fault(f"path pattern `{text}` must not have a query: compare `request.query` in a condition")
    literal = canonicalise("/" + part, verbatim=True)
    if isinstance(literal, Ambiguous) or len(literal.segments) != 1:
        why = literal.detail if isinstance(literal, Ambiguous) and part else "an empty segment"
        return _Fault(f"path pattern `{text}` can never match: {why}")
    if literal.segments[0] in {ONE, MANY}:
        return _Fault(f"path pattern `{text}` cannot name a segment that is itself `{literal.segments[0]}`")
    return literal.segments[0]


@lru_cache(maxsize=_KEPT)
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
            literal = _parse_literal(text, part)
            if isinstance(literal, _Fault):
                return literal.message
            part = literal  # noqa: PLW2901 - the decoded spelling is the one that is compared
        tokens.append(ONE if capture else part)
        names.append(name)
    return PathPattern(text, tuple(tokens), tuple(names))
