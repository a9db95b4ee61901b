"""Whether everything that is in one box is in another.

Rule 1: both effects are given, for deny rules match more: paths in any case, and what cannot be told.
"""

from extauthz.model.paths import PathPattern, parse_pattern
from extauthz.policy.document import Effect
from extauthz.policy.reach.boxes import Box, Span
from extauthz.policy.reach.patterns import hosts_within, path_within, paths_meet
from extauthz.policy.reach.texts import Texts

_ALL = parse_pattern("/**")
_ANYWHERE: tuple[PathPattern, ...] = (_ALL,) if isinstance(_ALL, PathPattern) else ()


def same_world(outer: Span, inner: Span) -> bool:
    """Whether `outer` is asked about connections without HTTP wherever `inner` is."""
    return outer.decides_connections or not inner.decides_connections


def reads_params(span: Span) -> bool:
    """Whether `when` compares captures: what they are depends on the rule's own patterns."""
    return any(texts.attribute.startswith("params[") for box in span.boxes for texts in box.texts)


def box_within(inner: Box, inner_effect: Effect, outer: Box, outer_effect: Effect) -> bool:
    """Whether every request in `inner` is in `outer`. May say no where the answer is yes."""
    if outer.tenant not in {"", inner.tenant}:
        return False
    if not _hosts_within(inner, outer):
        return False
    # A caller who only lacks a scope is told so by an allow rule. A deny rule has to match that caller, too; an allow
    # rule then says the same before.
    known = inner.texts if outer_effect == "deny" and inner_effect == "allow" else inner.all_texts
    if not all(_implied(texts, known) for texts in outer.all_texts):
        return False
    return _paths_within(inner, outer, outer_effect) and _not_excluded(inner, inner_effect, outer, outer_effect)


def _implied(wanted: Texts, known: tuple[Texts, ...]) -> bool:
    return any(texts.attribute == wanted.attribute and texts.implies(wanted) for texts in known)


def _hosts_within(inner: Box, outer: Box) -> bool:
    if outer.hosts is None:
        return True
    for texts in inner.texts:
        if texts.attribute == "hosts" and texts.exact:
            return all(any(host.match(name) is not None for host in outer.hosts) for name in texts.patterns)
    if inner.hosts is None:
        return any(host.kind == "any" for host in outer.hosts)
    return all(any(hosts_within(host, wide) for wide in outer.hosts) for host in inner.hosts)


def _paths_within(inner: Box, outer: Box, outer_effect: Effect) -> bool:
    """Each list of `outer` covers one of the lists of `inner`."""
    fold = outer_effect == "deny"
    mine = [[_folded(path, fold=fold) for path in group] for group in inner.paths or (_ANYWHERE,)]
    for group in outer.paths:
        wide = [_folded(path, fold=fold) for path in group]
        if not any(all(any(path_within(path, pattern) for pattern in wide) for path in paths) for paths in mine):
            return False
    return True


def _not_excluded(inner: Box, inner_effect: Effect, outer: Box, outer_effect: Effect) -> bool:
    """`notPaths` of `outer` leaves out nothing that `inner` covers."""
    for pattern in outer.not_paths:
        # An allow rule leaves paths out in any case, a deny rule as written.
        same = any(
            path_within(pattern.folded(), mine.folded()) if inner_effect == "allow" else path_within(pattern, mine)
            for mine in inner.not_paths
        ) and not (inner_effect == "deny" and outer_effect == "allow")
        apart = any(all(not paths_meet(path.folded(), pattern.folded()) for path in group) for group in inner.paths)
        if not (same or apart):
            return False
    return True


def _folded(path: PathPattern, *, fold: bool) -> PathPattern:
    return path.folded() if fold else path
