"""`when`: further attributes by key. All entries are ANDed; `values` and `notValues` of one entry, too.

An attribute that is absent matches no value. So `notValues` holds for it, in allow as in deny rules: a deny rule with
`notValues` denies a request from which the header was stripped on the way (T-36).
"""

import re
from collections.abc import Callable

import msgspec

from extauthz.model.problems import Location, suggestion
from extauthz.policy.asked import Asked, workload
from extauthz.policy.claims import ABSENT, UNREADABLE
from extauthz.policy.document import WhenSpec
from extauthz.policy.header_names import spelling_flaw
from extauthz.policy.matchers import address_set, principal_pattern, principal_problem, text_set
from extauthz.policy.operations import port_problem, read_port
from extauthz.policy.parts import (
    FAILED,
    UNKNOWN,
    AddressPart,
    Draft,
    Found,
    Part,
    TextPart,
    check_addresses,
    check_values,
)
from extauthz.policy.sources import request_principal

Reader = Callable[[Asked], Found]

_KEYED = re.compile(r"(request\.headers|request\.query|request\.auth\.claims|params)((?:\[[^\[\]]+\])+)")
_TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_ADDRESSES: dict[str, Callable[[Asked], str]] = {
    "source.ip": lambda asked: asked.request.source.address,
    "remote.ip": lambda asked: asked.request.facts.client_address,
    "destination.ip": lambda asked: asked.request.destination.address,
}
_CONNECTION: dict[str, Reader] = {
    "source.principal": lambda asked: (asked.request.source.principal,),
    "source.namespace": lambda asked: (workload(asked.request.source.principal)[0],),
    "destination.port": read_port,
    "connection.sni": lambda asked: (asked.request.sni,),
}
_HTTP: dict[str, Reader] = {
    "request.auth.principal": lambda asked: (request_principal(asked),),
    "request.auth.audiences": lambda asked: _claim(asked, ["aud"]),
    "request.auth.presenter": lambda asked: (asked.subject.client,),
    "subject.roles": lambda asked: asked.subject.roles,
    "subject.scopes": lambda asked: asked.subject.scopes,
    "subject.tenant": lambda asked: (asked.subject.tenant,),
    "subject.actors": lambda asked: asked.subject.actors,
}
_CLEAR = frozenset(
    {"destination.port", "source.namespace", "source.principal", *_HTTP} - {"request.auth.principal", "subject.actors"}
)
_TEMPLATES = ["request.headers[…]", "request.query[…]", "request.auth.claims[…]", "params[…]"]
KEYS = [*_ADDRESSES, *_CONNECTION, *_HTTP, *_TEMPLATES]


def compile_when(spec: WhenSpec, captures: frozenset[str], draft: Draft, location: Location) -> list[Part]:
    """Compile one entry to one part for `values` and one for `notValues`.

    `captures` are the names that the rule's patterns can capture.
    """
    if spec.values is None and spec.not_values is None:
        draft.fault(location, f"`{spec.key}` is compared with nothing: give `values` or `notValues`")
        return []
    if spec.key in _ADDRESSES:
        return _addresses(spec, draft, location)
    if spec.key in _CONNECTION or spec.key in _HTTP:
        return _texts(spec, draft, location)
    match = _KEYED.fullmatch(spec.key)
    if match is None:
        draft.fault((*location, "key"), f"unknown key `{spec.key}`{_key_hint(spec.key)}")
        return []
    kind, names = match[1], match[2][1:-1].split("][")
    if kind == "request.auth.claims":
        return _parts(spec, lambda asked: _claim(asked, names), draft, location)
    if len(names) > 1:
        draft.fault((*location, "key"), f"`{spec.key}`: only claims are nested, write `{kind}[{names[0]}]`")
        return []
    if kind == "request.headers":
        return _headers(spec, names[0], draft, location)
    if kind == "request.query":
        return _parts(spec, lambda asked: _query(asked, names[0]), draft, location)
    if names[0] not in captures:
        hint = suggestion(names[0], sorted(captures)) or ": no path or host pattern of this rule captures anything"
        draft.fault((*location, "key"), f"nothing captures `{names[0]}`{hint}")
        return []
    return _parts(spec, lambda asked: (asked.params.get(names[0], ""),), draft, location, fold=True)


def header_read(part: Part) -> str:
    """The header, in lower case, that a part of `when` reads; "" when it reads something else."""
    match = _KEYED.fullmatch(part.field)
    return match[2][1:-1].lower() if match and match[1] == "request.headers" else ""


def query_read(part: Part) -> str:
    """The query parameter that a part of `when` reads; "" when it reads something else."""
    match = _KEYED.fullmatch(part.field)
    return match[2][1:-1] if match and match[1] == "request.query" else ""


def claim_read(part: Part) -> str:
    """The top-level claim that a part of `when` reads; "" when it reads something else."""
    if part.field == "request.auth.audiences":
        return "aud"
    match = _KEYED.fullmatch(part.field)
    return match[2][1:-1].split("][")[0] if match and match[1] == "request.auth.claims" else ""


