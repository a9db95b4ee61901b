"""Who changes a running server, and why: nothing changes without either."""

from msgspec import Struct

MAX_REASON = 500  # characters
MAX_OPERATOR = 100


class Operator(Struct, frozen=True):
    """Who gives an order."""

    name: str  # as they call themselves
    uid: int  # as the kernel calls them
    reason: str
    account: str = ""  # the name of that uid, where it has one


def wrong_with(operator: Operator) -> str:
    """What is missing or too much; "" when it may be put on record."""
    for name, text, longest in (("operator", operator.name, MAX_OPERATOR), ("reason", operator.reason, MAX_REASON)):
        if not 0 < len(text.strip()) <= longest or len(text) > longest or not text.isprintable():
            return f"{name}: must be 1 to {longest} printable characters"
    return ""
