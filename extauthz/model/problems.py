"""What is wrong with a document, and where in it."""

from difflib import get_close_matches
from typing import Literal

from msgspec import Struct

from extauthz.model.codes import Code

Location = tuple[str | int, ...]  # e.g. ("spec", "rules", 0, "condition")


class Problem(Struct, frozen=True):
    """One defect. Rooms know only the place within the document; `bundle` adds file and line."""

    location: Location
    message: str  # lower case, no full stop, values in backticks; says what would be right
    severity: Literal["error", "warning"] = "error"
    code: Code = "invalid"


def suggestion(found: str, allowed: list[str]) -> str:
    """The tail of an error about an unknown name: what was probably meant, or what is allowed."""
    near = get_close_matches(found, allowed, n=1)
    if near:
        return f", did you mean `{near[0]}`?"
    return f": allowed are {', '.join(f'`{name}`' for name in sorted(allowed))}" if allowed else ""
