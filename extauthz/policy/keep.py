"""What the policies of a bundle read of a request beside what every record has: for the journal, see `model.kept`."""

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from extauthz.model.keeping import Range
from extauthz.model.kept import ADDRESSES, OTHERS, claim_name, header_name, query_name
from extauthz.policy.attributes import claim_read, header_read, query_read
from extauthz.policy.parts import AddressPart, Part
from extauthz.policy.rule import Rule

# Where the fields of `from` and `to`, and the keys of `when`, read what only some records have.
_FIELDS: Final = {
    "ipBlocks": "source.address",
    "notIpBlocks": "source.address",
    "remoteIpBlocks": "remote.address",
    "notRemoteIpBlocks": "remote.address",
    "source.ip": "source.address",
    "remote.ip": "remote.address",
    "destination.ip": "destination.address",
    "ports": "destination.port",
    "notPorts": "destination.port",
    "destination.port": "destination.port",
    "connection.sni": "connection.sni",
}
# What every record has, as rules write it, and as expressions do. What is in none of these tables is not kept.
_ALWAYS: Final = frozenset(
    (
        *("hosts", "notHosts", "methods", "notMethods", "source.principal", "source.namespace"),
        *("request.auth.principal", "request.auth.presenter"),
        *("subject.roles", "subject.scopes", "subject.tenant", "subject.actors"),
        *(
            spelling
            for name in (
                *("principals", "namespaces", "serviceAccounts", "requestPrincipals", "roles", "scopes", "tenants"),
                *("clients", "actors", "issuers"),
            )
            for spelling in (name, f"not{name[0].upper()}{name[1:]}")
        ),
    )
)
_ALWAYS_READ: Final = frozenset(
    (
        *("request.method", "request.host", "request.path", "request.segments", "resource.tenant", "params", "now"),
        *("source.principal", "source.namespace", "subject.authenticated", "subject.issuer", "subject.id"),
        *("subject.client", "subject.tenant", "subject.roles", "subject.scopes", "subject.actors", "subject.session"),
        *("subject.acr", "subject.auth_time", "subject.issued_at", "subject.expires_at"),
    )
)
_KEYED: Final = {"request.headers": header_name, "request.query": query_name, "subject.claims": claim_name}


class PolicyReads(Struct, frozen=True):
    """Names that any rule reads, sorted."""

    headers: tuple[str, ...]
    query: tuple[str, ...]
    claims: tuple[str, ...]
    others: tuple[str, ...]
    blocks: dict[str, list[tuple[int, Range]]]  # by attribute: (version, (first, last)) of the addresses that are named
    literals: frozenset[str]


def attribute_of(part: Part) -> str:
    """What a part of `from`, `to` or `when` reads, as it is kept; "" when every record has it."""
    if name := header_read(part):
        return header_name(name)
    if name := query_read(part):
        return query_name(name)
    if name := claim_read(part):
        return claim_name(name)
    if part.field in _ALWAYS or part.field.startswith("params["):
        return ""
    return _FIELDS.get(part.field, part.field)


def attribute_read(name: str, key: str | None) -> str:
    """What an expression reads, as it is kept: a variable, and its key; "" when every record has it."""
    if name in _KEYED:
        return name if key is None else _KEYED[name](key)
    return "" if name in _ALWAYS_READ else name


def policy_reads(rules: Iterable[Rule]) -> PolicyReads:
    """What these rules read."""
    headers: set[str] = set()
    query: set[str] = set()
    claims: set[str] = set()
    others: set[str] = set()
    blocks: dict[str, list[tuple[int, Range]]] = {name: [] for name in ADDRESSES}
    literals: set[str] = set()
    for rule in rules:
        headers |= rule.headers
        claims |= rule.claims
        literals.update(_literals(rule))
        if rule.plan is not None:
            query.update(rule.plan.governed_names)
        for part in _parts(rule):
            attribute = attribute_of(part)
            others |= {attribute} & set(OTHERS)
            if name := query_read(part):
                query.add(name)
            if isinstance(part, AddressPart):
                blocks[attribute] += part.addresses.ranges()
        for program in rule.programs:
            for name, key in program.reads:
                if name == "request.query" and key is not None:
                    query.add(key)
                others |= {name} & set(OTHERS)
    return PolicyReads(
        tuple(sorted(headers)),
        tuple(sorted(query)),
        tuple(sorted(claims)),
        tuple(sorted(others)),
        blocks,
        frozenset(literals),
    )


def _parts(rule: Rule) -> Iterator[Part]:
    for source in rule.sources or ():
        yield from source.all_parts()
    for operation in rule.operations or ():
        yield from operation.parts
    yield from rule.whens


def _literals(rule: Rule) -> Iterator[str]:
    """Segments that a pattern of the rule names."""
    patterns = [*(rule.scope.patterns or ())]
    for operation in rule.operations or ():
        patterns += operation.patterns or ()
    for pattern in patterns:
        for _, literal in pattern.literals:
            yield literal
