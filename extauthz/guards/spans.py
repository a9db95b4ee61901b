"""How long an emergency may last: every one ends by itself."""

from typing import Final, Literal

Kind = Literal["freeze", "freeze_everything", "break_glass", "drill"]

_HOUR: Final = 3600
_DAY: Final = 24 * _HOUR
# What is to last longer is no emergency: a `kind: Revocation` or a deny policy says so without an end.
MAX_SECONDS: Final[dict[Kind, int]] = {
    "freeze": 30 * _DAY,
    "freeze_everything": 7 * _DAY,
    "break_glass": 4 * _HOUR,
    "drill": 4 * _HOUR,
}
WORDS: Final[dict[Kind, str]] = {
    "freeze": "a freeze",
    "freeze_everything": "a freeze of everything",
    "break_glass": "break glass",
    "drill": "a drill",
}


def wrong_span(kind: Kind, begin: int, end: int) -> str:
    """What is wrong with the time between two moments; "" when nothing is."""
    if end <= begin:
        return "must be after `begin`"
    longest = MAX_SECONDS[kind]
    if end - begin > longest:
        text = f"{longest // _DAY} days" if longest >= _DAY else f"{longest // _HOUR} hours"
        return f"{WORDS[kind]} lasts {text} at most"
    return ""
