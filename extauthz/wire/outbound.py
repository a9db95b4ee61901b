"""A decision to the bytes of a CheckResponse. Nothing else in the tree builds one.

Rule 1: only Allow carries status 0; Envoy lets an answer without a status pass (T-59).
Rule 2: every header that upstreams trust is overwritten or removed in every allow, also when it is empty (T-27).
Rule 3: what may be written is settled before (`settle`); here nothing is refused any more.
"""

import re
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from extauthz.model.decision import NO_OBLIGATIONS, Allow, Decision, Deny, Undecided
from extauthz.model.reasons import Reason
from extauthz.model.request import Facts
from extauthz.wire import denials, encode
from extauthz.wire.challenges import challenges
from extauthz.wire.frames import CLIENT, UPSTREAM, Frames, plain_ids
from extauthz.wire.identity_headers import identity_headers
from extauthz.wire.names import clean, encode_query, may_remove, twins
from extauthz.wire.options import INTERACTION_HEADER, MAX_HYPHENS, OutboundOptions, reserved_names
from extauthz.wire.settle import MAX_ADDED_BYTES, settle

_MAX_NAME = 256  # characters of a name of ours in metadata
_MAX_RETRY_AFTER = 3600  # seconds
_ID = re.compile(r"[A-Za-z0-9\-]{1,64}")

# google.rpc.Code. Envoy looks only at zero or not; the rest is for people who read traces.
_PERMISSION_DENIED, _UNAVAILABLE, _UNAUTHENTICATED = 7, 14, 16
_HTTP_BAD_REQUEST, _HTTP_UNAUTHORIZED, _HTTP_NOT_ACCEPTABLE = 400, 401, 406

# Field tags: number * 8 + wire type 2.
_REMOVED, _REMOVED_QUERY = b"\x2a", b"\x42"  # OkHttpResponse 5, 8
_DENIED, _OK, _ERROR = b"\x12", b"\x1a", b"\x2a"  # CheckResponse 2, 3, 5
_REFUSED = b"\x12"  # DeniedHttpResponse 2
_ALLOWED = encode.status(0)

# For gRPC clients Envoy makes a grpc-status of the HTTP status unless we give one: 16 of 401, 7 of 403 and 14 of 503
# are right, but of 400 it makes 13 (INTERNAL), which blames the server, and of 406 2 (UNKNOWN). 3: INVALID_ARGUMENT.
_WRONG_REQUEST = frozenset({_HTTP_BAD_REQUEST, _HTTP_NOT_ACCEPTABLE})
_INVALID_ARGUMENT = encode.overwriting_header(_REFUSED, "grpc-status", "3")


class AnswerContext(Struct, frozen=True, gc=False):
    """What an answer says beside the decision."""

    decision_id: str = ""
    interaction_id: str = ""  # a UUID: the client's, or generated
    revision: str = ""
    facts: Facts = Facts()


class AnswerWriter:
    """The one builder of `envoy.service.auth.v3.CheckResponse` for one configuration. Threads share it."""

    def __init__(self, options: OutboundOptions) -> None:
        """Nothing was written yet."""
        self._options = options
        self._frames = Frames(options)

    def conclude(self, decision: Decision, context: AnswerContext) -> tuple[Decision, bytes]:
        """The decision as it can be written (see `settle`), and its answer. Never raises on any text."""
        if not isinstance(decision, Allow):
            settled = settle(decision, self._options)
            return settled, _write(settled, context, self._options)
        frames = self._frames
        ids = plain_ids(context.decision_id, context.interaction_id)
        kind = decision.precedent or frames.kind(decision, context.revision) if ids is not None else None
        if kind is not None and ids is not None and (answer := frames.splice(kind, decision.evidence.subject.id, *ids)):
            return decision, answer
        settled = settle(decision, self._options)
        answer = _write(settled, context, self._options)
        if kind is not None and settled is decision:
            frames.keep(kind, answer, decision.evidence, context.decision_id, context.interaction_id)
        return settled, answer


@lru_cache(maxsize=8)
def _writer(options: OutboundOptions) -> AnswerWriter:
    return AnswerWriter(options)


def write_answer(decision: Decision, context: AnswerContext, options: OutboundOptions) -> bytes:
    """The answer alone, for who has no writer."""
    return _writer(options).conclude(decision, context)[1]


