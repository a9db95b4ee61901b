"""Whether an allow can be written safely, asked before anybody records it.

Rule: an obligation that is unsafe makes the whole decision Undecided; nothing is dropped or mended silently.
"""

from functools import lru_cache

from extauthz.model.decision import NO_OBLIGATIONS, Allow, Decision, Deny, Obligations, Undecided
from extauthz.model.reasons import Reason
from extauthz.model.texts import is_safe_value
from extauthz.wire.identity_headers import identity_headers
from extauthz.wire.names import may_remove, may_set
from extauthz.wire.options import MAX_HYPHENS, OutboundOptions, reserved_names

# Envoy answers 500 when a request has more than 100 headers or 60 KiB after our additions, whose share must leave
# room for what clients send (T-40).
MAX_OBLIGATIONS = 32
MAX_ADDED_BYTES = 16 * 1024
BUILT_IN_METADATA = frozenset({"decision_id", "outcome", "reason", "policy", "rule", "revision", "tenant", "emergency"})
_OURS_IN_REFUSALS = frozenset(
    {"access-control-expose-headers", "cache-control", "content-type", "retry-after", "www-authenticate"}
)
_OUTCOMES = {Allow: "allow", Deny: "deny", Undecided: "undecided"}

_Fault = tuple[str, str]  # the threat and what is wrong


def settle(decision: Decision, options: OutboundOptions) -> Decision:
    """The decision as it can be written: an allow with an unsafe obligation is Undecided.

    Idempotent; who records a decision settles it first, so that the record says what the client got. A class that
    contradicts its reason is a bug somewhere, and Undecided as well.
    """
    if decision.reason.outcome != _OUTCOMES[type(decision)]:
        return Undecided(Reason.INTERNAL_ERROR, detail="outcome and reason differ", evidence=decision.evidence)
    if isinstance(decision, Undecided):
        return decision
    fault = _find_fault(decision, options) if isinstance(decision, Allow) else _find_bad_answer(decision, options)
    if fault is None:
        return decision
    return Undecided(Reason.INTERNAL_ERROR, *fault, evidence=decision.evidence)


def _find_fault(decision: Allow, options: OutboundOptions) -> _Fault | None:
    obligations = decision.obligations
    size = identity_headers(decision.evidence, options).size
    if size > MAX_ADDED_BYTES:
        return "T-40", "the identity headers are too large"
    if obligations is NO_OBLIGATIONS or obligations == NO_OBLIGATIONS:
        return None
    return (
        _find_oversize(obligations, size)
        or _find_bad_header(obligations, reserved_names(options))
        or _find_bad_parameter(obligations)
    )


def _find_bad_answer(decision: Deny, options: OutboundOptions) -> _Fault | None:
    """A refusal's own headers are written as they are, so they hold no more than a nonce needs (RFC 9449 section 8)."""
    for name, value in decision.client_headers:
        if not may_set(name.lower()) or name.lower() in _OURS_IN_REFUSALS or name.lower() in reserved_names(options):
            return "T-38", "a refusal sets a header that it may not set"
        if not is_safe_value(value) or len(value) > MAX_ADDED_BYTES:
            return "T-38", "the value of a refusal's header is too long or holds control characters"
    return None


def _find_oversize(obligations: Obligations, size: int) -> _Fault | None:
    pairs = (
        *obligations.upstream_headers,
        *obligations.client_headers,
        *obligations.set_query,
        *obligations.metadata,
        *((name, "") for name in obligations.removed_query),  # removed headers make no request larger
    )
    if len(pairs) > MAX_OBLIGATIONS:
        return "T-40", "too many obligations"
    size += sum(len(name.encode("utf-8", "replace")) + len(value.encode("utf-8", "replace")) for name, value in pairs)
    return ("T-40", "the obligations are too large") if size > MAX_ADDED_BYTES else None


def _find_bad_header(obligations: Obligations, reserved: frozenset[str]) -> _Fault | None:
    for name, value in (*obligations.upstream_headers, *obligations.client_headers):
        if not may_set(name.lower()) or name.lower() in reserved:
            return "T-38", "an obligation sets a header that it may not set"
        if not is_safe_value(value):
            return "T-38", "the value of an obligation's header holds control characters"
    if any(name.count("-") > MAX_HYPHENS for name, _ in obligations.upstream_headers):
        return "T-28", "an obligation sets a header with more than 5 hyphens, too many spellings to remove"
    if not _may_remove_all(obligations.removed_headers):
        return "T-38", "an obligation removes a header that it may not remove"
    return None


@lru_cache(maxsize=1024)  # the names come from the bundle
def _may_remove_all(names: tuple[str, ...]) -> bool:
    return all(may_remove(name.lower()) for name in names)


def _find_bad_parameter(obligations: Obligations) -> _Fault | None:
    for name, value in (*obligations.set_query, *((name, "") for name in obligations.removed_query)):
        if not name or not is_safe_value(name) or not is_safe_value(value):
            return "T-38", "an obligation's query parameter holds control characters or has no name"
    names = [name for name, _ in obligations.metadata]
    if len(set(names)) != len(names) or not all(name and is_safe_value(name) for name in names):
        return "T-38", "an obligation's metadata has a name twice, an empty one or one with control characters"
    if not BUILT_IN_METADATA.isdisjoint(names):
        return "T-38", "an obligation sets metadata that is ours"
    return None
