"""How answers look: names of the headers we own, and what happens when we cannot decide."""

import re
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from extauthz.wire.names import may_remove, may_set, twins

INTERACTION_HEADER = "x-fapi-interaction-id"
_REALM = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]{0,128}")  # quoted-string without anything to escape
MAX_HYPHENS = 5  # 2**5 spellings with underscores are the most we remove for one header

# Headers by which some upstream frameworks let a client replace what we have decided on: the method (T-22) or the
# path (T-29). Envoy and gateways do not depend on any of them behind this filter: Envoy writes x-envoy-original-path
# anew when it rewrites. X-Forwarded-Host, -Proto and -Prefix are not here, for gateways in front set them rightly.
OVERRIDE_HEADERS = (
    "x-envoy-original-path",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
)
# Set by Envoy's own filter for its readers; from a client they are lies (T-30).
ENVOY_MARKS = ("x-envoy-auth-failure-mode-allowed", "x-envoy-auth-partial-body")


class OutboundOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", cache_hash=True):
    """Header names are lower case. Every request that passes loses what it brought under these names."""

    subject_header: str = "x-auth-subject"  # who calls, within the issuer
    issuer_header: str = "x-auth-issuer"  # who vouches for the caller
    tenant_header: str = "x-auth-tenant"  # whose resource it is
    client_header: str = "x-auth-client"  # the OAuth client
    roles_header: str = "x-auth-roles"  # joined with `,`
    scopes_header: str = "x-auth-scopes"  # joined with a space
    actor_header: str = "x-auth-actor"  # who acts for the subject now
    decision_header: str = "x-authz-decision-id"  # to the upstream and to the client
    emergency_header: str = ""  # e.g. x-authz-emergency: the id of the break glass that let the request pass
    removed_headers: tuple[str, ...] = OVERRIDE_HEADERS  # removed from every request that passes
    undecided: Literal["denied", "error"] = "denied"  # error: Envoy's failure_mode_allow decides
    realm: str = ""  # of the challenge; left out when empty

    def __post_init__(self) -> None:
        """Refuse names that cannot be headers; raises ValueError, which msgspec reports with the field's place."""
        for name in self.trusted_headers:
            if not may_set(name) or name.count("-") > MAX_HYPHENS:
                message = f"`{name}` cannot be the name of a trusted header"
                raise ValueError(message)
        if len(set(self.trusted_headers)) != len(self.trusted_headers):
            message = "two trusted headers have the same name"
            raise ValueError(message)
        for name in self.removed_headers:
            if not may_remove(name) or name in self.trusted_headers:
                message = f"`{name}` cannot be removed"
                raise ValueError(message)
        if not _REALM.fullmatch(self.realm):
            message = "the realm may hold visible ASCII without quotes and backslashes, at most 128 characters"
            raise ValueError(message)

    @property
    def trusted_headers(self) -> tuple[str, ...]:
        """Every request header that only we may write."""
        return (
            self.subject_header,
            self.issuer_header,
            self.tenant_header,
            self.client_header,
            self.roles_header,
            self.scopes_header,
            self.actor_header,
            self.decision_header,
            INTERACTION_HEADER,
            *([self.emergency_header] if self.emergency_header else []),
        )

    @property
    def always_removed(self) -> tuple[str, ...]:
        """What is removed from every request that passes: marks, overrides and the twins of trusted headers."""
        spelled = (twin for name in self.trusted_headers for twin in twins(name))
        return tuple(dict.fromkeys((*ENVOY_MARKS, *self.removed_headers, *spelled)))


@lru_cache(maxsize=8)
def reserved_names(options: OutboundOptions) -> frozenset[str]:
    """Names that no obligation may set: ours, their twins, and what is removed anyway."""
    return frozenset((*options.trusted_headers, *options.always_removed))
