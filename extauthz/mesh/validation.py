"""What Istio's own validation refuses, so that no cluster can have it: wrong input, about which nothing is guessed."""

import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from extauthz.bundle import Finding, Tree
from extauthz.bundle.documents import NAME_PATTERN
from extauthz.bundle.finding import shorten
from extauthz.mesh.api import AuthorizationPolicy, Condition, Operation, Selector, Source, TargetRef
from extauthz.mesh.documents import DRY_RUN, Document, unknown_fields
from extauthz.model.problems import Location, suggestion

_NAME = re.compile(NAME_PATTERN)
_TEXTS: Final = {Source: Source.__struct_encode_fields__, Operation: Operation.__struct_encode_fields__}


def wrong(document: Document) -> Iterator[Finding]:
    """Everything that is wrong with a document beyond the types of its fields."""
    spec = document.spec
    for field, name in (("name", document.name), ("namespace", document.namespace)):
        if not _NAME.fullmatch(name):
            message = f"`{shorten(name)}` is no name of Kubernetes: lower-case letters, digits, `-` and `.`"
            yield document.tree.error((*document.root, "metadata", field), message)
    refs = spec.target_ref is not None or bool(spec.target_refs)
    if refs and spec.selector is not None:
        yield _error(document, (), "`selector` and `targetRefs` exclude each other: leave one out")
    yield from _selection(document)
    if not isinstance(spec, AuthorizationPolicy):
        return
    custom = spec.action == "CUSTOM"
    if custom != (spec.provider is not None):
        message = "name a `provider`" if custom else "a `provider` needs `action: CUSTOM`"
        yield _error(document, ("action",) if custom else ("provider",), message)
    if custom and document.dry_run:
        yield _error(document, (), f"the annotation `{DRY_RUN}` is not for CUSTOM policies: remove it")
    if custom and not spec.rules:
        yield _error(document, ("action",), "a CUSTOM policy needs rules: `rules: [{}]` is every request")
    for at, rule in enumerate(spec.rules or []):
        where: Location = ("rules", at)
        yield from _empty(document, where, ("from", "to", "when"))
        for number, source in enumerate(rule.from_ or []):
            yield from _fields(document, source.source, (*where, "from", number, "source"))
        for number, operation in enumerate(rule.to or []):
            yield from _fields(document, operation.operation, (*where, "to", number, "operation"))
        for number, condition in enumerate(rule.when or []):
            yield from _condition(document, condition, (*where, "when", number))


def _selection(document: Document) -> Iterator[Finding]:
    """Fields that nobody here knows may choose other workloads: then nothing is known about the document."""
    spec = document.spec
    chosen: list[tuple[Location, type[Struct]]] = []
    if spec.selector is not None:
        chosen.append((("selector",), Selector))
    if spec.target_ref is not None:
        chosen.append((("targetRef",), TargetRef))
    chosen += [(("targetRefs", at), TargetRef) for at in range(len(spec.target_refs or []))]
    for where, struct in chosen:
        for name in unknown_fields(document.raw(where), struct):
            hint = suggestion(name, list(struct.__struct_encode_fields__))
            yield _error(document, (*where, name), f"unknown field `{name}`{hint}")


def uncovered(document: Document) -> Finding:
    """A policy that asks extauthz, but not about every request."""
    message = (
        "requests that these rules do not match are never sent to extauthz, so that nothing imported would apply to "
        "them: write `rules: [{}]` and let extauthz decide"
    )
    return _error(document, ("rules",), message)


def _condition(document: Document, condition: Condition, where: Location) -> Iterator[Finding]:
    if not condition.values and not condition.not_values:
        yield _error(document, where, f"`{condition.key}` is compared with nothing: give `values` or `notValues`")
    yield from _values(document, where, ("values", "notValues"))


def _fields(document: Document, part: Source | Operation, where: Location) -> Iterator[Finding]:
    yield from _values(document, where, _TEXTS[type(part)])


def _values(document: Document, where: Location, names: tuple[str, ...]) -> Iterator[Finding]:
    yield from _empty(document, where, names)
    raw = document.raw(where)
    for name in names:
        for at, value in enumerate(raw.get(name) or ()):
            if value == "":
                yield _error(document, (*where, name, at), "an empty value: leave it out")


def _empty(document: Document, where: Location, names: tuple[str, ...]) -> Iterator[Finding]:
    raw = document.raw(where)
    for name in names:
        if raw.get(name) == []:
            yield _error(document, (*where, name), "an empty list: leave the field out if it restricts nothing")


def _error(document: Document, where: Location, message: str) -> Finding:
    tree: Tree = document.tree
    return tree.error(document.place(where), message)
