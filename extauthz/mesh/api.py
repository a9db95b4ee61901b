"""The fields of Istio's AuthorizationPolicy and RequestAuthentication (`security.istio.io`), as they are written."""

from typing import Literal

from msgspec import Struct, field

Texts = list[str] | None


class Source(Struct, frozen=True, rename="camel"):
    """`from[].source`."""

    principals: Texts = None
    not_principals: Texts = None
    request_principals: Texts = None
    not_request_principals: Texts = None
    namespaces: Texts = None
    not_namespaces: Texts = None
    service_accounts: Texts = None
    not_service_accounts: Texts = None
    ip_blocks: Texts = None
    not_ip_blocks: Texts = None
    remote_ip_blocks: Texts = None
    not_remote_ip_blocks: Texts = None


class Operation(Struct, frozen=True, rename="camel"):
    """`to[].operation`."""

    hosts: Texts = None
    not_hosts: Texts = None
    ports: Texts = None
    not_ports: Texts = None
    methods: Texts = None
    not_methods: Texts = None
    paths: Texts = None
    not_paths: Texts = None


class From(Struct, frozen=True):
    """One alternative of `from`."""

    source: Source


class To(Struct, frozen=True):
    """One alternative of `to`."""

    operation: Operation


class Condition(Struct, frozen=True, rename="camel"):
    """One entry of `when`."""

    key: str
    values: Texts = None
    not_values: Texts = None


class Rule(Struct, frozen=True):
    """One rule of an AuthorizationPolicy."""

    from_: list[From] | None = field(default=None, name="from")
    to: list[To] | None = None
    when: list[Condition] | None = None


class Selector(Struct, frozen=True, rename="camel"):
    """Labels that a workload must have."""

    match_labels: dict[str, str] | None = None


class TargetRef(Struct, frozen=True):
    """What a document is attached to."""

    kind: str
    name: str
    group: str | None = None
    namespace: str | None = None


class Provider(Struct, frozen=True):
    """The external authorizer of a CUSTOM policy."""

    name: str


class AuthorizationPolicy(Struct, frozen=True, rename="camel"):
    """The `spec` of an AuthorizationPolicy."""

    selector: Selector | None = None
    target_ref: TargetRef | None = None
    target_refs: list[TargetRef] | None = None
    rules: list[Rule] | None = None
    action: Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"] | None = None
    provider: Provider | None = None


class FromHeader(Struct, frozen=True):
    """A header that holds the token."""

    name: str
    prefix: str = ""


class ClaimToHeader(Struct, frozen=True):
    """A claim that upstreams get as a header."""

    header: str
    claim: str


class JwtRule(Struct, frozen=True, rename="camel"):
    """One entry of `jwtRules`."""

    issuer: str = ""
    audiences: Texts = None
    jwks_uri: str | None = None
    jwks_uri_old: str | None = field(default=None, name="jwks_uri")
    jwks: str | None = None
    from_headers: list[FromHeader] | None = None
    from_params: Texts = None
    from_cookies: Texts = None
    output_payload_to_header: str | None = None
    output_claim_to_headers: list[ClaimToHeader] | None = None
    forward_original_token: bool | None = None
    space_delimited_claims: Texts = None
    timeout: str | None = None


class RequestAuthentication(Struct, frozen=True, rename="camel"):
    """The `spec` of a RequestAuthentication."""

    selector: Selector | None = None
    target_ref: TargetRef | None = None
    target_refs: list[TargetRef] | None = None
    jwt_rules: list[JwtRule] | None = None
