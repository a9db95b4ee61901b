"""One `source`, one `operation` or all of `when`, as a part of one of our rules.

Rule 1: a part that cannot be said leaves an alternative of an allow rule out, and takes a restriction from a deny rule.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from extauthz.mesh.claims import Words
from extauthz.mesh.conditions import Sign, our_key, port, translator
from extauthz.mesh.documents import Condition, Document, Operation, Source, unknown_fields
from extauthz.mesh.hosts import host, without_port
from extauthz.mesh.identities import (
    address_block,
    namespace,
    principals,
    remote_block,
    request_principal,
    service_account,
)
from extauthz.mesh.paths import EVERY_PATH, path
from extauthz.mesh.report import Report
from extauthz.mesh.texts import Text, read_match
from extauthz.mesh.values import Field, Value, negative, positive
from extauthz.model.problems import Location
from extauthz.policy.matchers import text_problem

Numbered = list[tuple[int, Value]]

_METHOD = re.compile(r"[A-Z*][A-Z0-9_*-]{0,19}")  # as requests have them, and patterns of them

_UNSAID: Final = "it is left out of this rule, which allows less"
_MORE: Final = "without it this rule denies more than in Istio"


class Context(Struct, frozen=True):
    """What all parts of a policy share."""

    document: Document
    report: Report
    denies: bool  # a deny rule that is enforced: what is lost must not let anything pass
    trust_domains: tuple[str, ...]
    words: Words
    issuers: tuple[str, ...] = ()  # whose tokens are taken

    def lose(self, location: Location, message: str, instead: str, *, denial: bool) -> None:
        """Note what is not carried over."""
        self.report.add(self.document, location, "lost", message, instead, denial=denial)


class Alternative(Struct, frozen=True):
    """Fields of ours and an expression, which must all hold."""

    fields: dict[str, list[str]]
    cel: tuple[str, ...] = ()


def from_source(source: Source, location: Location, context: Context) -> Alternative | None:
    """One alternative of `from`; None when it is left out, or matches nobody."""
    namespace_of_policy = context.document.namespace
    return _alternative(
        [
            ("principals", source.principals, source.not_principals, None),
            (
                "requestPrincipals",
                source.request_principals,
                source.not_request_principals,
                lambda value, negated: request_principal(value, context.issuers, strict=context.denies == negated),
            ),
            ("namespaces", source.namespaces, source.not_namespaces, _plain(namespace)),
            (
                "serviceAccounts",
                source.service_accounts,
                source.not_service_accounts,
                lambda value, _: service_account(value, namespace_of_policy),
            ),
            ("ipBlocks", source.ip_blocks, source.not_ip_blocks, _plain(address_block)),
            ("remoteIpBlocks", source.remote_ip_blocks, source.not_remote_ip_blocks, _plain(remote_block)),
        ],
        Source,
        location,
        context,
    )


def from_operation(operation: Operation, location: Location, context: Context) -> Alternative | None:
    """One alternative of `to`; None when it is left out, or matches nothing."""
    return _alternative(
        [
            ("hosts", operation.hosts, operation.not_hosts, _plain(host)),
            ("ports", operation.ports, operation.not_ports, _plain(port)),
            ("methods", operation.methods, operation.not_methods, _plain(_method)),
            ("paths", operation.paths, operation.not_paths, _plain(path)),
        ],
        Operation,
        location,
        context,
    )


def from_conditions(
    conditions: Sequence[Condition], location: Location, context: Context
) -> tuple[list[dict[str, object]], tuple[str, ...]] | None:
    """Entries of our `when` and expressions; None when the rule is left out, or matches nothing."""
    entries: list[dict[str, object]] = []
    cel: list[str] = []
    for at, condition in enumerate(conditions):
        place = (*location, at)
        unknown = unknown_fields(context.document.raw(place), Condition)
        found = _condition(condition, place, context) if not unknown else _lose_unknown(unknown, place, context)
        if found is None:
            return None
        entry, expressions = found
        if len(entry) > 1:
            entries.append(entry)
        cel += expressions
    return entries, tuple(cel)


Said = tuple[dict[str, object], list[str]]


def _condition(condition: Condition, place: Location, context: Context) -> Said | None:
    entry: dict[str, object] = {"key": our_key(condition.key)}
    cel: list[str] = []
    signs: tuple[tuple[Sign, list[str] | None], ...] = (
        ("values", condition.values),
        ("notValues", condition.not_values),
    )
    for sign, values in signs:
        if not values:
            continue
        numbered = _read_condition(condition.key, values, sign, context)
        if numbered is None:
            context.lose(
                (*place, "key"),
                f"`{condition.key}` is not known to extauthz; {_MORE if context.denies else 'the rule is left out'}",
                _instead_of_key(condition.key),
                denial=context.denies,
            )
            if context.denies:
                continue
            return None
        field = _field(numbered, (*place, sign), context, negated=sign == "notValues")
        if field is None or field.never:
            return None
        if field.native:
            entry[sign] = list(field.native)
        if field.cel:
            cel.append(field.cel)
    return entry, cel


def _instead_of_key(key: str) -> str:
    if key.startswith("experimental."):
        return "compare the token's claims or a header instead of another filter's metadata"
    return "write the rule by hand, with another attribute or a `condition`"


def _read_condition(key: str, values: list[str], sign: Sign, context: Context) -> Numbered | None:
    if key == "source.principal":
        return principals(values, context.trust_domains)
    translate = translator(key, context.words, context.issuers, denies=context.denies, sign=sign)
    return None if translate is None else [(at, translate(value)) for at, value in enumerate(values)]


def _method(value: str) -> Value:
    fits = not text_problem(value) and bool(_METHOD.fullmatch(value))
    match = read_match(value)
    return Value(native=value if fits else "", is_exact=fits, attribute=Text("request.method"), match=match)


# A field, its values, those of its `not` twin, and what each becomes in which of them; None: principals.
Row = tuple[str, list[str] | None, list[str] | None, Callable[[str, bool], Value] | None]


def _alternative(rows: Sequence[Row], struct: type[Struct], location: Location, context: Context) -> Alternative | None:
    unknown = unknown_fields(context.document.raw(location), struct)
    if unknown and _lose_unknown(unknown, location, context) is None:
        return None
    fields: dict[str, list[str]] = {}
    cel: list[str] = []
    for name, values, not_values, translate in rows:
        for field_name, given, negated in ((name, values, False), (_negated(name), not_values, True)):
            if not given:
                continue
            numbered = (
                principals(given, context.trust_domains)
                if translate is None
                else [(at, translate(value, negated)) for at, value in enumerate(given)]
            )
            field = _field(numbered, (*location, field_name), context, negated=negated)
            if field is None or field.never:
                return None
            if field.native:
                fields[field_name] = [EVERY_PATH] if EVERY_PATH in field.native else list(field.native)
            if field.cel:
                hosts = [value for _, value in numbered if not value.lost and not value.refused]
                cel.append((without_port(hosts) if field_name == "hosts" else "") or field.cel)
    return Alternative(fields, tuple(cel))


def _plain(translate: Callable[[str], Value]) -> Callable[[str, bool], Value]:
    """What is read alike in a field and in its `not` twin."""
    return lambda value, _: translate(value)


def _negated(name: str) -> str:
    return f"not{name[0].upper()}{name[1:]}"


def _lose_unknown(unknown: list[str], location: Location, context: Context) -> Said | None:
    """A field that nobody here knows: an empty part where more is denied without it, None where less is allowed."""
    for name in unknown:
        context.lose(
            (*location, name),
            f"`{name}` is not known to extauthz; {_MORE if context.denies else _UNSAID}",
            "write the rule by hand, or leave the field out if it restricts nothing",
            denial=context.denies,
        )
    return ({"key": ""}, []) if context.denies else None


def _field(numbered: Numbered, location: Location, context: Context, *, negated: bool) -> Field | None:
    """What the values of a field become; None when what is lost leaves the whole alternative out."""
    lost = [(at, value) for at, value in numbered if value.lost]
    for at, value in lost:
        effect = _MORE if context.denies else _UNSAID
        context.lose((*location, at), f"{value.lost}; {effect}", value.instead, denial=context.denies)
    for at, value in numbered:
        if value.never:
            context.report.add(context.document, (*location, at), "note", value.never, value.instead)
        if value.note:
            context.report.add(context.document, (*location, at), "note", value.note)
        if value.narrower:
            context.report.add(context.document, (*location, at), "narrower", value.narrower, value.instead)
        if value.refused and context.denies == negated:  # where Istio would let it pass
            context.report.add(context.document, (*location, at), "narrower", value.refused, value.instead)
    values = [value for _, value in numbered]
    if negated:
        return None if lost and not context.denies else negative(values)
    if lost and context.denies:
        return Field()  # any: it denies more, if it is written at all
    return positive(values, keep=context.denies)
