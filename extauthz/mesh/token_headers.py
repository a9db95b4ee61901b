"""What Istio changes about a request whose token it verified: as obligations of every allow rule."""

from collections.abc import Sequence

from msgspec import Struct

from extauthz.mesh.jwt_rules import HEADER, Placed
from extauthz.mesh.report import Report
from extauthz.mesh.texts import quoted
from extauthz.policy.obligations import header_fault


class TokenHeaders(Struct, frozen=True):
    """Headers to remove, and to set by name and expression."""

    removed: tuple[str, ...] = ()
    upstream: tuple[tuple[str, str], ...] = ()


def token_headers(rules: Sequence[Placed], report: Report) -> TokenHeaders:
    """`forwardOriginalToken`, `outputPayloadToHeader` and `outputClaimToHeaders` of all entries."""
    removed = [HEADER] if _removes_token(rules, report) else []
    values: dict[str, list[str]] = {}
    for at in rules:
        if name := (at.rule.output_payload_to_header or "").lower():
            removed.append(name)
            message = f"upstreams get no `{name}`; what a client sends under the name is removed"
            instead = "read `x-auth-subject` and its like, or name single claims in `obligations.upstreamHeaders`"
            at.note(report, "lost", ("outputPayloadToHeader",), message, instead)
        for number, each in enumerate(at.rule.output_claim_to_headers or []):
            name = each.header.lower()
            if fault := header_fault("upstreamHeaders", name):
                where = ("outputClaimToHeaders", number, "header")
                at.note(report, "lost", where, fault, "give the header another name")
            else:
                values.setdefault(name, []).append(_value(each.claim, at.rule.issuer))
    kept = [name for name in dict.fromkeys(removed) if name not in values and not header_fault("removeHeaders", name)]
    upstream = tuple((name, " : ".join([*found, '""'])) for name, found in values.items())
    return TokenHeaders(tuple(kept), upstream)


def _removes_token(rules: Sequence[Placed], report: Report) -> bool:
    """Whether upstreams do not get the token, which is what Istio does unless it is told otherwise."""
    forwarding = [at for at in rules if at.rule.forward_original_token]
    if len(forwarding) == len(rules):
        return False
    for at in forwarding:
        message = "upstreams do not get this token: another rule does not forward its own"
        at.note(report, "narrower", ("forwardOriginalToken",), message, "let all rules of the workload agree")
    return True


def _value(claim: str, issuer: str) -> str:
    """The beginning of a CEL expression: the claim of that issuer's tokens if it is text, number or truth value."""
    place = "subject.claims"
    guards = [f"subject.issuer == {quoted(issuer)}"]
    for at, name in enumerate(claim.split(".")):
        if at:
            guards.append(f"type({place}) == map")
        guards.append(f"{quoted(name)} in {place}")
        place = f"{place}[{quoted(name)}]"
    guards.append(f"type({place}) in [string, int, bool]")
    return f"{' && '.join(guards)} ? {place}"
