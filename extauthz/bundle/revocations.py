"""Revocation documents → one list of what they revoke (JWT-13)."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Final, Protocol

from msgspec import Meta, Struct

from extauthz.guards import NEVER, SELECTORS, Entry, Selector, TenantRegistry, wrong_with
from extauthz.identity import Issuer
from extauthz.model.problems import Location, Problem, suggestion

_ONE_OF: Final = ", ".join(f"`{name}`" for name in SELECTORS)

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


def compile_revocation(
    name: str,
    spec: RevocationSpec,
    issuers: Mapping[str, str] | None,
    tenants: TenantRegistry,
    problems: list[Problem],
) -> list[Entry]:
    """The entries of one document. `issuers` as `issuer_names` makes them; None when they cannot be judged."""
    entries = []
    for index, written in enumerate(spec.entries):
        at: Location = ("spec", "entries", index)
        named = [(selector, value) for selector, value in named_things(written) if value]
        if len(named) != 1:
            problems.append(Problem(at, f"an entry names exactly one of {_ONE_OF}"))
            continue
        selector, value = named[0]
        issuer = written.issuer
        if issuer and issuers is not None:
            if wrong := wrong_issuer(issuer, issuers):
                problems.append(Problem((*at, "issuer"), wrong, code="unknown-name"))
                continue
            issuer = issuers[issuer]
        if selector == "tenant" and len(tenants) and value not in tenants:
            message = f"unknown tenant `{value}`{suggestion(value, list(tenants))}"
            problems.append(Problem((*at, "tenant"), message, code="unknown-name"))
            continue
        entry = Entry(
            selector=selector,
            value=value,
            issuer=issuer,
            place=f"entry {index + 1} of Revocation `{name}`",
            issued_before=ceiling(written.issued_before),
            until=ceiling(written.until),
        )
        if fault := wrong_with(entry):
            problems.append(Problem((*at, fault[0]), fault[1]))
        else:
            entries.append(entry)
    return entries


def named_things(entry: Names) -> tuple[tuple[Selector, str], ...]:
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
