"""Whether two patterns can cover the same path or host. For lint alone: a request is never judged by this."""

from extauthz.model.hosts import HostPattern
from extauthz.model.paths import MANY, ONE, PathPattern


def paths_meet(one: PathPattern, other: PathPattern) -> bool:
    """Whether some path is covered by both."""
    a, b = list(one.tokens), list(other.tokens)
    for end in (0, -1):
        while a and b and MANY not in {a[end], b[end]}:
            if not _segments_meet(a.pop(end), b.pop(end)):
                return False
    # What is left begins and ends with `**` on one side or the other, or one side is used up.
    return bool(a and b) or all(token == MANY for token in a + b)


def path_within(inner: PathPattern, outer: PathPattern) -> bool:
    """Whether `outer` covers every path that `inner` covers. May say no where the answer is yes."""
    a, b = list(inner.tokens), list(outer.tokens)
    for end in (0, -1):
        while a and b and b[end] != MANY:
            token, wider = a.pop(end), b.pop(end)
            if token == MANY or wider not in {token, ONE}:
                return False
    return b == [MANY] or not (a or b)


def hosts_meet(one: HostPattern, other: HostPattern) -> bool:
    """Whether some host is covered by both. `{name}.suffix` counts as `*.suffix`."""
    if "any" in {one.kind, other.kind}:
        return True
    if one.kind == "exact":
        return other.match(one.suffix) is not None
    if other.kind == "exact":
        return one.match(other.suffix) is not None
    return one.suffix.endswith(other.suffix) or other.suffix.endswith(one.suffix)


def hosts_within(inner: HostPattern, outer: HostPattern) -> bool:
    """Whether `outer` covers every host that `inner` covers. May say no where the answer is yes."""
    if outer.kind == "any" or inner == outer:
        return True
    if inner.kind == "exact":
        return outer.match(inner.suffix) is not None
    return outer.kind == "below" and inner.kind != "any" and inner.suffix.endswith(outer.suffix)


def _segments_meet(one: str, other: str) -> bool:
    return one == other or ONE in {one, other}
