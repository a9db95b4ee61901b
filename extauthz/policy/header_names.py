"""Headers that many upstreams cannot tell apart: those of CGI and WSGI read `_` for `-` (T-28)."""

from typing import Final

MAX_HYPHENS: Final = 5  # 2**5 spellings with underscores are the most that are removed for one header


def one_spelling(header: str) -> str:
    """The name under which upstreams that cannot tell `_` from `-` know a header."""
    return header.replace("_", "-")


def has_twins(header: str) -> bool:
    """Whether there is another spelling."""
    return "-" in one_spelling(header)


def spelling_flaw(header: str) -> str:
    """What to know about reading a header of this name, in lower case; "" when there is nothing."""
    one = one_spelling(header)
    if one.count("-") > MAX_HYPHENS:
        return (
            f"`{header}` has more than {MAX_HYPHENS} hyphens, too many spellings to remove: upstreams that take `_` "
            "for `-` may read another one"
        )
    if one != header:
        return (
            f"`{header}` is not `{one}`, which no request brings to an upstream any more unless a policy reads it too"
        )
    return ""
