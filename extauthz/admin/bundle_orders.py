"""What may be asked of the control socket about bundles, and what is answered. Times are RFC 3339."""

from datetime import datetime
from typing import Annotated, Protocol

from msgspec import Meta, Struct


class Rollback(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The body of POST /bundle/rollback: a revision, or how many back."""

    revision: str = ""  # id, name, or at least 8 hex digits of the digest
    steps: Annotated[int, Meta(ge=1, le=1000)] = 1
    dry_run: bool = False
    reason: str
    operator: str


class Pin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The body of POST /bundle/pin."""

    revision: str = ""  # as of a rollback; "": what is in force
    dry_run: bool = False
    reason: str
    operator: str


class Promote(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The body of POST /bundle/promote: the candidate."""

    force: bool = False  # also when the gate says no
    dry_run: bool = False
    reason: str
    operator: str


class Unpin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The body of POST /bundle/unpin."""

    reason: str
    operator: str


class Revision(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A revision that is kept."""

    id: str
    revision: str
    state: str  # live, pinned, rolled back to, promoted, waiting or kept
    name: str
    sequence: int
    digest: str
    signed_by: str = ""  # id of the key; "" when nobody's word was needed
    key: str = ""  # trusted, expired or not trusted; "" without one
    source: str
    activated: datetime | None = None  # when the source last put it in force; None: never


class Happened(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What happened to what is in force."""

    at: datetime
    what: str  # activated, rollback, pin, unpin or promote
    revision: str  # in force afterwards
    id: str
    before: str = ""  # the revision until then
    operator: str = ""  # this and the next three of an order
    uid: int | None = None
    account: str = ""
    reason: str = ""
    forced: bool = False


class RevisionPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """What is kept, the newest first, and what happened, the latest first."""

    held: str = ""  # rollback, pin or promotion, while the source is not followed
    waiting: str = ""  # the revision that the source holds meanwhile
    revisions: tuple[Revision, ...]
    history: tuple[Happened, ...]


class Changes(Struct, frozen=True, kw_only=True, rename="camel"):
    """What would change, by name."""

    added: tuple[str, ...] = ()  # policies
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()  # other documents, as kind/name
    files: tuple[str, ...] = ()  # data and keys


class BundleOrdered(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What became of an order."""

    order: str
    dry_run: bool = False
    before: Revision | None = None  # in force until then
    after: Revision | None = None  # in force now; of a dry run: what would be
    waiting: str = ""  # the revision that the source holds and that waits now
    basis: str = ""  # of a promotion: what was compared
    forced: bool = False
    overridden: tuple[str, ...] = ()  # what the gate says against a promotion
    changes: Changes | None = None  # of a dry run
    warning: str = ""  # what did not go as it should


class BundleOrders(Protocol):
    """Carries orders out; each is given the uid that the kernel knows. Each raises OrderError."""

    def rollback(self, order: Rollback, uid: int) -> BundleOrdered:
        """Go back to a kept revision."""
        ...

    def pin(self, order: Pin, uid: int) -> BundleOrdered:
        """Put a revision in force and keep it there."""
        ...

    def promote(self, order: Promote, uid: int) -> BundleOrdered:
        """Put the candidate in force."""
        ...

    def unpin(self, order: Unpin, uid: int) -> BundleOrdered:
        """Follow the source again."""
        ...

    def revisions(self, limit: int) -> RevisionPage:
        """What is kept, and what happened."""
        ...