def _write(decision: Decision, context: AnswerContext, options: OutboundOptions) -> bytes:
    """The answer to a settled decision."""
    if not (_ID.fullmatch(context.decision_id) and _ID.fullmatch(context.interaction_id)):
        context = replace(context, decision_id=_id(context.decision_id), interaction_id=_id(context.interaction_id))
    match decision:
        case Allow():
            return _ALLOWED + _allow(decision, context, options) + _metadata(decision, context)
        case Deny():
            code = _UNAUTHENTICATED if decision.reason.status == _HTTP_UNAUTHORIZED else _PERMISSION_DENIED
            answer = _refuse(_DENIED, code, decision, context, options)
        case Undecided():
            shape = _ERROR if options.undecided == "error" else _DENIED
            answer = _refuse(shape, _UNAVAILABLE, decision, context, options)
    return LAST_RESORT if answer.startswith(_ALLOWED) else answer  # rule 1, whatever becomes of the code above


def _allow(decision: Allow, context: AnswerContext, options: OutboundOptions) -> bytes:
    """`ok_response`, its fields in ascending order."""
    who = identity_headers(decision.evidence, options)
    ids = ((options.decision_header, context.decision_id), (INTERACTION_HEADER, context.interaction_id))
    parts = [who.written]
    parts += [encode.overwriting_header(UPSTREAM, *pair) for pair in ids if pair[1]]
    if options.emergency_header:
        emergency = decision.evidence.emergency
        parts += [encode.overwriting_header(UPSTREAM, options.emergency_header, emergency)] if emergency else []
    client = [encode.overwriting_header(CLIENT, *pair) for pair in ids if pair[1]]
    removed = [_removals(options), who.removed, *(encode.text(_REMOVED, name) for name, value in ids if not value)]
    if options.emergency_header and not decision.evidence.emergency:
        removed.append(encode.text(_REMOVED, options.emergency_header))
    if decision.obligations is NO_OBLIGATIONS:
        return encode.nested(_OK, b"".join((*parts, *removed, *client)))
    obligations = decision.obligations
    for name, value in obligations.upstream_headers:
        parts.append(encode.overwriting_header(UPSTREAM, name.lower(), value))
        removed.append(_twin_removals(name.lower()))
    if obligations.removed_headers or obligations.removed_twins:
        own = tuple(name for name, _ in obligations.upstream_headers)
        removed.append(_obliged_removals(obligations.removed_headers, obligations.removed_twins, own, options))
    client += [encode.overwriting_header(CLIENT, name.lower(), value) for name, value in obligations.client_headers]
    query = [encode.query_parameter(encode_query(name), encode_query(value)) for name, value in obligations.set_query]
    query += [encode.text(_REMOVED_QUERY, encode_query(name)) for name in obligations.removed_query]
    return encode.nested(_OK, b"".join((*parts, *removed, *client, *query)))


@lru_cache(maxsize=8)
def _removals(options: OutboundOptions) -> bytes:
    """`headers_to_remove` of every allow."""
    return b"".join(encode.text(_REMOVED, name) for name in options.always_removed)


@lru_cache(maxsize=1024)
def _twin_removals(name: str) -> bytes:
    """The other spellings of a header that an obligation sets; names come from the bundle, so they are few (T-28)."""
    return b"".join(encode.text(_REMOVED, twin) for twin in twins(name))


@lru_cache(maxsize=1024)
def _obliged_removals(
    names: tuple[str, ...], sole: tuple[str, ...], own: tuple[str, ...], options: OutboundOptions
) -> bytes:
    """The headers that an obligation removes, in every spelling (T-28), but none that is set: Envoy removes last.

    Of `sole` all spellings but those that stand there. Trusted headers are written or removed anyway.
    """
    spelled = [spelling for name in names for spelling in (name.lower(), *_few_twins(name.lower()))]
    decisive = dict.fromkeys(name.lower() for name in sole)
    spelled += [twin for name in decisive for twin in _few_twins(name) if twin not in decisive]
    kept = {name.lower() for name in own} | reserved_names(options)
    return b"".join([encode.text(_REMOVED, name) for name in dict.fromkeys(spelled) if name not in kept])


def _few_twins(name: str) -> list[str]:
    if name.replace("_", "-").count("-") > MAX_HYPHENS:
        return []
    return [twin for twin in twins(name) if may_remove(twin)]


