"""What an import could not carry over, and what means something else than before."""

from typing import Final, Literal

from msgspec import Struct

from extauthz.bundle.finding import dotted
from extauthz.mesh.documents import Document
from extauthz.model.problems import Location

# lost: not carried over. narrower: refuses more than Istio does. note: the same, and good to know.
Kind = Literal["lost", "narrower", "note"]

# What holds for every import; docs/import-istio.md has the reasons.
ALWAYS: Final = (
    "a path, host or method that two parsers could read differently is refused before any policy",
    "a header that arrives more than once, or with a comma, matches no allow rule; in deny rules each value counts",
    "a claim that is a fraction or an object, where texts are compared, counts against the caller",
    "a token is read from `Authorization: Bearer` alone; one in the query is refused",
    "tokens need `exp` and `sub`, live for 24 hours at most, and are none of the kinds that are no access tokens",
    "`example.com.` is the host `example.com`, and `bearer` or `DPoP` with its proof is as good as `Bearer`",
)


class Change(Struct, frozen=True, kw_only=True):
    """One thing that is not as it was."""

    kind: Kind
    file: str
    line: int
    field: str  # e.g. `spec.rules[0].to[0].operation.paths[1]`
    document: str  # e.g. `AuthorizationPolicy banking/accounts`
    message: str  # lower case, no full stop, values in backticks
    instead: str = ""  # what to do
    denial: bool = False  # it would have refused requests: without it the bundle would allow more

    def __str__(self) -> str:
        """`file:line: field: message`."""
        return f"{self.file}:{self.line}: {self.field}: {self.message}"


class Report:
    """Collects changes."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def add(
        self,
        document: Document,
        location: Location,
        kind: Kind,
        message: str,
        instead: str = "",
        *,
        denial: bool = False,
    ) -> None:
        """Note a change at a place below `spec`; the same words at the same place count once."""
        change = Change(
            kind=kind,
            file=document.tree.file,
            line=document.tree.line(document.place(location)),
            field=dotted(("spec", *location)),
            document=document.title,
            message=message,
            instead=instead,
            denial=denial,
        )
        if change not in self.changes:
            self.changes.append(change)

    @property
    def refuses(self) -> bool:
        """Whether what is lost would have refused requests."""
        return any(change.denial for change in self.changes)

    @property
    def is_whole(self) -> bool:
        """Whether everything is carried over and means what it meant."""
        return all(change.kind == "note" for change in self.changes)
