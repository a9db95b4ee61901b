"""Who calls, as Istio compares it: principals, namespaces, service accounts, addresses, and what tokens say.

Rule 1: `cluster.local` in a principal stands for the mesh's own trust domain, and each of those for all of them.
"""

from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import Final

from msgspec.structs import replace

from extauthz.mesh.texts import Match, Text, all_of, quoted, read_match
from extauthz.mesh.values import Value
from extauthz.policy.matchers import SCHEME, principal_problem, text_problem

DEFAULT_TRUST_DOMAIN: Final = "cluster.local"
_PRINCIPAL: Final = Text("source.principal")
_SPIFFE: Final = Text("source.principal", guard=f"source.principal.startsWith({quoted(SCHEME)})")
_ISSUER: Final = Text("subject.issuer")
_ID: Final = Text("subject.id")
_TOKEN: Final = Text('(subject.issuer + "/" + subject.id)', guard='subject.issuer != ""')
Translate = Callable[[str], Value]


def principals(values: Sequence[str], trust_domains: Sequence[str]) -> list[tuple[int, Value]]:
    """What values of `principals` become, each with its position."""
    found = []
    for at, value in enumerate(values):
        domain, slash, rest = value.partition("/")
        if slash and (domain in trust_domains or domain == DEFAULT_TRUST_DOMAIN):
            found += [(at, _principal(f"{known}/{rest}")) for known in trust_domains]
        else:
            found.append((at, _principal(value)))
    return found


def _principal(value: str) -> Value:
    match = read_match(value)
    if value.startswith(SCHEME):
        return Value(
            never="Istio's principals have no scheme, so this one matches nobody",
            instead=f"write `{value.removeprefix(SCHEME)}`",
        )
    if match.kind == "present":
        return Value(native="*", is_exact=True, attribute=_PRINCIPAL, match=match)
    native = "" if principal_problem(value) else value
    if match.kind == "suffix":
        return Value(native=native, is_exact=bool(native), attribute=_SPIFFE, match=match)
    return Value(native=native, is_exact=bool(native), attribute=_PRINCIPAL, match=read_match(SCHEME + value))


def namespace(value: str) -> Value:
    """What a value of `namespaces` becomes."""
    if text_problem(value):
        return Value(
            lost="a `*` that is neither first nor last has no documented meaning here",
            instead="name each namespace, or write `prefix*` or `*suffix`",
        )
    return Value(native=value, is_exact=True)


def service_account(value: str, policy_namespace: str) -> Value:
    """What a value of `serviceAccounts` becomes: `<namespace>/<name>`, or a name in the policy's own namespace."""
    full = value if "/" in value else f"{policy_namespace}/{value}"
    if "*" in full or full.count("/") != 1 or not all(full.split("/")):
        return Value(lost="not `<namespace>/<name>` or `<name>`", instead="name each service account")
    return Value(native=full, is_exact=True)


def request_principal(value: str, issuers: Sequence[str], *, strict: bool) -> Value:
    """What a value of `requestPrincipals` becomes. `strict`: what it matches too much would let a request pass.

    Istio documents a string match on `<iss>/<sub>`, but its proxy takes what is before the last slash for the issuer.
    """
    match = read_match(value)
    iss, slash, sub = match.text.rpartition("/")
    if strict and match.kind != "present" and not _reads_alike(match, iss, slash, issuers):
        narrower = "Istio documents more than its proxy matches: only what both match is carried over"
        kind = "exact" if match.kind == "suffix" else match.kind
        parts = [] if kind == "prefix" and not sub else [_ID.test([Match(kind, sub)])]
        if iss or match.kind != "suffix":
            parts.append(_ISSUER.test([Match("suffix" if match.kind == "suffix" else "exact", iss)]))
        cel = all_of(parts)
        instead = "name the issuer as its tokens do, in front of the last slash"
        return Value(cel=cel, narrower=narrower, instead=instead)
    native = "" if text_problem(value) else value
    return Value(native=native, is_exact=bool(native), attribute=_TOKEN, match=match)


def _reads_alike(match: Match, iss: str, slash: str, issuers: Sequence[str]) -> bool:
    """Whether the documented match and that of the proxy are the same for tokens of these issuers."""
    if match.kind == "suffix":
        return not slash  # with one, a subject that has a slash itself is read differently
    if match.kind == "prefix" and not slash:
        return True
    others = [f"{each}/" for each in issuers if each != iss]
    return not any(other.startswith(f"{iss}/") or f"{iss}/".startswith(other) for other in others)


def remote_block(value: str) -> Value:
    """What a block of `remoteIpBlocks` becomes."""
    found = address_block(value)
    if found.lost:
        return found
    return replace(found, note="set `inbound.xffTrustedHops` of the server to the mesh's `numTrustedProxies` + 1")


def address_block(value: str) -> Value:
    """What an address or a CIDR block becomes; bits behind the prefix count for nothing, as with Envoy."""
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        return Value(lost="no IP address or CIDR block", instead="write an address, or a block such as `10.0.0.0/8`")
    return Value(native=str(network) if "/" in value else value, is_exact=True)


def audience(value: str) -> Value:
    """What a value of `request.auth.audiences` becomes."""
    if text_problem(value):
        return Value(lost="a `*` that is neither first nor last", instead="name each audience")
    return Value(native=value, is_exact=True)
