"""Istio's paths: string match and path templates, letter by letter on the path that Envoy forwards.

Rule 1: the path pattern beside the expression covers whatever the expression matches, so that rules stay indexed and
readable.
"""

import re
from typing import Final

from extauthz.mesh.texts import Match, Text, quoted, read_match
from extauthz.mesh.values import Value
from extauthz.model.paths import Ambiguous, canonicalise, parse_pattern

_PATH: Final = "request.raw_path"
_AS_SENT: Final = Text(_PATH)
EVERY_PATH: Final = "/**"
_ONE, _MANY = "{*}", "{**}"
# RE2's own characters; CEL's `matches` is RE2.
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")


def path(value: str) -> Value:
    """What a value of `paths` becomes."""
    if _ONE in value or _MANY in value:
        return _template(value)
    match = read_match(value)
    if match.kind == "present":
        return Value(native=EVERY_PATH, is_exact=True, attribute=_AS_SENT, match=match)
    if match.kind == "suffix":
        return Value(native=_suffix_pattern(match.text), attribute=_AS_SENT, match=match)
    if not match.text.startswith("/"):
        return Value(attribute=_AS_SENT, match=match, never="no path begins so: paths begin with `/`")
    if "?" in match.text:
        return Value(attribute=_AS_SENT, match=match, never="Istio compares the path without its query")
    if match.kind == "prefix":
        return _prefix(match)
    if isinstance(found := canonicalise(match.text, verbatim=True), Ambiguous):
        return Value(
            attribute=_AS_SENT,
            match=match,
            refused=f"such a path is refused before any policy: {found.detail}",
            instead="give the resource a path with one reading",
        )
    if match.text == "/":
        return Value(native="/", is_exact=True, attribute=_AS_SENT, match=match)
    return Value(native=_pattern(match.text.rstrip("/")), attribute=_AS_SENT, match=match)


def _prefix(match: Match) -> Value:
    if match.text == "/":
        return Value(native=EVERY_PATH, is_exact=True, attribute=_AS_SENT, match=match)
    whole = match.text[: match.text.rindex("/")]  # what is left of the last segment may be a part of one
    return Value(native=_pattern(f"{whole}/**"), attribute=_AS_SENT, match=match)


def _suffix_pattern(text: str) -> str:
    """`*/a/b` ends in whole segments, `*.html` in a part of one."""
    return _pattern(f"/**{text.rstrip('/')}") if text.startswith("/") and text.strip("/") else EVERY_PATH


def _pattern(text: str) -> str:
    """The pattern, or one that covers every path where ours cannot say it."""
    return text if not isinstance(parse_pattern(text), str) and "{" not in text else EVERY_PATH


def _template(value: str) -> Value:
    """`{*}` is one segment, `{**}` any number of characters and segments."""
    segments = value.split("/")
    rest = [segment for segment in segments if segment not in {_ONE, _MANY}]
    wrong = (
        not value.startswith("/")
        or any(char in segment for segment in rest for char in "*{}")
        or segments.count(_MANY) > 1
        or (_MANY in segments and _ONE in segments[segments.index(_MANY) :])
    )
    if wrong:
        return Value(
            lost="not a path template that Istio takes",
            instead="let `{*}` and `{**}` each be a whole segment, `{**}` last of them, and leave out other `*`",
        )
    if value.endswith("/") and _MANY in segments:
        return Value(
            lost="Istio documents such a template to match paths that its proxy does not match",
            instead="write it without the slash at the end",
        )
    native = _pattern("/".join({_ONE: "*", _MANY: "**"}.get(segment, segment) for segment in segments).rstrip("/"))
    head, _, tail = value.partition(_MANY)
    if _ONE not in value:
        # Behind the slash in front of `{**}` anything may come, then the tail with a slash of its own.
        ends = f" && {_PATH}.endsWith({quoted(tail)}) && size({_PATH}) >= {len(head) + len(tail)}" if tail else ""
        return Value(native=native, cel=f"{_PATH}.startsWith({quoted(head)}){ends}")
    parts = {_ONE: "[^/]+", _MANY: ".*"}
    pattern = "/".join(parts.get(segment) or _SPECIAL.sub(r"\\\g<0>", segment) for segment in segments)
    ending = pattern.removesuffix(".*") if pattern.endswith("/.*") else f"{pattern}$"
    return Value(native=native, cel=f"{_PATH}.matches({quoted('^' + ending)})")