def _key_hint(key: str) -> str:
    hint = suggestion(key.partition("[")[0], [name.partition("[")[0] for name in KEYS])
    keyed = [name for name in _TEMPLATES if f"`{name.partition('[')[0]}`?" in hint]
    return f", did you mean `{keyed[0].replace('…', 'name')}`?" if keyed else hint


def _parts(  # noqa: PLR0913 - one call for every kind of attribute
    spec: WhenSpec,
    read: Reader,
    draft: Draft,
    location: Location,
    *,
    read_not: Reader | None = None,
    fold: bool = False,
    http: bool = True,
    problem: Callable[[str], str] | None = None,
    normal: Callable[[str], str] = str,
) -> list[Part]:
    """`fold`: the attribute is part of the path, so what denies is compared in any case (T-11)."""
    masked = spec.key not in _CLEAR
    parts: list[Part] = []
    for field, values, reader in (("values", spec.values, read), ("notValues", spec.not_values, read_not or read)):
        checked = values is not None and (
            check_values(draft, (*location, field), values, problem)
            if problem
            else check_values(draft, (*location, field), values)
        )
        if values is None or not checked:
            continue
        negative = field == "notValues"
        folds = fold and (draft.effect == "deny") != negative
        part = TextPart(
            spec.key,
            text_set((normal(value) for value in values), fold=folds),
            reader,
            draft.against,
            negative=negative,
            fold=folds,
            http=http,
            masked=masked,
        )
        parts.append(part)
    return parts


def _texts(spec: WhenSpec, draft: Draft, location: Location) -> list[Part]:
    http = spec.key in _HTTP
    read = _HTTP[spec.key] if http else _CONNECTION[spec.key]
    if spec.key == "source.principal":
        return _parts(spec, read, draft, location, http=http, problem=principal_problem, normal=principal_pattern)
    if spec.key == "destination.port":
        return _parts(spec, read, draft, location, http=http, problem=port_problem)
    return _parts(spec, read, draft, location, http=http)


def _addresses(spec: WhenSpec, draft: Draft, location: Location) -> list[Part]:
    parts: list[Part] = []
    for field, blocks in (("values", spec.values), ("notValues", spec.not_values)):
        if blocks is not None and check_addresses(draft, (*location, field), blocks):
            negative = field == "notValues"
            read = _ADDRESSES[spec.key]
            part = AddressPart(spec.key, address_set(blocks), read, draft.against, negative=negative)
            parts.append(part)
    return parts


def _headers(spec: WhenSpec, written: str, draft: Draft, location: Location) -> list[Part]:
    """A header with more than one value never satisfies an allow rule, and each of them is held against it (T-26)."""
    name = written.lower()  # T-74
    if not _TOKEN.fullmatch(name):
        hint = f": write `{name.lstrip(':')}` as `to.methods`, `to.paths` or `to.hosts`" if name[0] == ":" else ""
        draft.fault((*location, "key"), f"`{written}` is no header name{hint}")
        return []
    if draft.effect == "allow":
        for field, values in (("values", spec.values), ("notValues", spec.not_values)):
            for position, value in enumerate(values or ()):
                if "," in value:
                    fault = f"`{value}` has a comma: headers with more than one value never match an allow rule"
                    draft.fault((*location, field, position), fault)
    if flaw := spelling_flaw(name):
        draft.note((*location, "key"), flaw, "warning", "header-spelling")
    single = _single_header(name)
    read = single if draft.effect == "allow" else _each_header(name)
    return _parts(spec, read, draft, location, read_not=single)


def _single_header(name: str) -> Reader:
    def read(asked: Asked) -> Found:
        headers = asked.request.headers
        value = headers.get(name)
        if value is None:
            return ()
        return UNKNOWN if "," in value or headers.is_repeated(name) or not _is_text(value) else (value,)

    return read


def _each_header(name: str) -> Reader:
    """The whole and every part: what a deny rule looks for may be any of them."""

    def read(asked: Asked) -> Found:
        value = asked.request.headers.get(name)
        if value is None:
            return ()
        if not _is_text(value):
            return UNKNOWN
        return (value, *(part.strip(" \t") for part in value.split(","))) if "," in value else (value,)

    return read


def _is_text(value: str) -> bool:
    """Bytes that are no UTF-8 may reach us as lone surrogates; what they stand for cannot be told (T-15)."""
    return value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)


def _query(asked: Asked, name: str) -> Found:
    found = None if asked.query is None else asked.query.find(name)
    return FAILED if found is None else found


def _claim(asked: Asked, names: list[str]) -> Found:
    """The texts of a claim: itself, or each member of a list; `scope` is split at spaces (RFC 8693 section 4.2).

    Fractions and nested values have no one text, so they cannot be told.
    """
    value: object = asked.claim(names[0])
    if value is UNREADABLE:
        return FAILED
    if value is ABSENT:
        return ()
    for name in names[1:]:
        if not isinstance(value, dict) or name not in value:
            return ()
        value = value[name]
    if names == ["scope"] and isinstance(value, str):
        return tuple(value.split(" "))
    members = value if isinstance(value, list) else [value]
    present = [member for member in members if member is not None]
    texts = tuple(_text(member) for member in present if isinstance(member, str | int))
    return texts if len(texts) == len(present) else UNKNOWN


def _text(value: str | int) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
