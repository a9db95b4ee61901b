"""One Check, decided by the candidate as the live bundle has decided it, with what that one was told.

Rule: nothing is asked. What the live Check did not learn, and the candidate needs, makes the two incomparable.
"""

from collections.abc import Callable

from extauthz.beside.pair import Callers, Pair
from extauthz.beside.waiting import Waiting
from extauthz.bundle.compare import Difference, Skip, compare
from extauthz.check import MAX_QUESTIONS, PROOF_REPLAY, advance
from extauthz.model.decision import (
    Allow,
    Decision,
    Deny,
    FirstUse,
    Pending,
    Question,
    Undecided,
    VerifySignature,
)
from extauthz.model.reasons import Reason

Settle = Callable[[Decision], Decision]
_BY_KEYS = frozenset({Reason.TOKEN_SIGNATURE_INVALID, Reason.TOKEN_KEY_UNKNOWN})
_USED_BODY = "SG-04"  # the check of what a signed body's first use is asked for


def evaluate(
    waiting: Waiting, pair: Pair, callers: Callers, settle: Settle
) -> tuple[Decision, Difference | None] | Skip:
    """What the candidate decides and how that differs, or why it cannot be said. Raises whatever the candidate does.

    `settle` makes of an allow that could not be written what would be answered instead.
    """
    live = waiting.record.decision
    caller = live.evidence.subject
    callers.show(caller, pair.same.get(caller.issuer_name, b"") if caller.has_token else b"")
    decision = _decide(waiting, pair)
    if isinstance(decision, str):
        return decision
    difference = compare(live, decision, waiting.asked)
    if difference is not None and isinstance(decision, Allow):  # else it is what was settled already
        settled = settle(decision)
        if settled is not decision:
            return settled, compare(live, settled, waiting.asked)
    return decision, difference


def _decide(waiting: Waiting, pair: Pair) -> Decision | Skip:
    now = int(waiting.record.time)
    known: dict[Question, bytes | bool] = {}
    if waiting.known:
        known = {
            question: answer
            for question, answer in waiting.known.items()
            if not isinstance(question, VerifySignature) and pair.may_know(question)
        }
    live = waiting.record.decision
    while isinstance(decision := advance(waiting.asked, pair.candidate, now, known), Pending):
        question = decision.question
        if question in known or len(known) >= MAX_QUESTIONS:
            return decision.otherwise
        if isinstance(question, FirstUse):
            if _passed_unasked(live):
                return decision.otherwise
            known[question] = _was_first_use(decision, live)
        elif _is_refused_alike(decision, live, pair):
            return live
        elif not isinstance(question, VerifySignature):
            return "introspection"
        elif pair.can_verify(decision.otherwise.evidence.profile):
            known[question] = True
        else:
            return "credential"
    if isinstance(decision, Undecided) and decision.reason is Reason.KEYS_UNAVAILABLE:
        return "credential"  # in force, it would have fetched them
    return decision


def _passed_unasked(live: Decision) -> bool:
    """Whether nobody could say if the proof was used before, and the profile lets that pass."""
    return isinstance(live, Allow) and any(name == PROOF_REPLAY for name, _ in live.obligations.metadata)


def _was_first_use(pending: Pending, live: Decision) -> bool:
    """As it was for the live bundle; where that did not get so far, policies are compared as if it were."""
    is_body = isinstance(pending.otherwise, Undecided) and pending.otherwise.check == _USED_BODY
    return live.reason is not (Reason.SIGNED_BODY_REPLAYED if is_body else Reason.PROOF_REPLAYED)


def _is_refused_alike(pending: Pending, live: Decision, pair: Pair) -> bool:
    """Whether the token would fare as it did: refused by an issuer that both have alike and this profile accepts.

    Of issuers that have no more than the same keys, whether its signature was refused.
    """
    if not isinstance(live, Deny) or live.issuer not in pair.issuers(pending.otherwise.evidence.profile):
        return False
    return live.issuer in pair.same or (live.issuer in pair.rebound and live.reason in _BY_KEYS)
