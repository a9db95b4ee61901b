"""What an allow adds, computed from CEL expressions.

Rule 1: an obligation that cannot be computed makes its rule not match; nothing is left out silently.
Rule 2: a value never holds a control character, nor a list member a comma: neither can be read as two (T-38).
"""

import re

from msgspec import Struct

from extauthz.model.decision import Obligations
from extauthz.model.problems import Location
from extauthz.policy.asked import Asked
from extauthz.policy.condition import Conditions, Program
from extauthz.policy.document import ObligationsSpec
from extauthz.policy.parts import Draft

# A client's 93 headers and 8 of ours exceeded Envoy's limit of 100 (T-40).
MAX_HEADERS = 16
MAX_VALUE = 4096  # characters
_TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_FORBIDDEN_VALUE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_QUERY_NAME = re.compile(r"[A-Za-z0-9._~\[\]-]+")
_METADATA_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
# RFC 9110 section 7.6.1 and what frames a message; Envoy waits for a body that never comes when these change.
_FRAMING = frozenset(
    [
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
_OURS = ("x-auth-", "x-authz-", "x-fapi-interaction-id")
_ENVOYS = ("x-envoy-", "x-forwarded-")
# Keys that every answer carries.
_RESERVED = frozenset({"decision_id", "outcome", "reason", "policy", "rule", "revision", "tenant"})
# Envoy crashed when `origin` was gone before CORS looked (T-72).
_KEPT = frozenset({"origin"})
_TYPES = frozenset({"STRING", "INT", "BOOL", "DYN", "LIST<STRING>", "LIST<DYN>", "UINT"})

Pairs = tuple[tuple[str, str], ...]
Programs = tuple[tuple[str, Program], ...]


class Plan(Struct, frozen=True, gc=False):
    """Compiled obligations."""

    upstream_headers: Programs
    client_headers: Programs
    set_query: Programs
    metadata: Programs
    removed_headers: tuple[str, ...]
    removed_query: tuple[str, ...]

    def programs(self) -> list[Program]:
        """Every expression."""
        groups = (self.upstream_headers, self.client_headers, self.set_query, self.metadata)
        return [program for group in groups for _, program in group]

    def resolve(self, asked: Asked) -> Obligations | None:
        """The values for this request; None when one of them cannot be computed."""
        upstream = _resolve(self.upstream_headers, asked)
        client = _resolve(self.client_headers, asked)
        query = _resolve(self.set_query, asked)
        metadata = _resolve(self.metadata, asked)
        if upstream is None or client is None or query is None or metadata is None:
            return None
        return Obligations(upstream, client, self.removed_headers, query, self.removed_query, metadata)


def _resolve(programs: Programs, asked: Asked) -> Pairs | None:
    pairs = []
    for name, program in programs:
        value = _text(program.value(asked))
        if value is None or len(value) > MAX_VALUE or _FORBIDDEN_VALUE.search(value):
            return None
        pairs.append((name, value))
    return tuple(pairs)


def _text(value: object) -> str | None:
    """A computed value as text: lists joined with commas, truth values in lower case."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case list():
            if all(isinstance(member, str) and "," not in member for member in value):
                return ",".join(value)
            return None
        case _:
            return None


def compile_obligations(spec: ObligationsSpec, conditions: Conditions, draft: Draft, location: Location) -> Plan:
    """Compile names and expressions; what is wrong is noted."""
    if draft.effect == "deny":
        draft.fault(location, "only an allow has obligations: leave them out of a deny policy")
    for field, size in (("upstreamHeaders", len(spec.upstream_headers)), ("clientHeaders", len(spec.client_headers))):
        if size > MAX_HEADERS:
            draft.fault((*location, field), f"{size} headers are too many, at most {MAX_HEADERS} are possible")

    def programs(field: str, expressions: dict[str, str]) -> Programs:
        compiled = []
        for name, text in expressions.items():
            normal = _check_name(field, name, draft, (*location, field, name))
            program = _compile(text, conditions, draft, (*location, field, name))
            if program is not None:
                compiled.append((normal, program))
        return tuple(compiled)

    def names(field: str, written: tuple[str, ...]) -> tuple[str, ...]:
        places = enumerate(written)
        return tuple(_check_name(field, name, draft, (*location, field, position)) for position, name in places)

    plan = Plan(
        upstream_headers=programs("upstreamHeaders", spec.upstream_headers),
        client_headers=programs("clientHeaders", spec.client_headers),
        set_query=programs("setQuery", spec.set_query),
        metadata=programs("metadata", spec.metadata),
        removed_headers=names("removeHeaders", spec.remove_headers),
        removed_query=names("removeQuery", spec.remove_query),
    )
    for name in sorted({name for name, _ in plan.upstream_headers} & set(plan.removed_headers)):
        draft.fault((*location, "removeHeaders"), f"`{name}` is both set and removed: Envoy would remove it")
    return plan


def _compile(text: str, conditions: Conditions, draft: Draft, location: Location) -> Program | None:
    program, flaws, type_name = conditions.expression(text)
    for flaw in flaws:
        draft.note(location, flaw.message, flaw.severity)
    if program is not None and type_name not in _TYPES:
        draft.fault(
            location, f"a value must be text, an integer, a truth value or a list of texts, not {type_name.lower()}"
        )
        return None
    return program


def _check_name(field: str, name: str, draft: Draft, location: Location) -> str:
    """The name in its one spelling; notes what is wrong with it."""
    if field in {"setQuery", "removeQuery"}:
        if not _QUERY_NAME.fullmatch(name):
            draft.fault(location, f"`{name}` is no name of a query parameter")
        return name
    if field == "metadata":
        if not _METADATA_NAME.fullmatch(name):
            draft.fault(location, f"`{name}` is no metadata key: use letters, digits, `_`, `-` and `.`")
        elif name in _RESERVED:
            draft.fault(location, f"`{name}` is on every answer and cannot be changed by a policy")
        return name
    lower = name.lower()
    if lower.startswith(":"):
        draft.fault(location, f"`{name}` is a pseudo-header: rewriting the request is left to the route")
    elif not _TOKEN.fullmatch(lower):
        draft.fault(location, f"`{name}` is no header name")
    elif lower in _FRAMING:
        draft.fault(location, f"`{name}` frames the message or ends at the next hop and cannot be changed")
    elif lower.replace("_", "-").startswith(_OURS if field == "removeHeaders" else _OURS + _ENVOYS):  # T-27, T-28
        draft.fault(location, f"`{name}` is set by the server itself or by Envoy and cannot be changed by a policy")
    elif field == "removeHeaders" and lower in _KEPT:
        draft.fault(location, f"`{name}` is needed by Envoy's CORS filter and cannot be removed")
    return lower
