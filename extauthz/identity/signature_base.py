"""What a message signature covers, line by line (RFC 9421 section 2.5).

Rule 1: everything derived comes from what we know of the request, never from what the message says of itself.
Rule 2: a component that we do not know, or with a parameter that changes how it is read, is refused.
"""

import re
from collections.abc import Callable
from typing import Final

from extauthz.identity.htu import Origins
from extauthz.identity.structured_fields import InnerList
from extauthz.model.request import Request

_FIELD = re.compile(r"[a-z0-9!#$%&'*+\-.^_`|~]+")
# RFC 9421 section 2.1: no line end can be in a value, or one line of the base could be read as two.
_LINE = re.compile(r"[\t -~]*")
_DERIVED: Final[dict[str, Callable[[Request, str], str]]] = {
    "@method": lambda request, _: request.method,
    "@target-uri": lambda _, target: target,
    "@scheme": lambda _, target: target.partition("://")[0],
    "@authority": lambda _, target: target.partition("://")[2].partition("/")[0],
    "@path": lambda _, target: "/" + target.partition("?")[0].partition("://")[2].partition("/")[2],
    "@query": lambda request, _: f"?{request.query}",
}


class Uncovered(str):
    """Why there is no base."""

    __slots__ = ()


def signature_base(request: Request, covered: InnerList, origins: Origins) -> str | Uncovered:
    """The text that was signed, if the signature is about this request."""
    target = origins.target_uri(request)
    if target is None:
        return Uncovered("the public URL of the request is not known: see `publicOrigin`")
    lines: dict[str, str] = {}
    for item in covered.items:
        name = item.value
        if not isinstance(name, str) or item.parameters:
            return Uncovered("a component that is not a plain name")
        if name in lines:
            return Uncovered("a component named twice")
        value = _value(request, name, target)
        if isinstance(value, Uncovered):
            return value
        lines[name] = f'"{name}": {value}'
    return "\n".join([*lines.values(), f'"@signature-params": {covered.text}'])


def _value(request: Request, name: str, target: str) -> str | Uncovered:
    if name.startswith("@"):
        derive = _DERIVED.get(name)
        return Uncovered("an unknown derived component") if derive is None else derive(request, target)
    if not _FIELD.fullmatch(name):
        return Uncovered("a component that is not the name of a field")
    value = request.headers.get(name)
    if value is None:
        return Uncovered("a covered field that was not sent")
    if request.headers.is_repeated(name):
        return Uncovered("a covered field that was sent more than once")
    if not _LINE.fullmatch(value):
        return Uncovered("a covered field that is not plain text")
    if "!" in value:  # what Envoy writes instead of bytes that are not UTF-8 (T-09)
        return Uncovered("a covered field with `!`, which may stand for a byte outside of ASCII")
    return value.strip(" \t")
