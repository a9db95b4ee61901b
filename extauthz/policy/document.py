"""What an AccessPolicy may say: the `spec` of the document, bound by msgspec.

Names and and/or semantics are those of Istio's AuthorizationPolicy: alternatives of `from` and of `to` are ORed, the
fields within one are ANDed, the values of a field are ORed, `notX` fields are negative, entries of `when` are ANDed,
an absent field restricts nothing.
"""

from typing import Literal

from msgspec import Struct, field

Effect = Literal["allow", "deny"]
Mode = Literal["enforce", "shadow"]
Texts = tuple[str, ...] | None


class MatchSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The routes that the policy speaks about; every rule is further limited to them."""

    hosts: Texts = None  # `api.example.com`, `*.example.com`, `{name}.example.com` or `*`
    paths: Texts = None  # path patterns: `*` and `{name}` one segment, `**` any number


class SourceSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Who calls. Texts may be exact, `prefix*`, `*suffix` or `*` (present), where nothing else is said."""

    principals: Texts = None  # SPIFFE identity of the direct peer, with or without `spiffe://`
    not_principals: Texts = None  # none of these
    request_principals: Texts = None  # `<iss>/<sub>` of the verified token; `*` is any token
    not_request_principals: Texts = None  # none of these
    namespaces: Texts = None  # Kubernetes namespace in the peer's SPIFFE identity
    not_namespaces: Texts = None  # none of these
    service_accounts: Texts = None  # `<namespace>/<service account>`, exact
    not_service_accounts: Texts = None  # none of these
    ip_blocks: Texts = None  # addresses or CIDR blocks of the direct peer
    not_ip_blocks: Texts = None  # none of these
    remote_ip_blocks: Texts = None  # addresses or CIDR blocks of the client, by trusted hops of X-Forwarded-For
    not_remote_ip_blocks: Texts = None  # none of these
    roles: Texts = None  # roles of the subject, any of them
    not_roles: Texts = None  # none of these
    scopes: Texts = None  # scopes of the token, any of them
    not_scopes: Texts = None  # none of these
    tenants: Texts = None  # tenant of the subject
    not_tenants: Texts = None  # none of these
    clients: Texts = None  # OAuth client id
    not_clients: Texts = None  # none of these
    actors: Texts = None  # who acts for the subject now (RFC 8693 `act`); `*` is anybody
    not_actors: Texts = None  # none of these; `*`: the subject itself calls
    issuers: Texts = None  # `metadata.name` of the Issuer that vouches
    not_issuers: Texts = None  # none of these


class OperationSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What is asked for."""

    hosts: Texts = None  # exact, `prefix*`, `*suffix` or `*`; compared in lower case, without port
    not_hosts: Texts = None  # none of these
    methods: Texts = None  # HTTP methods in upper case, or `*`
    not_methods: Texts = None  # none of these
    paths: Texts = None  # path patterns
    not_paths: Texts = None  # none of these
    ports: tuple[str | int, ...] | None = None  # port of the destination
    not_ports: tuple[str | int, ...] | None = None  # none of these


class WhenSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """One further attribute; `values` and `notValues` must both hold where both are given."""

    key: str  # `request.headers[x]`, `request.auth.claims[a][b]`, `source.ip`, `params[x]` and others
    values: Texts = None  # any of these
    not_values: Texts = None  # none of these


class ObligationsSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What an allow adds. Values are CEL expressions: text, integer, truth value or a list of texts."""

    upstream_headers: dict[str, str] = {}  # set on the request, overwriting what the client sent
    client_headers: dict[str, str] = {}  # set on the response
    remove_headers: tuple[str, ...] = ()  # removed from the request
    set_query: dict[str, str] = {}  # query parameters that are set
    remove_query: tuple[str, ...] = ()  # query parameters that are removed
    metadata: dict[str, str] = {}  # added to the dynamic metadata


class RuleSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """One rule: matches when `from`, `to`, `when` and `condition` do. An empty rule matches everything."""

    name: str = ""  # unique in the policy; `rule-<n>` when absent, counted from 0
    from_: tuple[SourceSpec, ...] | None = field(default=None, name="from")  # who calls, any of these
    to: tuple[OperationSpec, ...] | None = None  # what is asked for, any of these
    when: tuple[WhenSpec, ...] | None = None  # further attributes, all of these
    condition: str = ""  # CEL expression that must be true
    obligations: ObligationsSpec | None = None  # of allow rules


class AccessPolicySpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What is allowed or denied. A matching deny always wins; without a matching allow the answer is no."""

    effect: Effect  # deny wins over allow
    mode: Mode = "enforce"  # shadow: recorded, never enforced
    tenant: str = ""  # only ever speaks about resources of this tenant
    match: MatchSpec = MatchSpec()  # the routes it speaks about; all when absent
    rules: tuple[RuleSpec, ...]  # tried in order


class NamedPolicy(Struct, frozen=True):
    """An AccessPolicy with its `metadata.name`."""

    name: str
    spec: AccessPolicySpec


class Names(Struct, frozen=True):
    """The names that policies may refer to. An empty set of tenants or issuers, or None, is not checked."""

    roles: frozenset[str] | None = None
    tenants: frozenset[str] = frozenset()
    issuers: frozenset[str] = frozenset()


def rule_name(rule: RuleSpec, position: int) -> str:
    """The name under which a rule is recorded."""
    return rule.name or f"rule-{position}"
