"""The kinds of documents that a bundle may hold. Every room owns its specs; here they are put together.

A document is `apiVersion`, `kind`, `metadata: {name}` and `spec`.
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from extauthz.bundle.approvals import ApproverSpec
from extauthz.bundle.emergencies import EmergencySpec
from extauthz.bundle.revocations import RevocationSpec
from extauthz.bundle.sender import SenderConstraintSpec
from extauthz.guards import FapiSpec, ProfileTenancySpec, StepUpSpec, TenancySpec
from extauthz.identity import AuthenticationSpec, IssuerSpec, MessageSignatureSpec, SignedBodySpec
from extauthz.policy import AccessPolicySpec

API_VERSION: Final = "extauthz.io/v1"
# Names are metric labels and stand in journal records.
MAX_NAME: Final = 63


class Metadata(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What a document is called."""

    name: str  # unique within its kind: lower-case letters, digits, `-` and `.`, at most 63


class Envelope(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What every document has in common; `spec` is bound by kind."""

    api_version: str  # `extauthz.io/v1`
    kind: str
    metadata: Metadata
    spec: dict[str, Any]


class BundleSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """About the bundle as a whole; at most one document."""

    # What people call this state of the files, e.g. a version or a commit; the first digits of the digest when absent.
    revision: Annotated[str, Meta(pattern=r"^[!-~]([ -~]{0,126}[!-~])?$")] = ""
    # Who may approve break glass; a server whose config names approvers believes those alone.
    approvers: tuple[ApproverSpec, ...] = ()


class ProfileMatchSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The routes of a profile; the most specific host wins, then the most specific path."""

    hosts: tuple[str, ...] = ("*",)  # `api.example.com`, `*.example.com`, `{tenant}.example.com` or `*`
    paths: tuple[str, ...] = ("/**",)  # path patterns: `*` and `{name}` one segment, `**` any number


class AuditSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What the journal means for these routes."""

    when_unavailable: Literal["deny", "proceed"] = "deny"  # proceed: answer without a record, and count the loss


class SecurityProfileSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What every request to these routes must satisfy before any policy is asked."""

    match: ProfileMatchSpec  # the routes
    authentication: AuthenticationSpec  # who may call
    fapi: FapiSpec | None = None  # header rules by ecosystem
    step_up: StepUpSpec | None = None  # how, and how recently, the user must have authenticated: a rule or a list
    sender_constraint: SenderConstraintSpec | None = None  # who may present a token: RFC 8705, RFC 9449
    message_signature: MessageSignatureSpec | None = None  # whether requests are signed: RFC 9421
    signed_body: SignedBodySpec | None = None  # whether bodies are, as payments in Brazil
    tenancy: ProfileTenancySpec | None = None  # where a request names the tenant it is about
    audit: AuditSpec = AuditSpec()  # what the journal means here


class CaseRequestSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The request of a case, as a client sends it and Envoy describes it."""

    method: str = "GET"  # in upper case
    host: str = ""  # as in the Host header; required unless `tcp`
    path: str = "/"  # with query, percent-encoded
    headers: dict[str, str | tuple[str, ...]] = {}  # a list stands for several lines of that name
    principal: str = ""  # SPIFFE identity of the direct peer
    destination_principal: str = ""  # SPIFFE identity of the workload that is asked
    # Thumbprint (`x5t#S256`: 43 characters of base64url) of the certificate that the direct peer showed.
    client_certificate: str = ""
    forwarded_certificate: str = ""  # the same of the client in front of the direct peer, a gateway
    source_address: str = "192.0.2.1"  # of the direct peer
    client_address: str = ""  # behind trusted proxies; the source address when absent
    destination_port: Annotated[int, Meta(ge=0, le=65535)] = 0  # 0 when it is not known
    sni: str = ""  # server name of the TLS handshake
    body: str = ""  # as Envoy sends it, in whole
    tcp: bool = False  # a connection without HTTP: only addresses, port, principals and sni count


class CaseTokenSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A verified access token. `iss`, `aud`, `sub`, `iat`, `exp` and what the issuer requires are filled in."""

    issuer: str  # name of the Issuer document
    claims: dict[str, Any] = {}  # the payload; null removes a claim that would be filled in


class CaseProofSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A DPoP proof, really signed. The token is sent as `DPoP` and bound to its key unless `claims.cnf` is given."""

    claims: dict[str, Any] = {}  # of the proof, instead of those that fit the request; null leaves one out
    key: Literal["bound", "other"] = "bound"  # other: somebody else's, as if the token were stolen
    used: bool = False  # true: the proof was used before


class CaseSignatureSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A message signature (RFC 9421), really signed; in cases every client has registered the key used here."""

    covered: tuple[str, ...] = ()  # components; those that the profile asks for when empty
    parameters: dict[str, int | str | None] = {}  # instead of those that fit the request; null leaves one out
    key: Literal["registered", "other"] = "registered"  # other: somebody else's, as if the request were forged


class CaseSignedBodySpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A body that is one signed document, really signed; in cases every client has registered the key used here."""

    claims: dict[str, Any] = {}  # over those that fit the request and the client; null leaves one out
    key: Literal["registered", "other"] = "registered"  # other: somebody else's, as if the body were forged
    used: bool = False  # true: its `jti` was used before


class GivenSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Under which circumstances a case is decided."""

    emergency: str = ""  # name of an Emergency: the case is decided in its first second, instead of at `now`


class ExpectSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What must come out; what is absent is not compared."""

    outcome: Literal["allow", "deny", "undecided"]  # undecided: it cannot be told, as without keys
    reason: str | None = None  # code from the table of reasons
    policy: str | None = None  # name of the AccessPolicy that decided
    rule: str | None = None  # name of its rule
    tenant: str | None = None  # tenant of the resource
    emergency: str | None = None  # name of the freeze or break glass that decided, or of the drill that would have
    upstream_headers: dict[str, str] = {}  # set by obligations, among others
    removed_headers: tuple[str, ...] = ()  # removed by obligations, among others
    client_headers: dict[str, str] = {}  # set by obligations on the response, among others
    set_query: dict[str, str] = {}  # query parameters set by obligations, among others
    removed_query: tuple[str, ...] = ()  # query parameters removed by obligations, among others
    metadata: dict[str, str] = {}  # dynamic metadata added by obligations, among others
    shadow: tuple[str, ...] | None = None  # `policy/rule` of all rules in shadow mode that match, in any order
    condition_errors: tuple[str, ...] | None = None  # `policy/rule` of all rules that could not be computed


class CaseSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """One request and its decision."""

    name: str  # says what is claimed
    request: CaseRequestSpec
    given: GivenSpec = GivenSpec()
    token: CaseTokenSpec | None = None  # absent: no verified token, `headers` may still hold a raw one
    dpop: CaseProofSpec | None = None  # absent: a token is sent as `Bearer`, without a proof
    signature: CaseSignatureSpec | None = None  # absent: the request is not signed
    signed_body: CaseSignedBodySpec | None = None  # absent: the body is `request.body`
    # What the profile's issuer says when it is asked about the token: `active: true` and what tokens have is filled in,
    # null removes it. Without `token` an opaque one is sent. Absent: the issuer does not answer.
    introspection: dict[str, Any] | None = None
    expect: ExpectSpec


class PolicyTestSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Cases that the bundle must pass before it may be activated."""

    # RFC 3339 with offset, or whole seconds since the epoch; 2026-01-01T00:00:00Z when absent.
    now: Annotated[int, Meta(ge=0, le=253402300799)] | Annotated[datetime, Meta(tz=True)] | None = None
    cases: Annotated[tuple[CaseSpec, ...], Meta(min_length=1)]


KINDS: Final[dict[str, type[Struct]]] = {
    "Bundle": BundleSpec,
    "Issuer": IssuerSpec,
    "SecurityProfile": SecurityProfileSpec,
    "Tenancy": TenancySpec,
    "AccessPolicy": AccessPolicySpec,
    "Revocation": RevocationSpec,
    "Emergency": EmergencySpec,
    "PolicyTest": PolicyTestSpec,
}
SINGLE_KINDS: Final = frozenset({"Bundle", "Tenancy"})  # at most one document
