"""How names are spelled in a guard's document, and what to say when one is not."""

import re
from typing import Final

from extauthz.model.problems import Location, Problem

_FIELD_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~\-]{1,128}")  # RFC 9110 section 5.1, lower case
_METHOD: Final = re.compile(r"[A-Z]{1,20}")


def require_field_name(name: str, problems: list[Problem], location: Location) -> None:
    """Header names in a CheckRequest are lower case, so any other spelling would never match (T-74)."""
    if _FIELD_NAME.fullmatch(name):
        return
    lower = name.lower()
    right = f"write `{lower}`" if _FIELD_NAME.fullmatch(lower) else "write a field name such as `x-request-id`"
    problems.append(Problem(location, f"`{name}` is not a lower-case header name: {right}"))


def require_methods(methods: tuple[str, ...], problems: list[Problem], location: Location) -> None:
    """Methods are compared exactly, and `*` would hide which ones are meant."""
    for index, method in enumerate(methods):
        if not _METHOD.fullmatch(method):
            right = f"write `{method.upper()}`" if _METHOD.fullmatch(method.upper()) else "write one such as `GET`"
            problems.append(Problem((*location, index), f"`{method}` is not an upper-case method: {right}"))
