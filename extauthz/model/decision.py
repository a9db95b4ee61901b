"""What a Check ends in: a closed set, each with its evidence."""

from collections.abc import Mapping

from msgspec import Struct

from extauthz.model.reasons import Reason
from extauthz.model.subject import ANONYMOUS, Subject


class Obligations(Struct, frozen=True, gc=False, cache_hash=True):
    """What an allow adds. Names and values are validated by `wire.outbound` before they are written."""

    upstream_headers: tuple[tuple[str, str], ...] = ()  # set, overwriting what the client sent
    client_headers: tuple[tuple[str, str], ...] = ()  # added to the response, overwriting the upstream's
    removed_headers: tuple[str, ...] = ()  # removed from the request
    set_query: tuple[tuple[str, str], ...] = ()  # plain text; the writer percent-encodes
    removed_query: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()  # added to the dynamic metadata
    removed_twins: tuple[str, ...] = ()  # headers of which other spellings (`_` for `-`) are removed, never they


NO_OBLIGATIONS = Obligations()


class ShadowMatch(Struct, frozen=True, gc=False):
    """A rule in `mode: shadow` that matched: recorded, never enforced."""

    policy: str
    rule: str
    effect: str  # "allow" or "deny"


class Evidence(Struct, frozen=True, gc=False):
    """Why a decision is what it is. Every text is bounded by configuration, except inside `subject`."""

    subject: Subject = ANONYMOUS
    profile: str = ""
    tenant: str = ""  # tenant of the resource, else of the subject; from the registry only
    policy: str = ""  # what decided; under break glass what it overrode
    rule: str = ""
    route: str = ""  # the matched path pattern; what the journal keeps instead of the path
    cross_tenant: str = ""  # name of the crossTenant grant that was used
    token_cached: bool = False
    # How the sender was proven to be the token's: some of "mtls", "dpop", "message_signature", "signed_body".
    sender_proofs: tuple[str, ...] = ()
    shadow: tuple[ShadowMatch, ...] = ()
    condition_errors: tuple[str, ...] = ()  # "policy/rule" of every condition that erred
    emergency: str = ""  # id of the freeze that denied, or of the break glass that allowed (or would have, as a drill)
    emergency_kind: str = ""  # "freeze", "break_glass" or "drill"; "" without one


NO_EVIDENCE = Evidence()


class Precedent(Struct, frozen=True, gc=False, eq=False):
    """Stands for all that is decided by policies alike, but for who exactly calls and for what one request alone has.

    Equal is only the same object. Two decisions of one precedent were made under the same revision, differ in nothing
    but the `id`, `token_id`, times, session and claims of their subject, and their requests had the same method and
    host. So what is written of one of them can be kept and written of the next, with these put in.
    """


class Allow(Struct, frozen=True, gc=False):
    """The request may pass, with these obligations."""

    reason: Reason = Reason.POLICY_ALLOWED
    evidence: Evidence = NO_EVIDENCE
    obligations: Obligations = NO_OBLIGATIONS
    precedent: Precedent | None = None  # never carried over to an allow that was changed


class Deny(Struct, frozen=True, gc=False):
    """The request must not pass."""

    reason: Reason
    check: str = ""  # id of the failed check in the reference tables, e.g. "JWT-09"
    detail: str = ""  # for journal and explain only, never for the client; no claim or header values
    evidence: Evidence = NO_EVIDENCE
    scopes: tuple[str, ...] = ()  # for SCOPE_INSUFFICIENT: what would have been needed
    scheme: str = ""  # of the challenge: what the client used, or must use; "" is Bearer
    offers: tuple[str, ...] = ()  # more challenges, bare, for schemes that would be accepted too
    parameters: tuple[tuple[str, str], ...] = ()  # more parameters of the challenge, e.g. acr_values, max_age, algs
    client_headers: tuple[tuple[str, str], ...] = ()  # sent with the refusal, e.g. DPoP-Nonce
    header: str = ""  # for the FAPI reasons: the name of the header at fault
    ecosystem: str = ""  # shape of the error body; "" is application/problem+json
    issuer: str = ""  # metadata.name of the Issuer whose token was refused, "" before one is known
    precedent: Precedent | None = None  # of what policies refuse; nothing that is written of it is kept


class Undecided(Struct, frozen=True, gc=False):
    """We could not tell; Envoy is told no, and to retry later."""

    reason: Reason
    check: str = ""
    detail: str = ""
    evidence: Evidence = NO_EVIDENCE
    retry_after: int = 1  # seconds
    issuer: str = ""  # as in Deny: for KEYS_UNAVAILABLE, whose keys are missing


Decision = Allow | Deny | Undecided


class IntrospectToken(Struct, frozen=True, gc=False):
    """What does the issuer say about this opaque token? The answer is its JSON document (RFC 7662), as bytes."""

    issuer: str  # metadata.name of the Issuer document
    token: str


class FirstUse(Struct, frozen=True, gc=False):
    """Was this never seen before? The answer is a bool; whoever answers remembers it until `expires`."""

    key: bytes
    expires: int  # seconds since the epoch


class VerifySignature(Struct, frozen=True, gc=False):
    """May a signature be verified now? That costs more than all the rest; the answer is True when its turn has come."""


Question = IntrospectToken | FirstUse | VerifySignature
Known = Mapping[Question, bytes | bool]  # answers so far
NOTHING_ASKED: Known = {VerifySignature(): True}  # for who decides at leisure


class Pending(Struct, frozen=True, gc=False):
    """The decision needs a fact from outside; the handler asks and decides again with the answer."""

    question: Question
    otherwise: Decision  # the answer when the fact cannot be had in time; an Allow only where a profile says so
