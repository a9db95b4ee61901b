"""Revocation documents → one list of what they revoke (JWT-13)."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Protocol

from msgspec import Meta, Struct
from msgspec.structs import replace

from extauthz.guards import NEVER, Entry, Frozen, TenantRegistry, wrong_with
from extauthz.identity import Issuer
from extauthz.model.problems import Location, Problem, suggestion

Moment = Annotated[datetime, Meta(tz=True)]


class Names(Protocol):
    """The fields by which an entry names what it revokes, here and in orders to a running server."""

    @property
    def token_id(self) -> str: ...  # noqa: D102
    @property
    def session(self) -> str: ...  # noqa: D102
    @property
    def key_id(self) -> str: ...  # noqa: D102
    @property
    def subject(self) -> str: ...  # noqa: D102
    @property
    def client(self) -> str: ...  # noqa: D102
    @property
    def service(self) -> str: ...  # noqa: D102
    @property
    def tenant(self) -> str: ...  # noqa: D102


class RevocationEntrySpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """One thing that is revoked: exactly one of the first seven fields names it."""

    token_id: str = ""  # `jti` of one token
    session: str = ""  # `sid`: all tokens of one login
    key_id: str = ""  # `kid`: all tokens signed with that key
    subject: str = ""  # a person or machine, also where it acts for others; needs `issuer`
    client: str = ""  # an OAuth client, with all its users
    service: str = ""  # SPIFFE ID of a workload, whoever it acts for
    tenant: str = ""  # a tenant: its subjects everywhere, and everybody in it
    issuer: str = ""  # name of the Issuer document, or an `iss`; whoever issued the token when absent
    issued_before: Moment | None = None  # only tokens issued before (RFC 3339); later ones pass
    until: Moment | None = None  # when the entry ends (RFC 3339); never when absent
    note: str = ""  # for people: a ticket, not a name


class RevocationSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Tokens, callers and tenants that are refused from the moment the bundle is active; there may be several."""

    entries: tuple[RevocationEntrySpec, ...]


def issuer_names(issuers: Iterable[Issuer]) -> dict[str, str]:
    """Every way to write an issuer in an entry → its exact `iss`; "" for a document that stands for several."""
    names: dict[str, str] = {}
    for issuer in issuers:
        exact = {spelling.issuer for spelling in issuer.spellings.values()}
        names[issuer.name] = min(exact) if len(exact) == 1 else ""
        names.update({iss: spelling.issuer for iss, spelling in issuer.spellings.items()})
    return names


def wrong_issuer(written: str, names: Mapping[str, str]) -> str:
    """What is wrong with the issuer of an entry; "" when nothing is."""
    if written not in names:
        return f"unknown issuer `{written}`{suggestion(written, list(names))}"
    return "" if names[written] else f"`{written}` stands for several issuers: write the `iss` of one"


class Known(Struct, frozen=True):
    """The names that entries may refer to."""

    issuers: Mapping[str, str] | None  # as `issuer_names` makes them; None when they cannot be judged
    tenants: TenantRegistry


def compile_revocation(name: str, spec: RevocationSpec, known: Known, problems: list[Problem]) -> list[Entry]:
    """The entries of one document."""
    entries = []
    for index, written in enumerate(spec.entries):
        at: Location = ("spec", "entries", index)
        draft = Entry(
            selector="tokenId",
            value="",
            issuer=written.issuer,
            place=f"entry {index + 1} of Revocation `{name}`",
            issued_before=ceiling(written.issued_before),
            until=ceiling(written.until),
        )
        entry = read_entry(draft, named_things(written), known, problems, at)
        if entry is not None:
            entries.append(entry)
    return entries


def read_entry(
    draft: Entry, named: Sequence[tuple[Frozen, str]], known: Known, problems: list[Problem], at: Location
) -> Entry | None:
    """`draft` with what it names, its issuer exact; None when something is wrong. `named`: as `named_things`."""
    chosen = [(selector, value) for selector, value in named if value]
    if len(chosen) != 1:
        problems.append(Problem(at, f"an entry names exactly one of {', '.join(f'`{name}`' for name, _ in named)}"))
        return None
    selector, value = chosen[0]
    issuer = draft.issuer
    if issuer and known.issuers is not None:
        if wrong := wrong_issuer(issuer, known.issuers):
            problems.append(Problem((*at, "issuer"), wrong, code="unknown-name"))
            return None
        issuer = known.issuers[issuer]
    tenants = known.tenants
    if selector == "tenant" and len(tenants) and value not in tenants:
        message = f"unknown tenant `{value}`{suggestion(value, list(tenants))}"
        problems.append(Problem((*at, "tenant"), message, code="unknown-name"))
        return None
    entry = replace(draft, selector=selector, value=value, issuer=issuer)
    if fault := wrong_with(entry):
        problems.append(Problem((*at, fault[0]), fault[1]))
        return None
    return entry


def named_things(entry: Names) -> tuple[tuple[Frozen, str], ...]:
    """What an entry names, by selector; "" for all but one of them in a good entry."""
    return (
        ("tokenId", entry.token_id),
        ("session", entry.session),
        ("keyId", entry.key_id),
        ("subject", entry.subject),
        ("client", entry.client),
        ("service", entry.service),
        ("tenant", entry.tenant),
    )


def ceiling(moment: datetime | None) -> int:
    """Whole seconds since the epoch, `NEVER` for None: a fraction of a second more is denied rather than less."""
    return NEVER if moment is None else -int(-moment.timestamp() // 1)
