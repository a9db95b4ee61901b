"""Where run-time orders are kept, and who may approve break glass."""

from typing import Annotated

from msgspec import Meta, Struct

from extauthz.bundle.approvals import ApproverSpec, compile_approvers
from extauthz.bundle.finding import dotted
from extauthz.bundle.trust import key_id, write_public_key
from extauthz.model.problems import Problem


class RevocationsOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What is revoked, frozen and opened at run time, through the control socket."""

    file: str = ""  # keeps the list across restarts; required with `admin.controlSocket`, one file a server
    max_entries: Annotated[int, Meta(ge=1, le=100_000)] = 10_000  # beyond it revoking and freezing is refused


class EmergenciesOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Who may approve break glass on this server."""

    approvers: tuple[ApproverSpec, ...] = ()  # when any is named, those that a bundle names do not count

    def __post_init__(self) -> None:
        """Refuse what could not be used; raises ValueError, which msgspec reports with the field's place."""
        problems: list[Problem] = []
        compile_approvers(self.approvers, problems, ("approvers",))
        if problems:
            message = f"{dotted(problems[0].location)}: {problems[0].message}"
            raise ValueError(message)

    @property
    def keys(self) -> dict[str, str]:
        """The keys by name, as `Snapshot.approvers` has them."""
        found = compile_approvers(self.approvers, [], ())
        return {name: write_public_key(key) for name, key in found.items()}

    @property
    def key_ids(self) -> frozenset[str]:
        """The ids of the keys."""
        return frozenset(map(key_id, compile_approvers(self.approvers, [], ()).values()))
