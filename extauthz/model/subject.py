"""Who calls, after verification."""

import re
from typing import Final

from msgspec import Struct

SERVICE: Final = "service"  # `issuer_name` of services that call in their own name; no Issuer document is called so


class Likeness(Struct, frozen=True, gc=False, cache_hash=True):
    """What callers share whose requests are judged and answered alike (see `Precedent`), whoever each of them is.

    It has all of a Subject that policies tell apart by name, and all that answers and records say of a caller but its
    id and its token's.
    """

    issuer: str
    issuer_name: str
    client: str
    tenant: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...]
    actors: tuple[str, ...]
    key_id: str
    id_length: int  # characters of an id that headers carry as it is


class Subject(Struct, frozen=True, gc=False):
    """A verified caller. `id` is unique only within `issuer` (RFC 9068 section 5).

    All members are strings, numbers or tuples of strings, so that a cached Subject is never tracked by the
    garbage collector; `claims` is the token's payload as the JSON bytes that were signed.
    """

    issuer: str  # the `iss` value, exact
    id: str  # the subject identifier, by default `sub`
    issuer_name: str = ""  # metadata.name of the Issuer document: bounded, fit for a metric label
    client: str = ""  # OAuth client id
    tenant: str = ""  # "" when the issuer states no tenant
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    acr: str = ""
    acrs: tuple[str, ...] = ()  # authentication contexts, where the issuer lists them (Entra ID)
    auth_time: int = 0  # seconds since the epoch, 0 when unknown
    issued_at: int = 0  # seconds since the epoch
    not_before: int = 0  # seconds since the epoch
    expires_at: int = 0  # seconds since the epoch; leeway not included
    token_id: str = ""  # `jti` or what the issuer uses instead; "" when the token has none
    key_id: str = ""  # `kid` of the key that verified the token
    confirmation: tuple[str, ...] = ()  # names of the `cnf` members (RFC 7800); not empty: sender-constrained
    jkt: str = ""  # `cnf.jkt`: thumbprint of the DPoP key (RFC 9449 section 6.1), canonical base64url
    x5t: str = ""  # `cnf["x5t#S256"]`: thumbprint of the certificate (RFC 8705 section 3.1), canonical base64url
    session: str = ""  # `sid`, for revocation
    actors: tuple[str, ...] = ()  # subjects of the `act` chain, the current actor first (RFC 8693 section 4.1)
    claims: bytes = b"{}"
    likeness: Likeness | None = None  # worked out for those who are remembered, see `likeness_of`

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody was identified: neither by a token nor by a service's own identity."""
        return not self.issuer

    @property
    def has_token(self) -> bool:
        """Whether an access token vouches for the caller; a service in its own name has none."""
        return bool(self.issuer) and self.issuer_name != SERVICE


ANONYMOUS = Subject(issuer="", id="")

_PLAIN: Final = re.compile(r"[!-$&-~]+")  # no blank and no `%`: a header carries it as it is


def likeness_of(subject: Subject) -> Likeness | None:
    """What `subject` shares with others; None for one without a token, or with an id that headers must escape."""
    if not subject.has_token or not _PLAIN.fullmatch(subject.id):
        return None
    return Likeness(
        issuer=subject.issuer,
        issuer_name=subject.issuer_name,
        client=subject.client,
        tenant=subject.tenant,
        roles=subject.roles,
        scopes=subject.scopes,
        actors=subject.actors,
        key_id=subject.key_id,
        id_length=len(subject.id),
    )