def _refuse(
    shape: bytes,
    code: int,
    refusal: Deny | Undecided,
    context: AnswerContext,
    options: OutboundOptions,
) -> bytes:
    body = denials.body(refusal, context.decision_id, context.interaction_id, is_grpc=context.facts.is_grpc)
    ids = ((options.decision_header, context.decision_id), (INTERACTION_HEADER, context.interaction_id))
    retry_after = min(max(1, refusal.retry_after), _MAX_RETRY_AFTER) if isinstance(refusal, Undecided) else 0
    response = [
        encode.http_status(refusal.reason.status),
        *(encode.overwriting_header(_REFUSED, *pair) for pair in ids if pair[1]),
        _fixed_headers(options, challenges(refusal, options.realm), retry_after, body.media_type),
        *_own_headers(refusal),
        *([_INVALID_ARGUMENT] if context.facts.is_grpc and refusal.reason.status in _WRONG_REQUEST else []),
        encode.text(b"\x1a", body.text),
    ]
    answer, metadata = encode.nested(shape, b"".join(response)), _metadata(refusal, context)
    # Fields in ascending order: denied_response is 2, dynamic_metadata 4, error_response 5.
    return encode.status(code) + (metadata + answer if shape is _ERROR else answer + metadata)


@lru_cache(maxsize=1024)
def _fixed_headers(options: OutboundOptions, challenged: tuple[str, ...], retry_after: int, media_type: str) -> bytes:
    """The headers of a refusal that follow from its reason and the configuration.

    Envoy removes what it has under our names before it adds ours, so that two of one name are two lines.
    """
    headers = [("cache-control", "no-store")]
    if challenged:
        exposed = f"www-authenticate, dpop-nonce, {options.decision_header}, {INTERACTION_HEADER}"
        headers += [*(("www-authenticate", line) for line in challenged), ("access-control-expose-headers", exposed)]
    if retry_after:
        headers.append(("retry-after", str(retry_after)))
    if media_type:
        headers.append(("content-type", media_type))
    return b"".join([encode.overwriting_header(_REFUSED, *pair) for pair in headers])


def _own_headers(refusal: Deny | Undecided) -> list[bytes]:
    """The headers that belong to one refusal, e.g. its DPoP-Nonce, of which there must be exactly one."""
    if not isinstance(refusal, Deny):
        return []
    once = {name.lower(): value for name, value in refusal.client_headers}
    return [encode.overwriting_header(_REFUSED, *pair) for pair in once.items()]


def _metadata(decision: Decision, context: AnswerContext) -> bytes:
    """`dynamic_metadata`, for access logs and later filters, on refusals too. Its names are in ascending order."""
    evidence = decision.evidence
    configured = (decision.reason, evidence.policy, evidence.rule, context.revision, evidence.tenant)
    ids = {"decision_id": context.decision_id}  # the first of our names in order
    if evidence.emergency:
        ids["emergency"] = clean(evidence.emergency, _MAX_NAME)  # the second
    if isinstance(decision, Allow) and decision.obligations.metadata:
        added = {name: clean(value, MAX_ADDED_BYTES) for name, value in decision.obligations.metadata}
        fields = encode.struct_fields((added | ids | _explain(*configured)).items())
    else:
        fields = encode.struct_fields(ids.items()) + _explain_once(*configured)
    return encode.nested(b"\x22", fields)


def _explain(reason: Reason, policy: str, rule: str, revision: str, tenant: str) -> dict[str, str]:
    return {
        "outcome": reason.outcome,
        "policy": clean(policy, _MAX_NAME),
        "reason": reason.code,
        "revision": clean(revision, _MAX_NAME),
        "rule": clean(rule, _MAX_NAME),
        "tenant": clean(tenant, _MAX_NAME),
    }


@lru_cache(maxsize=4096)
def _explain_once(reason: Reason, policy: str, rule: str, revision: str, tenant: str) -> bytes:
    """The same as fields of a Struct; there are as many as rules and tenants meet."""
    return encode.struct_fields(_explain(reason, policy, rule, revision, tenant).items())


def _id(text: str) -> str:
    """An id that may go into headers; "" for anything else, which then stays out."""
    return text if _ID.fullmatch(text) else ""


# What the handler answers when everything else failed: explicit, closed, built before it is needed.
LAST_RESORT = write_answer(Undecided(Reason.INTERNAL_ERROR), AnswerContext(), OutboundOptions())
