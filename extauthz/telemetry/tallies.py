"""Checks that count alike, counted as one: which series they add to is worked out when somebody reads.

Rule: a tally is told apart by all that a series depends on, and is read with the names under which it was counted.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from msgspec import Struct

from extauthz.model.decision import Allow, Decision, ShadowMatch
from extauthz.model.reasons import Reason
from extauthz.telemetry.counters import Key

OTHER: Final = "other"

# A verification ended in one of these; any other reason with a known subject counts as `valid`.
_TOKEN_FAILURES = frozenset(
    [reason for reason in Reason if reason.shape == "token"]
    + [Reason.KEYS_UNAVAILABLE, Reason.INTROSPECTION_UNAVAILABLE, Reason.ROLES_INVALID, Reason.TENANT_CLAIM_INVALID]
)
_ENFORCED = {Reason.POLICY_ALLOWED: "allow", Reason.POLICY_DENIED: "deny", Reason.CONDITION_ERROR: "deny"}

# (reason, profile, tenant, policy, rule, issuer, a token vouches, from the cache, place in the histogram, shadow)
Tally = tuple[Reason, str, str, str, str, str, bool, bool, int, tuple[ShadowMatch, ...]]


def tally(decision: Decision, place: int) -> Tally:
    """What a Check counts as; `place` is the bucket of its duration."""
    evidence = decision.evidence
    subject = evidence.subject
    # A refused token proves no subject, but it is known whose it claimed to be.
    issuer = subject.issuer_name or ("" if isinstance(decision, Allow) else decision.issuer)
    return (
        decision.reason,
        evidence.profile,
        evidence.tenant,
        evidence.policy,
        evidence.rule,
        issuer,
        subject.has_token,
        evidence.token_cached,
        place,
        evidence.shadow,
    )


class Names(Struct, frozen=True):
    """The names of one bundle that may be label values."""

    profiles: frozenset[str] = frozenset()
    tenants: frozenset[str] = frozenset()
    issuers: frozenset[str] = frozenset()
    rules: Mapping[str, Collection[str]] = {}  # by policy; never changed

    def series(self, counted: Tally) -> Iterator[Key]:
        """The series that a tally adds to."""
        reason, profile, tenant, policy, rule, issuer, has_token, cached, place, shadow = counted
        outcome = reason.outcome
        yield "checks", outcome, reason.code, profile if profile in self.profiles or not profile else OTHER
        yield "duration", outcome, str(place)
        yield "tenants", tenant if tenant in self.tenants else OTHER, outcome
        if policy and reason in _ENFORCED:
            yield "policies", *self.rule(policy, rule), _ENFORCED[reason], "enforce"
        for match in shadow:
            effect = match.effect if match.effect in {"allow", "deny"} else OTHER
            yield "policies", *self.rule(match.policy, match.rule), effect, "shadow"
        if reason in _TOKEN_FAILURES or has_token:
            known = issuer if issuer in self.issuers or not issuer else OTHER
            result = reason.code if reason in _TOKEN_FAILURES else "valid"
            yield "verifications", known, result, "true" if cached else "false"

    def rule(self, policy: str, rule: str) -> tuple[str, str]:
        """A policy and a rule of it as labels."""
        rules = self.rules.get(policy)
        if rules is None:
            return OTHER, OTHER
        return policy, rule if rule in rules else OTHER
