"""What happens to emergencies, on record: events of the journal, and lines of the log.

Rule: a subject stands in neither; the journal has its pseudonym.
"""

import logging
from datetime import UTC, datetime

from extauthz.admin import OpenGlass
from extauthz.guards import NEVER, Summary
from extauthz.journal import Journal, LifecycleKind
from extauthz.model.record import DecisionRecord
from extauthz.sources import Change, Operator, RuntimeEntry, RuntimeGlass

log = logging.getLogger("extauthz.app")

_REVOCATIONS: dict[str, LifecycleKind] = {
    "added": "revocation_added",
    "removed": "revocation_removed",
    "expired": "revocation_expired",
}
_EMERGENCIES: dict[str, LifecycleKind] = {
    "added": "emergency_opened",
    "removed": "emergency_ended",
    "expired": "emergency_expired",
    "unapproved": "emergency_ended",
}
_WORDS = {"freeze": "freeze", "break_glass": "break glass", "drill": "break glass drill"}


def record_change(change: Change, journal: Journal) -> None:
    """Note a change of the run-time list: who, what, why."""
    entry = change.entry
    is_revocation = isinstance(entry, RuntimeEntry) and not entry.freeze
    kind = (_REVOCATIONS if is_revocation else _EMERGENCIES)[change.kind]
    detail = _deny(entry, journal) if isinstance(entry, RuntimeEntry) else _glass(entry, journal)
    detail |= _who(change.operator) | {"problem": change.problem}
    if not is_revocation:
        detail |= {"source": "runtime", "approvers": ", ".join(change.approvers)}
    if change.kind == "unapproved":
        detail |= {"reason": "an approver of it is not listed any more"}
    for approver in change.approvers:
        _note(journal, "emergency_approved", {"id": entry.id, "approver": approver, "digest": detail["digest"]})
    _note(journal, kind, detail)
    log.warning("%s", kind.replace("_", " "), extra={"id": entry.id, "kind": detail.get("kind", "revocation")})
    if change.problem:
        log.error("`%s` will not survive a restart as it is: %s", entry.id, change.problem)


def record_refusal(order: OpenGlass, operator: Operator, why: str, journal: Journal) -> None:
    """Note break glass that was asked for and stays shut."""
    request = order.request
    names = ", ".join(approval.approver for approval in order.approvals)
    detail = {"id": request.id, "digest": request.digest, "approvals": names, "why": why}
    _note(journal, "emergency_refused", detail | _who(operator))
    log.warning("emergency refused", extra={"id": request.id})


def record_document(kind: LifecycleKind, found: Summary, revision: str, journal: Journal) -> None:
    """Note that an Emergency of the bundle has begun or is over."""
    if kind == "emergency_opened":
        for approver in found.approvers:
            _note(journal, "emergency_approved", {"id": found.id, "approver": approver, "revision": revision})
    detail = {
        "id": found.id,
        "kind": found.kind,
        "source": "bundle",
        "revision": revision,
        "begin": _text(found.begin),
        "until": _text(found.end),
        "ticket": found.ticket,
        "approvers": ", ".join(found.approvers),
    }
    _note(journal, kind, detail)
    log.warning("%s", kind.replace("_", " "), extra={"id": found.id, "kind": found.kind})


def log_use(record: DecisionRecord) -> None:
    """One line for each request that an emergency decided, and for each that a drill would have.

    Refusals of a freeze share one message, so that a flood of them is counted and not written.
    """
    evidence = record.decision.evidence
    extra = {
        "id": evidence.emergency,
        "decision_id": record.decision_id,
        "profile": evidence.profile,
        "tenant": evidence.tenant,
    }
    if evidence.emergency_kind == "freeze":
        log.warning("a freeze refused a request", extra=extra)
        return
    done = "would have let a request pass" if evidence.emergency_kind == "drill" else "let a request pass"
    # The decision's id is part of the message, for no line about this may be suppressed as a repetition.
    message = f"{_WORDS[evidence.emergency_kind]} {done}: decision {record.decision_id}"
    log.warning(message, extra=extra)


def _deny(entry: RuntimeEntry, journal: Journal) -> dict[str, str]:
    by_name = entry.selector != "subject"
    return {
        "id": entry.id,
        "kind": entry.summary().kind if entry.freeze else "",
        "selector": entry.selector,
        "value": entry.value if by_name else journal.pseudonym(entry.issuer, entry.value),
        "issuer": entry.issuer,
        "issued_before": _text(entry.issued_before),
        "until": _text(entry.until),
    }


def _glass(entry: RuntimeGlass, journal: Journal) -> dict[str, str]:
    request, spec = entry.request, entry.request.break_glass
    subjects = [
        journal.pseudonym(subject.issuer, subject.id) if subject.id else f"role {' or '.join(subject.roles)}"
        for subject in spec.subjects
    ]
    return {
        "id": request.id,
        "kind": "drill" if request.drill else "break_glass",
        "subjects": ", ".join(subjects),
        "routes": ", ".join(f"{','.join(route.methods)} {route.host}{route.path}" for route in spec.routes),
        "tenant": spec.tenant,
        "begin": _text(request.first_second),
        "until": _text(request.last_second),
        "ticket": request.ticket,
        "justification": request.justification,
        "digest": request.digest,
    }


def _who(operator: Operator | None) -> dict[str, str]:
    if operator is None:
        return {}
    return {
        "operator": operator.name,
        "uid": str(operator.uid),
        "account": operator.account,
        "reason": operator.reason,
    }


def _note(journal: Journal, kind: LifecycleKind, detail: dict[str, str]) -> None:
    journal.event(kind, {name: text for name, text in detail.items() if text})


def _text(seconds: int) -> str:
    return "" if seconds == NEVER else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
