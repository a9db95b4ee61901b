"""What may be asked of the control socket, and what is answered. Times are RFC 3339."""

from datetime import datetime
from typing import Annotated, Protocol

from msgspec import Meta, Struct

Moment = Annotated[datetime, Meta(tz=True)]


class Revoke(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The body of POST /revocations: exactly one of the first seven fields, as in `kind: Revocation`."""

    token_id: str = ""
    session: str = ""
    key_id: str = ""
    subject: str = ""
    client: str = ""
    service: str = ""
    tenant: str = ""
    issuer: str = ""  # name of the Issuer document, or an `iss`
    issued_before: Moment | None = None
    until: Moment | None = None
    reason: str
    operator: str


class Restore(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The body of DELETE /revocations/<id>."""

    reason: str
    operator: str


class Revoked(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One entry of the run-time list."""

    id: str
    selector: str
    value: str
    issuer: str = ""
    issued_before: datetime | None = None
    until: datetime | None = None
    reason: str
    operator: str
    uid: int  # whom the kernel saw at the other end of the socket
    created: datetime
    warning: str = ""  # of a change: why it will not survive a restart


class RevokedPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """The newest entries, and how many there are."""

    total: int
    in_bundle: int  # in force by `kind: Revocation`
    entries: tuple[Revoked, ...]


class OrderError(Exception):
    """An order that was not carried out: what is wrong, and the HTTP status that says whose fault it is."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class Orders(Protocol):
    """Who carries orders out. Called on threads of the control socket; every method may raise OrderError."""

    def revoke(self, order: Revoke, uid: int) -> Revoked:
        """Put an entry in force."""
        ...

    def restore(self, entry_id: str, order: Restore, uid: int) -> Revoked:
        """End an entry; returns what it was."""
        ...

    def revoked(self, limit: int) -> RevokedPage:
        """The newest entries in force."""
        ...
