"""What a candidate bundle would have answered otherwise, and whether it has been watched for long enough.

Rule 1: pure: two decisions → their difference; counts and a threshold → a verdict with its reasons.
Rule 2: what cannot be compared counts for nothing and is never taken for agreement.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from extauthz.model.decision import Allow, Decision, Obligations
from extauthz.model.request import Connection, Refused, Request

Change = Literal[
    "allow_to_deny",  # what passes now would not, be it denied or undecided
    "deny_to_allow",
    "reason",  # refused by both, for another reason
    "obligations",  # allowed by both, but upstream or client would get something else, or somebody else's identity
]
CHANGES: Final[tuple[Change, ...]] = ("allow_to_deny", "deny_to_allow", "reason", "obligations")

# Why a Check that was sampled has not been compared. The first three say something about candidate and traffic.
Skip = Literal[
    "credential",  # its token's keys would have to be fetched, or the live bundle's refusal says nothing about it
    "introspection",  # its issuer would have to be asked
    "large",  # too many bytes to be kept until the answers have left
    "queue",  # too many wait to be compared
    "share",  # the candidate has had its share of the processor
    "late",  # it waited for too long
    "changed",  # meanwhile something else came into force: a bundle, keys, an emergency
    "undecided",  # the live bundle could not tell either
]
SKIPS: Final[tuple[Skip, ...]] = (
    "credential",
    "introspection",
    "large",
    "queue",
    "share",
    "late",
    "changed",
    "undecided",
)
_INCOMPARABLE: Final[tuple[Skip, ...]] = ("credential", "introspection", "large")

_Count = Annotated[int, Meta(ge=0)]


class Difference(Struct, frozen=True, gc=False):
    """How two decisions on one request differ. `policy` and `rule` are the candidate's, else those that decided so far.

    All texts are bounded by one of the two bundles.
    """

    change: Change
    policy: str
    rule: str
    tenant: str


def compare(
    live: Decision, candidate: Decision, asked: Request | Connection | Refused | None = None
) -> Difference | None:
    """What would change for whoever `asked`; None when they would not notice.

    Headers that one of the two removes count only if the request has them: the list is one for the whole bundle.
    Without the request they do not count.
    """
    change = _change(live, candidate, asked)
    if change is None:
        return None
    before, after = live.evidence, candidate.evidence
    named = after if after.policy else before
    return Difference(change, named.policy, named.rule, before.tenant or after.tenant)


def _change(live: Decision, candidate: Decision, asked: Request | Connection | Refused | None) -> Change | None:
    if isinstance(live, Allow):
        if not isinstance(candidate, Allow):
            return "allow_to_deny"
        return None if _oblige_the_same(live, candidate, asked) else "obligations"
    if isinstance(candidate, Allow):
        return "deny_to_allow"
    return None if live.reason is candidate.reason else "reason"


def _oblige_the_same(live: Allow, candidate: Allow, asked: Request | Connection | Refused | None) -> bool:
    before, after = live.evidence, candidate.evidence
    if before.subject != after.subject or before.tenant != after.tenant:
        return False
    return oblige_alike(live.obligations, candidate.obligations, asked)


def oblige_alike(one: Obligations, other: Obligations, asked: Request | Connection | Refused | None = None) -> bool:
    """Whether whoever `asked` and the upstream get the same from both; see `compare`."""
    return one == other or (_added(one) == _added(other) and not _differ_on(one, other, asked))


def _added(obligations: Obligations) -> tuple[list[tuple[str, str]] | list[str], ...]:
    """Whatever the order in which it is written."""
    return (
        sorted(obligations.upstream_headers),
        sorted(obligations.client_headers),
        sorted(obligations.set_query),
        sorted(obligations.removed_query),
        sorted(obligations.metadata),
    )


def depend_on_request(one: Obligations, other: Obligations) -> bool:
    """Whether it takes the request to tell if they are alike: they add the same, and do not remove the same."""
    return _added(one) == _added(other) and bool(_removed_by_one(one, other))


def _differ_on(one: Obligations, other: Obligations, asked: Request | Connection | Refused | None) -> bool:
    """Whether the request has a header, in any spelling, that only one of them removes."""
    if not isinstance(asked, Request):
        return False
    removed = _removed_by_one(one, other)
    return bool(removed) and any(_spelt(name) in removed for name, _ in asked.headers.items())


def _removed_by_one(one: Obligations, other: Obligations) -> frozenset[str]:
    return _apart(one.removed_headers, other.removed_headers) | _apart(one.removed_twins, other.removed_twins)


@lru_cache(maxsize=64)  # the names come from the bundles
def _apart(one: tuple[str, ...], other: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(_spelt, {*one} ^ {*other}))


def _spelt(name: str) -> str:
    return name.lower().replace("_", "-")


class Group(Struct, frozen=True, rename="camel"):
    """Disagreements of one kind, with one of them for the journal to tell more."""

    change: Change
    policy: str
    rule: str
    tenant: str
    count: int
    example: str  # a decision id


class Comparison(Struct, frozen=True, kw_only=True, rename="camel"):
    """How a candidate fared beside a live bundle, since both are what they are."""

    revision: str  # of the candidate
    digest: str
    live_revision: str
    live_digest: str
    seconds: float = 0.0  # since the first Check that was compared
    compared: int = 0  # Checks that both have decided
    changes: Mapping[str, int] = {}  # by `Change`
    errors: int = 0  # Checks on which the candidate failed
    skipped: Mapping[str, int] = {}  # by `Skip`
    groups: tuple[Group, ...] = ()  # the most frequent first; not all, if there are many
    unrecorded: int = 0  # disagreements that the journal did not take

    @property
    def incomparable(self) -> float:
        """Which part of the Checks could not be compared for what they are; 0 to 1."""
        skipped = sum(self.skipped.get(cause, 0) for cause in _INCOMPARABLE)
        return skipped / (self.compared + self.errors + skipped) if skipped else 0.0


class Gate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What a candidate must have shown before it may be promoted."""

    min_compared: Annotated[int, Meta(ge=1)] = 10_000  # Checks that both have decided
    min_seconds: Annotated[float, Meta(ge=0, le=2_592_000)] = 3600.0  # since the first of them
    max_allow_to_deny: _Count = 0  # Checks that pass now and would not
    max_deny_to_allow: _Count = 0  # Checks that are refused now and would pass
    max_reason: _Count | None = 0  # Checks refused for another reason; null: any number
    max_obligations: _Count | None = 0  # Checks that pass with other headers, query or metadata; null: any number
    max_errors: _Count = 0  # Checks on which the candidate failed
    # Part of the Checks that cannot be compared for what they are, e.g. since their Issuer document has changed.
    max_incomparable: Annotated[float, Meta(ge=0, le=1)] = 0.1


