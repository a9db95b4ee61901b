"""`kind: Emergency`: what is frozen or opened for a while, from documents and from orders to a running server.

Rule: every emergency ends by itself; what has no end is refused before it begins.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import replace

from extauthz.bundle.approvals import ApprovalSpec, Approvers, GlassRequest, approved
from extauthz.bundle.revocations import Known, ceiling, named_things, read_entry, wrong_issuer
from extauthz.guards import (
    BreakGlassSpec,
    Entry,
    Frozen,
    Glass,
    RouteSpec,
    Summary,
    check_subjects,
    compile_route,
    compile_routes,
)
from extauthz.guards.spans import Kind, wrong_span
from extauthz.model.problems import Location, Problem, suggestion

MAX_TICKET: Final = 100  # characters
MAX_JUSTIFICATION: Final = 500

Moment = Annotated[datetime, Meta(tz=True)]


class FreezeSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """One thing that is frozen: exactly one of the first nine fields names it."""

    token_id: str = ""  # `jti` of one token
    session: str = ""  # `sid`: all tokens of one login
    key_id: str = ""  # `kid`: all tokens signed with that key
    subject: str = ""  # a person or machine, also where it acts for others; needs `issuer`
    client: str = ""  # an OAuth client, with all its users
    service: str = ""  # SPIFFE ID of a workload, whoever it acts for
    tenant: str = ""  # a tenant: its subjects everywhere, and everybody in it
    route: RouteSpec | None = None  # requests, whoever makes them
    everything: bool = False  # true: every request and every connection
    issuer: str = ""  # name of the Issuer document, or an `iss`; whoever issued the token when absent


class EmergencySpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A freeze or a break glass, and when it ends. A freeze always wins; break glass lifts nothing but policies."""

    freeze: tuple[FreezeSpec, ...] = ()  # what is denied, whatever policies say
    break_glass: BreakGlassSpec | None = None  # what is allowed although policies say no; instead of `freeze`
    begin: Moment  # RFC 3339; without effect before
    end: Moment  # RFC 3339; 30 days after `begin` at most, 7 for everything, 4 hours for break glass
    ticket: str  # where the reasons are kept
    justification: str = ""  # why the policies may be overruled; required for break glass
    drill: bool = False  # break glass that is recorded and alerted as a drill and allows nothing
    approvals: tuple[ApprovalSpec, ...] = ()  # of two approvers; for break glass


class Compiled(Struct, frozen=True):
    """What one emergency means."""

    summary: Summary
    entries: tuple[Entry, ...] = ()
    glass: Glass | None = None


def compile_emergency(
    name: str, spec: EmergencySpec, known: Known, approvers: Approvers | None, problems: list[Problem]
) -> Compiled | None:
    """One document; None when something is wrong with it. `approvers` is None when they cannot be judged."""
    before = len(problems)
    at: Location = ("spec",)
    found: Compiled | None = None
    if bool(spec.freeze) == (spec.break_glass is not None):
        problems.append(Problem(at, "an Emergency is exactly one of `freeze` and `breakGlass`"))
        return None
    check_text("ticket", spec.ticket, MAX_TICKET, problems, at)
    request = glass_request(name, spec)
    if request is None:
        found = _compile_freeze(name, spec, known, problems)
    else:
        check_text("justification", spec.justification, MAX_JUSTIFICATION, problems, at)
        glass = compile_glass(request, known, problems, (*at, "breakGlass"))
        if glass is not None and approvers is not None:
            glass, wrong = approved(glass, request, spec.approvals, approvers)
            problems += [replace(problem, location=("spec", "approvals", *problem.location)) for problem in wrong]
            found = Compiled(glass_summary(request, glass.approvers), glass=glass)
    return found if len(problems) == before else None


def glass_request(name: str, spec: EmergencySpec) -> GlassRequest | None:
    """What approvers of a document sign; None for a freeze."""
    if spec.break_glass is None:
        return None
    return GlassRequest(
        id=name,
        break_glass=spec.break_glass,
        begin=spec.begin,
        end=spec.end,
        ticket=spec.ticket,
        justification=spec.justification,
        drill=spec.drill,
    )


