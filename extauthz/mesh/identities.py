"""Who calls, as Istio compares it: principals, namespaces, service accounts, addresses, and what tokens say.

Rule 1: `cluster.local` in a principal stands for the mesh's own trust domain, and each of those for all of them.
"""

from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import Final

from extauthz.mesh.texts import Text, quoted, read_match
from extauthz.mesh.values import Value
from extauthz.policy.matchers import SCHEME, principal_problem, text_problem

DEFAULT_TRUST_DOMAIN: Final = "cluster.local"
_PRINCIPAL: Final = Text("source.principal")
_SPIFFE: Final = Text("source.principal", guard=f"source.principal.startsWith({quoted(SCHEME)})")
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


def request_principal(value: str) -> Value:
    """What a value of `requestPrincipals` becomes."""
    native = "" if text_problem(value) else value
    return Value(native=native, is_exact=bool(native), attribute=_TOKEN, match=read_match(value))


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
