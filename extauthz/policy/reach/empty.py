"""Boxes that no request is in, and why.

Rule 1: a deny rule takes what it cannot tell for matching, and paths in any case (T-11); so here it is asked for more.
"""

from collections.abc import Iterator
from itertools import combinations, product

from extauthz.model.paths import ONE, PathPattern
from extauthz.policy.document import Effect
from extauthz.policy.matchers import TextSet, text_set
from extauthz.policy.reach.boxes import Box
from extauthz.policy.reach.patterns import path_within, paths_meet
from extauthz.policy.reach.texts import Texts


def emptiness(box: Box, effect: Effect, *, connections: bool) -> str:
    """Why no request is in the box; "" when one may be. `connections`: connections without HTTP are tried, too."""
    found = _texts(box, effect, connections=connections) or ("" if connections else _hosts(box))
    if not found and not connections:
        found = _two_paths(box, effect) or _excluded_paths(box, effect)
    return found


def _texts(box: Box, effect: Effect, *, connections: bool) -> str:
    for one, other in _pairs(box.all_texts):
        if effect == "deny" and not one.certain:
            continue
        if connections and effect == "deny" and one.http:
            continue  # a deny rule is tried on connections without what they lack
        if one.contradicts(other):
            return f"`{one.field}` and `{other.field}` contradict each other"
    return ""


def _pairs(texts: tuple[Texts, ...]) -> Iterator[tuple[Texts, Texts]]:
    by_attribute: dict[str, list[Texts]] = {}
    for each in texts:
        by_attribute.setdefault(each.attribute, []).append(each)
    for group in by_attribute.values():
        yield from combinations(group, 2)


def _hosts(box: Box) -> str:
    """`match.hosts` against `to.hosts`, where one of them names whole hosts."""
    for texts in box.texts:
        if texts.attribute != "hosts" or texts.negative or box.hosts is None or texts.field == "match.hosts":
            continue
        listed: TextSet = text_set(texts.patterns)
        if texts.exact:
            meets = any(host.match(name) is not None for host in box.hosts for name in listed.exact)
        else:
            meets = any(host.kind != "exact" or listed.has(host.suffix) for host in box.hosts)
        if not meets:
            return f"no host is in `match.hosts` and in `{texts.field}`"
    return ""


def _two_paths(box: Box, effect: Effect) -> str:
    if len(box.paths) < 2:  # noqa: PLR2004 - `match.paths` and `to.paths`
        return ""
    one, other = ([_folded(path, effect) for path in group] for group in box.paths)
    if any(paths_meet(a, b) for a, b in product(one, other)):
        return ""
    return f"no path is in `match.paths` and in `to[{box.operation}].paths`"


def _excluded_paths(box: Box, effect: Effect) -> str:
    if not box.not_paths:
        return ""
    for group in box.paths:
        if all(any(_excludes(wide, path, effect) for wide in box.not_paths) for path in group):
            return f"`to[{box.operation}].notPaths` excludes every path that the rule names"
    return ""


def _excludes(wide: PathPattern, path: PathPattern, effect: Effect) -> bool:
    """`notPaths` of an allow rule covers every case, that of a deny rule what is written."""
    if effect == "allow":
        return path_within(path.folded(), wide.folded())
    return path_within(path, wide) and all(_caseless(token) for token in wide.tokens)


def _caseless(token: str) -> bool:
    return token.startswith(ONE) or token.upper() == token.lower() == token.casefold()


def _folded(path: PathPattern, effect: Effect) -> PathPattern:
    return path.folded() if effect == "deny" else path
