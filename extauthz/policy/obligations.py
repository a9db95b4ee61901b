"""What an allow adds, computed from CEL expressions.

Rule 1: an obligation that cannot be computed makes its rule not match; nothing is left out silently.
Rule 2: a value never holds a control character or a line end, nor a list member a comma: neither can be read as two
(T-38).
Rule 3: a parameter that is set or removed survives in no other spelling; a request that brings one does not match.
"""

import re

from msgspec import Struct

from extauthz.model.decision import Obligations
from extauthz.model.problems import Location
from extauthz.model.texts import is_safe_value
from extauthz.policy.asked import Asked
from extauthz.policy.condition import Conditions, Program
from extauthz.policy.document import ObligationsSpec
from extauthz.policy.header_names import MAX_HYPHENS, one_spelling
from extauthz.policy.parts import Draft
from extauthz.policy.query import Governed, governed

# A client's 93 headers and 8 of ours exceeded Envoy's limit of 100 (T-40).
MAX_HEADERS = 16
MAX_ENTRIES = 32  # that an answer carries, whatever they are
MAX_VALUE = 4096  # characters
MAX_NAME = 128  # characters of a header's name
_TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
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
_DONE = {"upstreamHeaders": "set", "removeHeaders": "removed"}
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
    governed: Governed  # the parameters in `set_query` and `removed_query`
    removed_twins: tuple[str, ...] = ()  # see `guard`

    def programs(self) -> list[Program]:
        """Every expression."""
        groups = (self.upstream_headers, self.client_headers, self.set_query, self.metadata)
        return [program for group in groups for _, program in group]

    @property
    def governed_names(self) -> tuple[str, ...]:
        """The parameters that are set or removed."""
        return (*(name for name, _ in self.set_query), *self.removed_query)

    def resolve(self, asked: Asked) -> Obligations | None:
        """The values for this request; None when one of them cannot be computed or would not hold."""
        if not self.governed.leaves_none(asked.request.query):
            return None
        upstream = _resolve(self.upstream_headers, asked)
        client = _resolve(self.client_headers, asked)
        query = _resolve(self.set_query, asked)
        metadata = _resolve(self.metadata, asked)
        if upstream is None or client is None or query is None or metadata is None:
            return None
        return Obligations(
            upstream, client, self.removed_headers, query, self.removed_query, metadata, self.removed_twins
        )


def _resolve(programs: Programs, asked: Asked) -> Pairs | None:
    pairs = []
    for name, program in programs:
        value = _text(program.value(asked))
        if value is None or len(value) > MAX_VALUE or not is_safe_value(value):
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
    size = sum(len(getattr(spec, field)) for field in ObligationsSpec.__struct_fields__)
    if size > MAX_ENTRIES:
        draft.fault(location, f"{size} entries are too many, at most {MAX_ENTRIES} are possible")

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
        governed=governed((*spec.set_query, *spec.remove_query)),
    )
    _check_headers(plan, draft, location)
    return plan


def _check_headers(plan: Plan, draft: Draft, location: Location) -> None:
    upstream = [name for name, _ in plan.upstream_headers]
    for name in sorted(set(upstream) & set(plan.removed_headers)):
        draft.fault((*location, "removeHeaders"), f"`{name}` is both set and removed: Envoy would remove it")
    first: dict[str, str] = {}
    for name in upstream:
        other = first.setdefault(one_spelling(name), name)
        if other != name:
            fault = f"`{other}` and `{name}` are one header to many upstreams: set one of them"
            draft.fault((*location, "upstreamHeaders", name), fault)


def _compile(text: str, conditions: Conditions, draft: Draft, location: Location) -> Program | None:
    program, flaws, type_name = conditions.expression(text)
    for flaw in flaws:
        draft.note(location, flaw.message, flaw.severity, flaw.code)
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
    if fault := _header_fault(field, name, lower, one_spelling(lower)):
        draft.fault(location, fault)
    return lower


def header_fault(field: str, name: str) -> str:
    """Why no policy can do this to a header: `field` is that of `obligations`; "" when one can."""
    lower = name.lower()
    return _header_fault(field, name, lower, one_spelling(lower))


def _header_fault(field: str, name: str, lower: str, spelling: str) -> str:
    if lower.startswith(":"):
        return f"`{name}` is a pseudo-header: rewriting the request is left to the route"
    if not _TOKEN.fullmatch(lower):
        return f"`{name}` is no header name"
    if spelling in _FRAMING:
        return f"`{name}` frames the message or ends at the next hop and cannot be changed"
    if spelling.startswith(_OURS if field == "removeHeaders" else _OURS + _ENVOYS):  # T-27, T-28
        return f"`{name}` is set by the server itself or by Envoy and cannot be changed by a policy"
    if len(name) > MAX_NAME:
        return f"a header's name longer than {MAX_NAME} characters cannot be written"
    # What one rule sets is removed from what other rules allow (T-27), so that it must be possible to remove it.
    if field != "clientHeaders" and spelling in _KEPT:
        return f"`{name}` is needed by Envoy's CORS filter and cannot be {_DONE[field]}"
    if field == "upstreamHeaders" and spelling.count("-") > MAX_HYPHENS:
        return f"`{name}` has more than {MAX_HYPHENS} hyphens, too many spellings to remove"
    return ""
