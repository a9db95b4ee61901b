"""What the source of bundles reports → the journal and the log, each state once."""

import logging
from collections.abc import Callable

from extauthz.journal import LifecycleKind
from extauthz.sources.bundles import Activation

log = logging.getLogger("extauthz.app")

Note = Callable[[LifecycleKind, dict[str, str]], None]
_FINDINGS_LOGGED = 3
_BY_ORDER = {"rollback": "rolled_back", "pin": "pinned", "unpin": "activated", "promote": "promoted"}


def result(activation: Activation) -> str:
    """The value of the metric's label."""
    if activation.order is not None:
        return _BY_ORDER[activation.order]
    return "rolled_back" if activation.result == "activated" and activation.permit else activation.result


def report(activation: Activation, note: Note) -> None:
    """Put it on record."""
    first = "; ".join(str(finding) for finding in activation.findings[:_FINDINGS_LOGGED])
    about = {
        "source": activation.where,
        "name": activation.name,
        "sequence": "" if activation.sequence is None else str(activation.sequence),
        "key": activation.key,
    }
    match activation.result:
        case "activated" if activation.order is not None:
            pass  # the order is on record
        case "activated":
            _activated(activation, about, note)
        case "rejected":
            failed = {"step": activation.step or "", "findings": str(len(activation.findings)), "first": first}
            note("bundle_rejected", _said({**failed, **about}))
            log.error("bundle rejected", extra={**failed, "findings": len(activation.findings)})
        case "held":
            note("bundle_held", _said(about))
            log.warning("a bundle waits: another is kept in force", extra={"sequence": about["sequence"]})
        case "unreachable":
            note("bundle_unreachable", _said({"step": activation.step or "", "first": first, **about}))
            log.warning("the source of bundles cannot be asked", extra={"step": activation.step, "first": first})
        case "unchanged":
            note("bundle_reachable", _said({**about, "revision": activation.revision, "digest": activation.digest}))


def age(note: Note, seconds: float, *, too_old: bool) -> None:
    """The bundle became too old, or is not any more."""
    note("bundle_too_old" if too_old else "bundle_fresh", {"seconds": f"{seconds:.0f}"})
    if too_old:
        log.error("the source of bundles was not heard for too long", extra={"seconds": round(seconds)})
    else:
        log.warning("the source of bundles is heard again")


def _activated(activation: Activation, about: dict[str, str], note: Note) -> None:
    now = {"revision": activation.revision, "digest": activation.digest, **about}
    if activation.permit is None:
        note("bundle_activated", _said(now))
        log.info("bundle activated", extra={"revision": activation.revision, "digest": activation.digest})
        return
    permit = activation.permit
    leave = {"operator": permit.operator, "uid": str(permit.uid), "reason": permit.reason}
    note("bundle_rolled_back", _said({**now, **leave}))
    log.warning("bundle rolled back", extra={"revision": activation.revision, "operator": permit.operator})


def _said(detail: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in detail.items() if text}
