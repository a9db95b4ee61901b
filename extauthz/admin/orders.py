"""What may be asked of the control socket, and what is answered. Times are RFC 3339."""

from datetime import datetime
from typing import Annotated, Protocol

from msgspec import Meta, Struct

from extauthz.bundle.approvals import ApprovalSpec, GlassRequest
from extauthz.bundle.emergencies import FreezeSpec
from extauthz.guards import BreakGlassSpec

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


class Freeze(FreezeSpec, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The body of POST /freezes: what a freeze of `kind: Emergency` says, and until when."""

    until: Moment
    reason: str
    operator: str


class Draft(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The body of POST /break-glasses/drafts: what somebody wants to have approved."""

    break_glass: BreakGlassSpec
    begin: Moment | None = None  # now when absent
    end: Moment
    ticket: str
    justification: str
    drill: bool = False


class Drafted(Struct, frozen=True, kw_only=True, rename="camel"):
    """What approvers sign: checked against the bundle in force, its issuers written out. Nothing is open yet."""

    request: GlassRequest
    digest: str


class OpenGlass(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The body of POST /break-glasses."""

    request: GlassRequest
    approvals: tuple[ApprovalSpec, ...]
    operator: str


class Restore(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The body of DELETE /revocations/<id> and /emergencies/<id>."""

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
    account: str = ""  # the name of that uid, where it has one
    created: datetime
    warning: str = ""  # of a change: why it will not survive a restart


class RevokedPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """The newest entries, and how many there are."""

    total: int
    in_bundle: int  # in force by `kind: Revocation`
    entries: tuple[Revoked, ...]


class Emergency(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A freeze or a break glass, of the bundle or ordered at run time."""

    id: str
    kind: str  # freeze, freeze_everything, break_glass or drill
    source: str  # bundle or runtime
    state: str  # in force, not yet, ended, or not approved
    what: str
    begin: datetime
    end: datetime
    ticket: str  # of a freeze at run time its reason
    approvers: tuple[str, ...] = ()
    operator: str = ""  # this and the next three at run time
    uid: int | None = None
    account: str = ""
    created: datetime | None = None
    warning: str = ""  # of a change: why it will not survive a restart; else what is wrong with the clock


class EmergencyPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """The newest emergencies at run time, and all of the bundle."""

    total: int
    emergencies: tuple[Emergency, ...]
    warning: str = ""  # about the clock


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

    def freeze(self, order: Freeze, uid: int) -> Emergency:
        """Put a freeze in force."""
        ...

    def draft(self, order: Draft, uid: int) -> Drafted:
        """Check what is to be approved."""
        ...

    def open_glass(self, order: OpenGlass, uid: int) -> Emergency:
        """Open what was approved."""
        ...

    def end(self, emergency_id: str, order: Restore, uid: int) -> Emergency:
        """End a freeze or a break glass; returns what it was."""
        ...

    def emergencies(self, limit: int) -> EmergencyPage:
        """What is frozen and opened, and what will be."""
        ...
