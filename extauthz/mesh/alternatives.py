"""One `source` or one `operation`, as a part of one of our rules."""

import re
from collections.abc import Callable, Sequence

from msgspec import Struct

from extauthz.mesh.api import Operation, Source
from extauthz.mesh.conditions import port
from extauthz.mesh.context import Context, leaves_out, read_field
from extauthz.mesh.documents import unknown_fields
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
from extauthz.mesh.texts import Text, read_match
from extauthz.mesh.values import Value
from extauthz.model.problems import Location
from extauthz.policy.matchers import text_problem

_METHOD = re.compile(r"[A-Z*][A-Z0-9_*-]{0,19}")  # as requests have them, and patterns of them


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


def _method(value: str) -> Value:
    fits = not text_problem(value) and bool(_METHOD.fullmatch(value))
    match = read_match(value)
    return Value(native=value if fits else "", is_exact=fits, attribute=Text("request.method"), match=match)


# A field, its values, those of its `not` twin, and what each becomes in which of them; None: principals.
Row = tuple[str, list[str] | None, list[str] | None, Callable[[str, bool], Value] | None]


def _alternative(rows: Sequence[Row], struct: type[Struct], location: Location, context: Context) -> Alternative | None:
    if leaves_out(unknown_fields(context.document.raw(location), struct), location, context):
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
            field = read_field(numbered, (*location, field_name), context, negated=negated)
            if field is None or field.never:
                return None
            if field.native:
                fields[field_name] = [EVERY_PATH] if EVERY_PATH in field.native else list(field.native)
            if field.cel:
                shorter = (
                    without_port([value for _, value in numbered if not value.lost])
                    if field_name == "hosts" and field.native
                    else ""
                )
                cel.append(shorter or field.cel)
    return Alternative(fields, tuple(cel))


def _plain(translate: Callable[[str], Value]) -> Callable[[str, bool], Value]:
    """What is read alike in a field and in its `not` twin."""
    return lambda value, _: translate(value)


def _negated(name: str) -> str:
    return f"not{name[0].upper()}{name[1:]}"
