"""One change of one document, as a mutant makes it."""

from typing import Any, Literal

from msgspec import Struct

from extauthz.model.problems import Location

Operator = Literal[
    "drop-policy",
    "drop-rule",
    "swap-effect",
    "enforce",
    "negate-condition",
    "drop-condition",
    "drop-part",
    "drop-from",
    "drop-to",
    "drop-when",
    "drop-field",
    "drop-value",
    "drop-match",
    "drop-tenant",
    "widen-path",
    "drop-obligation",
    "drop-guard",
]


class Change(Struct, frozen=True):
    """What is changed in one document."""

    operator: Operator
    location: Location
    rule: str  # name of the rule that is changed, "" when it is none
    what: str  # in words
    kill: str  # what a case would have to be that notices
    documents: tuple[tuple[str, Any], ...]  # names and specs that stand for the document; none: it is gone