def compile_glass(request: GlassRequest, known: Known, problems: list[Problem], at: Location) -> Glass | None:
    """What is to be opened, approved or not; None when something is wrong with it."""
    before = len(problems)
    spec = request.break_glass
    kind: Kind = "drill" if request.drill else "break_glass"
    _check_span(kind, request.first_second, request.last_second, problems, at[:-1])
    check_subjects(spec.subjects, problems, (*at, "subjects"))
    routes = compile_routes(spec.routes, problems, (*at, "routes"))
    issuers = [_exact_issuer(subject.issuer, known, problems, (*at, "subjects", index, "issuer"))
               for index, subject in enumerate(spec.subjects)]  # fmt: skip
    tenants = known.tenants
    if spec.tenant and len(tenants) and spec.tenant not in tenants:
        problems.append(
            Problem((*at, "tenant"), f"unknown tenant `{spec.tenant}`{suggestion(spec.tenant, [*tenants])}")
        )
    if not spec.tenant and len(tenants) and any(subject.roles for subject in spec.subjects):
        problems.append(Problem((*at, "tenant"), "missing: every tenant has subjects with such roles, name one tenant"))
    if len(problems) > before:
        return None
    named = list(zip(issuers, spec.subjects, strict=True))
    return Glass(
        id=request.id,
        subjects=frozenset((issuer, subject.id) for issuer, subject in named if subject.id),
        roles=frozenset((issuer, role) for issuer, subject in named for role in subject.roles),
        routes=routes,
        tenant=spec.tenant,
        begin=request.first_second,
        end=request.last_second,
        drill=request.drill,
    )


def glass_summary(request: GlassRequest, approvers: tuple[str, ...]) -> Summary:
    """What people read of a break glass."""
    spec = request.break_glass
    who = ", ".join(subject.id or f"role {' or '.join(subject.roles)}" for subject in spec.subjects)
    routes = ", ".join(f"{','.join(route.methods)} {route.host}{route.path}" for route in spec.routes)
    what = f"{who} may {routes}" + (f" in {spec.tenant}" if spec.tenant else "")
    kind: Kind = "drill" if request.drill else "break_glass"
    return Summary(request.id, kind, what, request.first_second, request.last_second, request.ticket, approvers)


def read_freeze(spec: FreezeSpec, draft: Entry, known: Known, problems: list[Problem], at: Location) -> Entry | None:
    """`draft` with what the freeze names; None when something is wrong."""
    named: list[tuple[Frozen, str]] = [*named_things(spec)]
    named += [("route", spec.route.text if spec.route else ""), ("everything", "everything" if spec.everything else "")]
    entry = read_entry(replace(draft, issuer=spec.issuer), named, known, problems, at)
    if entry is None or entry.selector not in {"route", "everything"}:
        return entry
    if entry.selector == "everything":
        return replace(entry, value="")
    route = compile_route(spec.route or RouteSpec(), problems, (*at, "route"))
    return None if route is None else replace(entry, route=route)


def check_text(name: str, text: str, longest: int, problems: list[Problem], at: Location) -> None:
    """Note a text that says nothing or could break up a line."""
    if not 0 < len(text.strip()) <= len(text) <= longest or not text.isprintable():
        problems.append(Problem((*at, name), f"must be 1 to {longest} printable characters"))


def freeze_kind(entries: tuple[Entry, ...]) -> Kind:
    """How a freeze is counted."""
    return "freeze_everything" if any(entry.selector == "everything" for entry in entries) else "freeze"


def _compile_freeze(name: str, spec: EmergencySpec, known: Known, problems: list[Problem]) -> Compiled:
    for field, given in (("approvals", spec.approvals), ("drill", spec.drill)):
        if given:
            problems.append(Problem(("spec", field), "a freeze needs none: leave it out"))
    begin, end = int(spec.begin.timestamp() // 1), ceiling(spec.end)
    entries = []
    for index, written in enumerate(spec.freeze):
        draft = Entry(
            selector="everything",
            value="",
            place=f"freeze {index + 1} of Emergency `{name}`",
            begin=begin,
            until=end,
            emergency=name,
        )
        entry = read_freeze(written, draft, known, problems, ("spec", "freeze", index))
        if entry is not None:
            entries.append(entry)
    kind = freeze_kind(tuple(entries))
    _check_span(kind, begin, end, problems, ("spec",))
    what = ", ".join(" ".join(filter(None, (entry.selector, entry.value))) for entry in entries)
    return Compiled(Summary(name, kind, what, begin, end, spec.ticket), tuple(entries))


def _check_span(kind: Kind, begin: int, end: int, problems: list[Problem], at: Location) -> None:
    if wrong := wrong_span(kind, begin, end):
        problems.append(Problem((*at, "end"), wrong))


def _exact_issuer(written: str, known: Known, problems: list[Problem], at: Location) -> str:
    names: Mapping[str, str] | None = known.issuers
    if names is None:
        return written
    if wrong := wrong_issuer(written, names):
        problems.append(Problem(at, wrong, code="unknown-name"))
        return ""
    return names[written]
