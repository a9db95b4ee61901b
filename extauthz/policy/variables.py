"""The names that conditions may use, their types, and where each value comes from.

Rule 1: names are declared with their dots, so that the type checker knows every one of them.
Rule 2: a value that `readers` cannot read makes the condition err, whatever else is in it.
Rule 3: values come as `lowering` has them; `for_cel` makes what CEL's own evaluator takes.
"""

from collections.abc import Callable
from typing import Any

from cel_expr_python import cel
from msgspec import Struct

from extauthz.policy import readers
from extauthz.policy.lowering import Kind, Timestamp
from extauthz.policy.readers import NANOS, Reader

_TEXT = cel.Type.STRING
_NUMBER = cel.Type.INT
_TEXTS = cel.Type.List(cel.Type.STRING)
_TEXT_MAP = cel.Type.Map(cel.Type.STRING, cel.Type.STRING)


class Variable(Struct, frozen=True):
    """One name. `keyed` reads one key of a map, ABSENT when it is not there."""

    type: Any  # cel.Type
    kind: Kind
    read: Reader
    http: bool = True  # unknown of a connection without HTTP
    keyed: Callable[[str], Reader] | None = None
    key_kind: Kind = "string"


def _text(attribute: str, *, http: bool = True) -> Variable:
    return Variable(_TEXT, "string", readers.text(attribute), http)


def _texts(attribute: str) -> Variable:
    return Variable(_TEXTS, "strings", readers.texts(attribute))


def _number(attribute: str, *, http: bool = True) -> Variable:
    return Variable(_NUMBER, "int", readers.number(attribute), http)


VARIABLES: dict[str, Variable] = {
    "request.method": _text("request.method"),
    "request.host": _text("request.host"),
    "request.port": _number("request.port"),
    "request.scheme": _text("request.scheme"),
    "request.path": _text("request.path"),
    "request.raw_path": _text("request.raw_path"),  # as Envoy forwards it; for what must be compared letter by letter
    "request.segments": _texts("request.segments"),
    "request.headers": Variable(_TEXT_MAP, "string_map", readers.all_headers, keyed=readers.header),
    "request.query": Variable(_TEXT_MAP, "string_map", readers.all_query, keyed=readers.parameter),
    "subject.authenticated": Variable(cel.Type.BOOL, "bool", readers.authenticated),
    "subject.issuer": _text("subject.issuer"),
    "subject.id": _text("subject.id"),
    "subject.client": _text("subject.client"),
    "subject.tenant": _text("subject.tenant"),
    "subject.roles": _texts("subject.roles"),
    "subject.scopes": _texts("subject.scopes"),
    "subject.actors": _texts("subject.actors"),
    "subject.session": _text("subject.session"),
    "subject.acr": _text("subject.acr"),
    "subject.auth_time": _number("subject.auth_time"),
    "subject.issued_at": _number("subject.issued_at"),
    "subject.expires_at": _number("subject.expires_at"),
    "subject.claims": Variable(
        cel.Type.Map(_TEXT, cel.Type.DYN), "map", readers.all_claims, keyed=readers.claim, key_kind="dyn"
    ),
    "resource.tenant": _text("tenant"),
    "params": Variable(_TEXT_MAP, "string_map", readers.params, keyed=readers.capture),
    "source.address": _text("request.source.address", http=False),
    "source.port": _number("request.source.port", http=False),
    "source.principal": _text("request.source.principal", http=False),
    "source.namespace": Variable(_TEXT, "string", readers.namespace, http=False),
    "remote.address": _text("request.facts.client_address", http=False),
    "destination.address": _text("request.destination.address", http=False),
    "destination.port": _number("request.destination.port", http=False),
    "destination.principal": _text("request.destination.principal", http=False),
    "connection.sni": _text("request.sni", http=False),
    "now": Variable(cel.Type.TIMESTAMP, "timestamp", readers.now),
}

# The core may not import `datetime`; CEL makes the value that CEL wants for a timestamp.
_EPOCH = cel.NewEnv(variables={"seconds": _NUMBER}).compile("timestamp(seconds)")


def for_cel(value: Any) -> Any:  # noqa: ANN401 - any value of a variable
    """A value of a variable as CEL's binding takes it."""
    if type(value) is tuple:
        return list(value)
    if type(value) is Timestamp:
        return _EPOCH.eval(data={"seconds": value // NANOS}).value()
    return value
