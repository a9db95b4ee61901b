"""Who calls, as the headers that upstreams trust."""

from functools import lru_cache

from msgspec import Struct

from extauthz.model.decision import Evidence
from extauthz.wire import encode
from extauthz.wire.names import escape
from extauthz.wire.options import OutboundOptions

_SET, _REMOVE = b"\x12", b"\x2a"  # OkHttpResponse: headers is field 2, headers_to_remove 5


class IdentityHeaders(Struct, frozen=True, gc=False):
    """Fields of OkHttpResponse, and the bytes of their values."""

    written: bytes
    removed: bytes
    size: int


def identity_headers(evidence: Evidence, options: OutboundOptions) -> IdentityHeaders:
    """Every identity header, overwritten or, when it has no value, removed.

    Values are visible ASCII: `%`, whatever else is no such character, and a list's separator are percent-encoded.
    """
    who = evidence.subject
    actor = who.actors[0] if who.actors else ""
    return _encode(options, (who.id, who.issuer, evidence.tenant, who.client, actor), who.roles, who.scopes)


@lru_cache(maxsize=1024)  # a caller comes back; an entry is at most a token's length times what escaping adds
def _encode(
    options: OutboundOptions,
    names: tuple[str, str, str, str, str],  # subject, issuer, tenant, client, actor
    roles: tuple[str, ...],
    scopes: tuple[str, ...],
) -> IdentityHeaders:
    subject, issuer, tenant, client, actor = names
    headers = (
        (options.subject_header, escape(subject)),
        (options.issuer_header, escape(issuer)),
        (options.tenant_header, escape(tenant)),
        (options.client_header, escape(client)),
        (options.roles_header, ",".join([escape(role, ",") for role in roles])),
        (options.scopes_header, " ".join([escape(scope, " ") for scope in scopes])),
        (options.actor_header, escape(actor)),
    )
    return IdentityHeaders(
        b"".join([encode.overwriting_header(_SET, name, value) for name, value in headers if value]),
        b"".join([encode.text(_REMOVE, name) for name, value in headers if not value]),
        sum(len(value) for _, value in headers),
    )
