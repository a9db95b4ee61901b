"""Signatures of whole requests (RFC 9421) as FAPI 2.0 HTTP Signatures wants them.

Rule 1: which signature counts is told by its tag, and there is exactly one (SG-01).
Rule 2: it covers all that decides what the request does (SG-02), it was made just now, and its key is registered for
the client whom the access token names (SG-03).
"""

from extauthz.identity.algorithms import verify_signature
from extauthz.identity.keys import KeySet
from extauthz.identity.signature_base import Uncovered, signature_base
from extauthz.identity.signature_rules import SCHEMES, MessageRules
from extauthz.identity.structured_fields import InnerList, Item, read_dictionary
from extauthz.identity.whole_body import NotWhole, whole_body, wrong_digest
from extauthz.model.decision import Deny
from extauthz.model.reasons import Reason
from extauthz.model.request import Request
from extauthz.model.subject import Subject

SKEW = 10  # seconds that a sender's clock may be ahead (FAPI 2.0 section 5.3.2.1)
MAX_SIGNATURE = 1024  # bytes; RSA with 8192 bits
_ALWAYS = ("@method", "@target-uri", "authorization")
_PARAMETERS = frozenset({"created", "expires", "nonce", "alg", "keyid", "tag"})  # RFC 9421 section 2.3


def verify_message(request: Request, subject: Subject, rules: MessageRules, now: int) -> Deny | bool:
    """Whether the request is signed; a refusal where it is not as the profile asks."""
    told, signatures = request.headers.get("signature-input"), request.headers.get("signature")
    if told is None and signatures is None:
        required = rules.is_required(request.method)
        return Deny(Reason.SIGNATURE_MISSING, "SG-01", "no signature") if required else False
    found = _find(told or "", signatures or "", rules.tag)
    if found is None:
        required = rules.is_required(request.method)
        return _refuse("SG-01", "no signature with the tag") if required else False
    if isinstance(found, Deny):
        return found
    covered, signature = found
    body = whole_body(request, rules.max_body)
    if isinstance(body, NotWhole):
        return _refuse("SG-02", str(body))
    refused = _check_parameters(covered, rules, now) or _check_coverage(request, covered, body)
    if refused is not None:
        return refused
    base = signature_base(request, covered, rules.origins)
    if isinstance(base, Uncovered):
        return _refuse("SG-02", str(base))
    keys = rules.keys.get(subject.client) if subject.has_token else None
    if keys is None:
        return _refuse("SG-03", "no key is registered for the client")
    refused = _check_signature(base.encode(), signature, covered, keys, rules.algorithms)
    # A digest of a long body costs more than a signature, so that it is made for registered clients alone.
    return refused or _check_digest(request, body) or True


def _find(told: str, signatures: str, tag: str) -> tuple[InnerList, bytes] | Deny | None:
    """What is covered by the one signature with our tag, and its bytes; None when all are made for something else."""
    inputs, values = read_dictionary(told), read_dictionary(signatures)
    if isinstance(inputs, str):
        return _refuse("SG-01", f"Signature-Input: {inputs}")
    if isinstance(values, str):
        return _refuse("SG-01", f"Signature: {values}")
    ours = [name for name, member in inputs.items() if member.parameters.get("tag") == tag]
    if not ours:
        return None
    if len(ours) > 1:
        return _refuse("SG-01", "more than one signature with the tag")
    covered, value = inputs[ours[0]], values.get(ours[0])
    if not isinstance(covered, InnerList):
        return _refuse("SG-01", "no list of components")
    if not isinstance(value, Item) or not isinstance(value.value, bytes) or value.parameters:
        return _refuse("SG-01", "no bytes under the label")
    if not 0 < len(value.value) <= MAX_SIGNATURE:
        return _refuse("SG-01", "a signature of no possible length")
    return covered, value.value


def _check_parameters(covered: InnerList, rules: MessageRules, now: int) -> Deny | None:
    """SG-03: made just now, and named in the registry's words."""
    parameters = covered.parameters
    if not parameters.keys() <= _PARAMETERS:
        return _refuse("SG-01", "an unknown parameter")
    created, expires = parameters.get("created"), parameters.get("expires", now + 1)
    if type(created) is not int:
        return _refuse("SG-03", "no `created`")
    if not now - rules.max_age <= created <= now + SKEW:
        return _refuse("SG-03", "too old or too new")
    if type(expires) is not int or expires <= now:
        return _refuse("SG-03", "its own `expires` does not hold")
    key_id = parameters.get("keyid")
    if not isinstance(key_id, str) or not key_id:
        return _refuse("SG-03", "no `keyid`")
    algorithm = parameters.get("alg")
    if algorithm is None:
        return None
    if not isinstance(algorithm, str) or algorithm not in rules.algorithms or not SCHEMES[algorithm].registered:
        return _refuse("SG-03", "not one of the accepted algorithms")
    return None


def _check_coverage(request: Request, covered: InnerList, body: bytes) -> Deny | None:
    """SG-02: nothing that decides what the request does is left out."""
    names = {item.value for item in covered.items}
    needed = [*_ALWAYS]
    if request.headers.get("dpop") is not None:
        needed.append("dpop")
    if body or request.headers.get("content-digest") is not None:
        needed.append("content-digest")
    missing = [name for name in needed if name not in names]
    return _refuse("SG-02", f"`{missing[0]}` is not covered") if missing else None


def _check_digest(request: Request, body: bytes) -> Deny | None:
    """SG-02: the body is the one that was signed; a digest that is sent without one is that of nothing."""
    digest = request.headers.get("content-digest")
    wrong = wrong_digest(digest, body) if digest is not None else ""
    return _refuse("SG-02", f"Content-Digest: {wrong}") if wrong else None


def _check_signature(
    signed: bytes, signature: bytes, covered: InnerList, keys: KeySet, algorithms: tuple[str, ...]
) -> Deny | None:
    """SG-03: made with a key of this client, by the algorithm that fits the key."""
    key_id, named = str(covered.parameters["keyid"]), covered.parameters.get("alg")
    found = False
    for name in algorithms if named is None else (str(named),):
        scheme = SCHEMES[name]
        candidates = {key.thumbprint: key for jws in scheme.jws for key in keys.select(key_id, jws)}
        for key in candidates.values():
            # RFC 9421 section 3.3.7: what the registry does not name, the key must.
            if not scheme.registered and not key.algorithm:
                continue
            found = True
            if verify_signature(scheme.jws[0], key.public, signed, signature):
                return None
    return _refuse("SG-03", "the signature does not fit" if found else "no such key of this client")


def _refuse(check: str, detail: str) -> Deny:
    return Deny(Reason.SIGNATURE_INVALID, check, detail)