class Verdict(Struct, frozen=True):
    """Whether a candidate may be promoted, and all that is in its way."""

    passed: bool
    reasons: tuple[str, ...] = ()


def judge(comparison: Comparison | None, gate: Gate) -> Verdict:
    """The verdict on what is known so far; without a comparison nothing passes."""
    if comparison is None:
        return Verdict(passed=False, reasons=("no candidate has been compared",))
    reasons = []
    if comparison.compared < gate.min_compared:
        reasons.append(f"{comparison.compared} checks were compared, `minCompared` is {gate.min_compared}")
    if comparison.seconds < gate.min_seconds:
        reasons.append(f"it was compared for {comparison.seconds:.0f} s, `minSeconds` is {gate.min_seconds:.0f}")
    limits = {
        "allow_to_deny": ("maxAllowToDeny", gate.max_allow_to_deny),
        "deny_to_allow": ("maxDenyToAllow", gate.max_deny_to_allow),
        "reason": ("maxReason", gate.max_reason),
        "obligations": ("maxObligations", gate.max_obligations),
    }
    for change, (name, most) in limits.items():
        count = comparison.changes.get(change, 0)
        if most is not None and count > most:
            reasons.append(f"{count} checks differ in `{change}`, `{name}` is {most}")
    if comparison.errors > gate.max_errors:
        reasons.append(f"the candidate failed on {comparison.errors} checks, `maxErrors` is {gate.max_errors}")
    if comparison.incomparable > gate.max_incomparable:
        share = f"{100 * comparison.incomparable:.1f} %"
        reasons.append(f"{share} of the checks cannot be compared, `maxIncomparable` is {gate.max_incomparable:g}")
    return Verdict(passed=not reasons, reasons=tuple(reasons))


def together(parts: Sequence[Comparison], most_groups: int) -> Comparison | None:
    """What several processes found, added up; None unless all of them compare the same two bundles."""
    pairs = {(part.digest, part.live_digest) for part in parts}
    if len(pairs) != 1:
        return None
    return replace(
        parts[0],
        seconds=min(part.seconds for part in parts),
        compared=sum(part.compared for part in parts),
        changes=_sum(part.changes for part in parts),
        errors=sum(part.errors for part in parts),
        skipped=_sum(part.skipped for part in parts),
        groups=_grouped((group for part in parts for group in part.groups), most_groups),
        unrecorded=sum(part.unrecorded for part in parts),
    )


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            found[name] = found.get(name, 0) + count
    return found


def _grouped(groups: Iterable[Group], most: int) -> tuple[Group, ...]:
    found: dict[tuple[str, str, str, str], Group] = {}
    for group in groups:
        key = (group.change, group.policy, group.rule, group.tenant)
        known = found.get(key)
        found[key] = group if known is None else replace(known, count=known.count + group.count)
    return tuple(sorted(found.values(), key=lambda group: -group.count)[:most])
