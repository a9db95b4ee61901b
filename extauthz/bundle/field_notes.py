"""What the comments beside a struct's fields say: the reference pages and the schemas take their words from there."""

import inspect
import re

from msgspec import Struct

_FIELD = re.compile(r"(\w+)\s*:\s*[^#]*(?:#\s*(.*))?$")


def field_notes(struct: type[Struct]) -> dict[str, str]:
    """By the field's name in the code: the comment on its line, or the comment lines directly above it."""
    found: dict[str, str] = {}
    for base in reversed([base for base in struct.__mro__ if base.__module__.startswith("extauthz")]):
        above: list[str] = []
        for line in inspect.getsource(base).splitlines():
            text = line.strip()
            if text.startswith("#"):
                above.append(text.lstrip("# "))
                continue
            if match := _FIELD.match(text):
                found[match[1]] = " ".join([*above, match[2] or ""]).strip()
            above = []
    return found


def summary(struct: type[Struct]) -> str:
    """The first paragraph of the struct's docstring, on one line."""
    return inspect.cleandoc(struct.__doc__ or "").split("\n\n")[0].replace("\n", " ")
