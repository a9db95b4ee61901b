"""One Check, compared at as little cost as it takes.

Rule 1: what is known of Checks like it is not asked again (`known`).
Rule 2: where guards are alike, whoever passed the live ones passes the candidate's: only its policies are asked.
Rule 3: what neither says is decided by the candidate from the beginning (`evaluate`), and so is every disagreement
that is not known.
"""

from typing import Final

from extauthz.beside.alike import BY_POLICIES, know_tenant_alike
from extauthz.beside.evaluate import Settle, evaluate
from extauthz.beside.known import AGREED, Agreed, Disagreed, Known, Open
from extauthz.beside.pair import Callers, Pair
from extauthz.beside.waiting import Waiting
from extauthz.bundle.compare import Skip, depend_on_request, oblige_alike
from extauthz.journal import finding
from extauthz.model.decision import Allow, Undecided
from extauthz.model.reasons import Reason
from extauthz.model.request import Request
from extauthz.policy import Shortlist

Weighed = Agreed | Disagreed | Skip
_MEANWHILE: Final[Skip] = "changed"


def recall(waiting: Waiting, pair: Pair) -> Known | None:
    """What is known about a Check that was decided by `pair.live`; asks nobody, and any thread may."""
    decision, request = waiting.record.decision, waiting.asked
    if isinstance(decision, Undecided) or decision.precedent is None or not isinstance(request, Request):
        return None
    return pair.knowledge.recall(decision.precedent, request)


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
            return AGREED if _agree(waiting, request, known.shortlist, pair) else self._decide(waiting, pair, now)
        if not isinstance(request, Request) or not _is_left_to_policies(waiting, request, pair):
            return self._decide(waiting, pair, now)
        evidence = waiting.record.decision.evidence
        at = int(waiting.record.time)
        shortlist = pair.candidate.policies.shortlist(request, evidence.subject, evidence.tenant, at)
        agreed = _agree(waiting, request, shortlist, pair)
        found = AGREED if agreed else self._decide(waiting, pair, now)
        _keep(waiting, request, shortlist, found, pair)
        return found

    def _decide(self, waiting: Waiting, pair: Pair, now: float) -> Weighed:
        """From the beginning."""
        found = evaluate(waiting, pair, self.callers, self._settle)
        if isinstance(found, str):
            return found
        decision, difference = found
        if difference is None:
            return AGREED
        record, source = waiting.record, pair.source
        # Where one follows from an emergency, and another second has begun since, it may have ended.
        emergency = record.decision.evidence.emergency or decision.evidence.emergency
        if emergency and int(now) != int(record.time):
            return _MEANWHILE
        return Disagreed(difference, finding(record, source.revision, source.digest, difference, decision))


def _is_left_to_policies(waiting: Waiting, request: Request, pair: Pair) -> bool:
    """Whether all that comes before policies is the same for both."""
    live = waiting.record.decision
    if live.reason not in BY_POLICIES or not (pair.lists_nothing and waiting.orders.is_empty):
        return False
    profile = pair.guards_alike(request)
    return profile is not None and know_tenant_alike(pair.live, pair.candidate, profile, live.evidence)


def _agree(waiting: Waiting, request: Request, shortlist: Shortlist, pair: Pair) -> bool:
    """Whether the candidate's policies say the same, in all that whoever asked would notice."""
    record = waiting.record
    live, evidence = record.decision, record.decision.evidence
    verdict = pair.candidate.policies.judge(shortlist, request, evidence.subject, evidence.tenant, int(record.time))
    if isinstance(live, Allow):
        return verdict.reason is Reason.POLICY_ALLOWED and oblige_alike(live.obligations, verdict.obligations, request)
    return verdict.reason is live.reason


def _keep(waiting: Waiting, request: Request, shortlist: Shortlist, found: Weighed, pair: Pair) -> None:
    """What it says about Checks like it: all, if nothing is left to be asked of each."""
    live = waiting.record.decision
    if isinstance(live, Undecided) or live.precedent is None or isinstance(found, str):
        return
    verdict = shortlist.otherwise
    is_settled = verdict is not None and not shortlist.first
    if verdict is not None and isinstance(live, Allow) and verdict.reason is Reason.POLICY_ALLOWED:
        is_settled = is_settled and not depend_on_request(live.obligations, verdict.obligations)
    pair.knowledge.keep(live.precedent, request, found if is_settled else Open(shortlist))
