"""Services that call in their own name: the SPIFFE identity of the peer, proven by mutual TLS before Envoy asks us.

Rule 1: the identity is the peer's own (`source.principal`); a forwarded one counts only behind proxies that are named.
Rule 2: an empty principal is an anonymous peer (SI-01); any other text is exactly one SPIFFE ID of a listed trust
domain, or it is refused (SI-02). Nothing is folded, trimmed or completed.
"""

import re
from typing import Final

from msgspec import Struct

from extauthz.identity.document import ServiceSpec, ServiceTenantSpec
from extauthz.model.decision import Deny
from extauthz.model.paths import PathPattern, parse_pattern
from extauthz.model.problems import Location, Problem
from extauthz.model.reasons import Reason
from extauthz.model.request import Request
from extauthz.model.subject import SERVICE, Subject

SCHEME: Final = "spiffe://"
_CAPTURE: Final = "tenant"
# SPIFFE-ID sections 2.1 to 2.4: lower-case trust domain of at most 255 bytes, segments that are neither empty nor
# dots alone, 2048 bytes in all. The domain without a path names no workload.
_MAX_ID: Final = 2048
_MAX_DOMAIN: Final = 255
_DOMAIN: Final = re.compile(r"[a-z0-9._\-]{1,255}")
_ID: Final = re.compile(rf"spiffe://([a-z0-9._\-]{{1,{_MAX_DOMAIN}}})((?:/(?!\.{{1,2}}(?:/|\Z))[A-Za-z0-9._\-]+)+)")


class ServiceTenant(Struct, frozen=True):
    """A compiled mapping from identities to their tenant."""

    domain: str
    path: PathPattern
    tenant: str  # "" when the path captures it


class ServiceIdentity(Struct, frozen=True):
    """What a profile demands of the service that calls."""

    instead: bool  # of a user's token; otherwise beside it
    trust_domains: frozenset[str]
    forwarded_by: frozenset[str]
    tenants: tuple[ServiceTenant, ...]

    def find(self, request: Request) -> Subject | Deny:
        """The service as a subject of its own."""
        principal = request.source.principal
        if principal and principal in self.forwarded_by:
            forwarded = request.forwarded
            if forwarded is None or forwarded.hop == 1 or not forwarded.uri:  # hop 1 is the proxy's own certificate
                return Deny(Reason.SERVICE_IDENTITY_MISSING, "SI-03", "the proxy forwarded no identity")
            if forwarded.uri in self.forwarded_by:
                return Deny(Reason.SERVICE_IDENTITY_REFUSED, "SI-03", "the forwarded identity is a proxy's own")
            principal = forwarded.uri
        if not principal:
            return Deny(Reason.SERVICE_IDENTITY_MISSING, "SI-01", "the peer is anonymous")
        found = _ID.fullmatch(principal) if len(principal) <= _MAX_ID else None
        if found is None:
            return Deny(Reason.SERVICE_IDENTITY_REFUSED, "SI-02", "not a SPIFFE ID of a workload")
        domain, path = found[1], found[2]
        if domain not in self.trust_domains:
            return Deny(Reason.SERVICE_IDENTITY_REFUSED, "SI-02", "a trust domain that is not listed")
        return Subject(
            issuer=SCHEME + domain, id=principal, issuer_name=SERVICE, tenant=self._tenant(domain, path), claims=b"{}"
        )

    def _tenant(self, domain: str, path: str) -> str:
        """The tenant by the first mapping that covers the identity, "" when none does."""
        segments = tuple(path[1:].split("/"))
        for mapping in self.tenants:
            if mapping.domain == domain and (captured := mapping.path.match(segments)) is not None:
                return mapping.tenant or captured[_CAPTURE]
        return ""


def compile_service(spec: ServiceSpec, problems: list[Problem], location: Location) -> ServiceIdentity | None:
    """Check and compile `authentication.service`; None when it is off or has an error."""
    if spec.mode == "off":
        if spec != ServiceSpec():
            problems.append(Problem((*location, "mode"), "mode `off` looks at no identity: remove the other fields"))
        return None
    before = len(problems)
    if not spec.trust_domains:
        message = "name the trust domains whose services may call, such as `cluster.local`"
        problems.append(Problem((*location, "trustDomains"), message))
    for index, domain in enumerate(spec.trust_domains):
        if not _DOMAIN.fullmatch(domain):
            message = f"`{domain}` is not a trust domain: lower-case letters, digits, `.`, `-` and `_`, without scheme"
            problems.append(Problem((*location, "trustDomains", index), message))
    for index, proxy in enumerate(spec.forwarded_by):
        if not _ID.fullmatch(proxy):
            message = f"`{proxy}` is not a whole SPIFFE ID such as `spiffe://cluster.local/ns/edge/sa/gateway`"
            problems.append(Problem((*location, "forwardedBy", index), message))
    tenants = [
        mapping
        for index, written in enumerate(spec.tenants)
        if (mapping := _compile_tenant(written, spec.trust_domains, problems, (*location, "tenants", index)))
    ]
    if len(problems) > before:
        return None
    instead = spec.mode == "instead"
    return ServiceIdentity(instead, frozenset(spec.trust_domains), frozenset(spec.forwarded_by), tuple(tenants))


def _compile_tenant(
    spec: ServiceTenantSpec, domains: tuple[str, ...], problems: list[Problem], location: Location
) -> ServiceTenant | None:
    at = (*location, "principal")
    domain, slash, path = spec.principal.removeprefix(SCHEME).partition("/")
    if not spec.principal.startswith(SCHEME) or not slash:
        message = f"`{spec.principal}` must be `spiffe://<trust domain>/<path pattern>`"
        problems.append(Problem(at, message))
        return None
    if domain not in domains:
        problems.append(Problem(at, f"`{domain}` is not among `trustDomains`, so this never applies"))
        return None
    pattern = parse_pattern("/" + path)
    if isinstance(pattern, str):
        problems.append(Problem(at, pattern))
        return None
    captures = [name for name in pattern.names if name]
    if captures not in ([], [_CAPTURE]):
        problems.append(Problem(at, f"only `{{{_CAPTURE}}}` can be captured here: write `*` for any other segment"))
    elif bool(captures) == bool(spec.tenant):
        message = f"the tenant is either named by `tenant` or captured by `{{{_CAPTURE}}}` in `principal`"
        problems.append(Problem((*location, "tenant"), message))
    return ServiceTenant(domain, pattern, spec.tenant)
