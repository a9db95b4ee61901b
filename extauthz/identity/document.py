"""The documents of this room: kind Issuer, and the `authentication` of a SecurityProfile.

Rule 1: a field left out means what the preset says; an empty text or list means none.
"""

from typing import Literal

from msgspec import Struct

from extauthz.identity.claim_paths import PathSpec, PathsSpec
from extauthz.identity.introspection import IntrospectionSpec


class JwksSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Where the issuer's keys are: exactly one of these. Discovery (`<issuer>/.well-known/…`) when left out."""

    uri: str = ""  # https, or http on loopback
    file: str = ""  # relative to the bundle
    metadata: str = ""  # discovery at an address of its own; the issuer it names is compared all the same


class KindSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What only access tokens of this issuer carry (JWT-16). With neither `anyOf` nor `prefix`, being there counts."""

    claim: PathsSpec  # where to look
    any_of: list[str] | None = None  # values of which one must be there
    prefix: str | None = None  # what the value must begin with


class ClaimsSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Where facts about the caller are found in the claims.

    `tenant`, `scopes`, `acr`, `acrs`, `authTime`: one path. `roles`: paths whose lists are joined. `subject`, `client`,
    `tokenId`, `session`: paths of which the first one present counts.
    """

    subject: PathsSpec | None = None  # who calls
    client: PathsSpec | None = None  # the OAuth client
    tenant: PathSpec | None = None  # the tenant of the caller
    tenant_optional: bool | None = None  # true: a token without the claim is a caller without tenant, not refused
    roles: PathsSpec | None = None  # lists of roles, joined
    scopes: PathSpec | None = None  # a list, or a text with blanks
    acr: PathSpec | None = None  # how the caller authenticated
    acrs: PathSpec | None = None  # a list of authentication contexts, as Entra ID has it
    auth_time: PathSpec | None = None  # when the caller authenticated
    token_id: PathsSpec | None = None  # what revocation calls the token
    session: PathsSpec | None = None  # what a logout ends, for revocation


class IssuerSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The `spec` of kind Issuer: who may vouch for a subject, and how its access tokens look.

    One document per resource server identity: where routes have different audiences, write an Issuer for each and
    name it in the profile of those routes (JWT-08).
    """

    issuer: str  # the exact `iss`, or with `{tenantid}` one for each of `issuerTenants`
    issuer_aliases: list[str] = []  # other spellings of `iss`; callers are the same under each
    issuer_tenants: list[str] = []  # accepted in place of `{tenantid}`; a token must name the same tenant
    audiences: list[str] = []  # any one of them must be named by the token
    # keycloak, auth0, okta, entra, cognito, firebase or rfc9068; whatever is written here overrides it
    preset: str = "rfc9068"
    jwks: JwksSpec | None = None  # where the keys are; discovered when absent
    algorithms: list[str] | None = None  # accepted signature algorithms
    min_rsa_bits: int = 2048  # shorter keys are left out; 2048 at least
    types: list[str] | None = None  # accepted header `typ`; `absent` for tokens without one
    kind: KindSpec | None = None  # what tells access tokens from other tokens
    audience_claim: PathSpec | None = None  # where the audience stands; `aud` when absent
    claims: ClaimsSpec = ClaimsSpec()  # where facts about the caller stand
    require_claims: PathsSpec | None = None  # claims without which a token is refused
    leeway: int | str = 10  # how far clocks may be apart; at most 60 s
    max_lifetime: int | str = "24h"  # from `iat` to `exp`; not for tokens that are introspected
    introspection: IntrospectionSpec | None = None  # opaque tokens: whom to ask about them


class ServiceTenantSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Services that act for one tenant. The first entry that covers an identity counts."""

    principal: str  # `spiffe://<trust domain>/<path pattern>`, e.g. `spiffe://cluster.local/ns/{tenant}/**`
    tenant: str = ""  # unless the pattern captures `{tenant}`


class ServiceSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The SPIFFE identity of the service that calls, by mutual TLS with our Envoy."""

    # required: beside the user's token. instead: a request without a token comes from the service itself.
    mode: Literal["off", "required", "instead"] = "off"
    trust_domains: tuple[str, ...] = ()  # exact, e.g. `cluster.local`
    # SPIFFE IDs of proxies that forward their client's identity (x-forwarded-client-cert, by `inbound.xfccTrustedHops`)
    forwarded_by: tuple[str, ...] = ()
    tenants: tuple[ServiceTenantSpec, ...] = ()  # of services without a user; a service in no entry has no tenant


class AuthenticationSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """`authentication` of a SecurityProfile.

    `optional` accepts a request without any credential; a bad credential is refused all the same.
    `formBody: ignore` tolerates forms with a field `access_token`, which is never read as a credential (EX-03).
    """

    # optional: nobody has to sign in, a bad credential is refused; none: nothing is looked at
    mode: Literal["required", "optional", "none"] = "required"
    issuers: list[str] = []  # names of Issuer documents
    # ignore: forms may have a field `access_token`, which is never a credential (EX-03)
    form_body: Literal["refuse", "ignore"] = "refuse"
    service: ServiceSpec = ServiceSpec()  # services that call in their own name, or beside a user
