"""One decision as the journal tells it."""

from collections.abc import Callable, Mapping

from msgspec import Struct

from extauthz.model.kept import Kept

Naming = Callable[[str], str]  # the pseudonym (hex) of a text, in records of one tenant and month


class Decided(Struct, frozen=True, gc=False):
    """A decision as it is on record. `kept` is None when nothing was kept for replay."""

    decision_id: str
    time: str  # RFC 3339
    now: int  # the same, whole seconds since the epoch
    outcome: str
    reason: str
    check: str
    profile: str
    policy: str
    rule: str
    route: str
    method: str
    host: str
    tenant: str
    issuer: str
    client: str
    roles: tuple[str, ...]
    token_id: str
    key_id: str
    principal: str
    revision: str
    digest: str
    emergency: str
    kept: Kept | None


class Known:
    """The texts of the bundle that asks, by pseudonym; None where nobody has the key."""

    def __init__(self, naming: Naming, table: Mapping[str, str]) -> None:
        self.naming, self.table = naming, table
