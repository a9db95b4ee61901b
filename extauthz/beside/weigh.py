"""One Check, compared at as little cost as it takes.

Rule 1: what is known of Checks like it is not asked again (`known`).
Rule 2: where guards are alike, whoever passed the live ones passes the candidate's: only its policies are asked.
Rule 3: what neither says is decided by the candidate from the beginning (`evaluate`).
"""

from typing import Final

from extauthz.beside.alike import BY_POLICIES, know_tenant_alike
from extauthz.beside.evaluate import Settle, evaluate
from extauthz.beside.known import AGREED, Agreed, Disagreed, Known, Open
from extauthz.beside.pair import Callers, Pair
from extauthz.beside.waiting import Waiting
from extauthz.bundle.compare import Difference, Skip, compare, depend_on_request, oblige_alike
from extauthz.check import conclude
from extauthz.journal import finding
from extauthz.model.decision import Allow, Decision, Deny, Undecided
from extauthz.model.reasons import Reason
from extauthz.model.request import Request
from extauthz.policy import Shortlist, Verdict

Weighed = Agreed | Disagreed | Skip
_MEANWHILE: Final[Skip] = "changed"


def recall(waiting: Waiting, pair: Pair) -> Known | None:
    """What is known about a Check that was decided by `pair.live`; asks nobody, and any thread may."""
    decision, request = waiting.record.decision, waiting.asked
    # Asked first for what is expected: see `check`, rule 4.
    precedent = decision.precedent if isinstance(decision, Allow) or isinstance(decision, Deny) else None  # noqa: SIM101 - faster
    return None if precedent is None or not isinstance(request, Request) else pair.knowledge.recall(precedent, request)


class Scales:
    """Compares with one candidate. One thread at a time."""

    def __init__(self, settle: Settle) -> None:
        """`settle` makes of an allow that could not be written what would be answered instead."""
        self.callers = Callers()
        self._settle = settle

    def weigh(self, waiting: Waiting, pair: Pair, now: float) -> Weighed:
        """What comes of it at `now`, seconds since the epoch. Raises whatever the candidate does."""
        known = recall(waiting, pair)
        if known is not None and not isinstance(known, Open):
            return known
        request = waiting.asked
        if isinstance(known, Open) and isinstance(request, Request):
            return self._ask_policies(waiting, request, known.shortlist, pair, now)
        if not isinstance(request, Request) or not _is_left_to_policies(waiting, request, pair):
            return self._decide(waiting, pair, now)
        evidence, at = waiting.record.decision.evidence, int(waiting.record.time)
        shortlist = pair.candidate.policies.shortlist(request, evidence.subject, evidence.tenant, at)
        found = self._ask_policies(waiting, request, shortlist, pair, now)
        _keep(waiting, request, shortlist, found, pair)
        return found

    def _ask_policies(
        self, waiting: Waiting, request: Request, shortlist: Shortlist, pair: Pair, now: float
    ) -> Weighed:
        """All that is left. What would follow from an allow is not said here where a proof would be used up for it."""
        live, at = waiting.record.decision, int(waiting.record.time)
        evidence = live.evidence
        verdict = pair.candidate.policies.judge(shortlist, request, evidence.subject, evidence.tenant, at)
        if verdict.reason is not Reason.POLICY_ALLOWED:
            return AGREED if verdict.reason is live.reason else _refused(waiting, verdict, pair)
        if isinstance(live, Allow) and oblige_alike(live.obligations, verdict.obligations, request):
            return AGREED
        if evidence.sender_proofs:
            return self._decide(waiting, pair, now)
        return _disagreed(waiting, self._settle(conclude(verdict, evidence)), pair)

    def _decide(self, waiting: Waiting, pair: Pair, now: float) -> Weighed:
        """From the beginning."""
        found = evaluate(waiting, pair, self.callers, self._settle)
        if isinstance(found, str):
            return found
        decision, difference = found
        if difference is None:
            return AGREED
        # Where one follows from an emergency, and another second has begun since, it may have ended.
        emergency = waiting.record.decision.evidence.emergency or decision.evidence.emergency
        if emergency and int(now) != int(waiting.record.time):
            return _MEANWHILE
        return _as_found(waiting, decision, difference, pair)


def _refused(waiting: Waiting, verdict: Verdict, pair: Pair) -> Agreed | Disagreed:
    """By the candidate's policies alone; what is said of it is the same for all Checks alike."""
    live = waiting.record.decision
    precedent = live.precedent if isinstance(live, Allow | Deny) else None
    known = pair.knowledge.refusal(precedent, verdict) if precedent is not None else None
    if known is not None:
        return known
    found = _disagreed(waiting, conclude(verdict, live.evidence), pair)
    if precedent is not None and isinstance(found, Disagreed):
        pair.knowledge.keep_refusal(precedent, verdict, found)
    return found


def _disagreed(waiting: Waiting, decision: Decision, pair: Pair) -> Agreed | Disagreed:
    """With what the candidate decides."""
    difference = compare(waiting.record.decision, decision, waiting.asked)
    return AGREED if difference is None else _as_found(waiting, decision, difference, pair)


def _as_found(waiting: Waiting, decision: Decision, difference: Difference, pair: Pair) -> Disagreed:
    source = pair.source
    return Disagreed(difference, finding(waiting.record, source.revision, source.digest, difference, decision))


def _is_left_to_policies(waiting: Waiting, request: Request, pair: Pair) -> bool:
    """Whether all that comes before policies is the same for both."""
    live = waiting.record.decision
    if live.reason not in BY_POLICIES or not (pair.lists_nothing and waiting.orders.is_empty):
        return False
    profile = pair.guards_alike(request)
    return profile is not None and know_tenant_alike(pair.live, pair.candidate, profile, live.evidence)


def _is_left_alike(waiting: Waiting, request: Request, shortlist: Shortlist, pair: Pair) -> bool:
    """Whether both bundles have the same rules left to ask, so that they agree on every request of the kind."""
    evidence, at = waiting.record.decision.evidence, int(waiting.record.time)
    before = pair.live.policies.shortlist(request, evidence.subject, evidence.tenant, at)
    return pair.rules.decide(before, shortlist)


def _keep(waiting: Waiting, request: Request, shortlist: Shortlist, found: Weighed, pair: Pair) -> None:
    """What it says about Checks like it: all, if nothing is left to be asked of each."""
    live = waiting.record.decision
    if isinstance(live, Undecided) or live.precedent is None or isinstance(found, str):
        return
    verdict = shortlist.otherwise
    is_settled = verdict is not None and not shortlist.first
    if found is AGREED and not is_settled and _is_left_alike(waiting, request, shortlist, pair):
        pair.knowledge.keep(live.precedent, request, AGREED)
        return
    if verdict is not None and isinstance(live, Allow) and verdict.reason is Reason.POLICY_ALLOWED:
        is_settled = is_settled and not depend_on_request(live.obligations, verdict.obligations)
    pair.knowledge.keep(live.precedent, request, found if is_settled else Open(shortlist))
