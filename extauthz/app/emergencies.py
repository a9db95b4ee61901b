"""Orders of the control socket → the run-time list of what is revoked, frozen and opened."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from secrets import token_hex

from msgspec.structs import replace

from extauthz.admin import (
    Draft,
    Drafted,
    Emergency,
    EmergencyPage,
    Freeze,
    OpenGlass,
    OrderError,
    Restore,
    Revoke,
    Revoked,
    RevokedPage,
)
from extauthz.app import emergency_views as views
from extauthz.app.operators import operator_of
from extauthz.bundle.approvals import GlassRequest
from extauthz.bundle.emergencies import MAX_JUSTIFICATION, MAX_TICKET, check_text, compile_glass, read_freeze
from extauthz.bundle.emergency_lint import glass_routes_without_profile, route_without_profile
from extauthz.bundle.finding import dotted
from extauthz.bundle.revocations import Known, ceiling, issuer_names, named_things, read_entry
from extauthz.guards import Entry, Glass, TenantRegistry
from extauthz.model.problems import Problem
from extauthz.sources import (
    Change,
    EmergencyError,
    EmergencyFileError,
    Live,
    Operator,
    RuntimeEmergencies,
    UnknownEntryError,
)

_WRONG = HTTPStatus.UNPROCESSABLE_ENTITY


class ControlledEmergencies:
    """Carries out what `extauthz ctl` asks. Implements `admin.Orders`."""

    def __init__(
        self,
        ordered: RuntimeEmergencies,
        live: Live,
        clock: Callable[[], float],
        on_refusal: Callable[[OpenGlass, Operator, str], None],
    ) -> None:
        """`on_refusal`: told of every break glass that was asked for and stays shut."""
        self._ordered, self._live, self._clock, self._on_refusal = ordered, live, clock, on_refusal

    def revoke(self, order: Revoke, uid: int) -> Revoked:
        """Put a revocation in force."""
        problems: list[Problem] = []
        draft = Entry(
            selector="tokenId",
            value="",
            issuer=order.issuer,
            issued_before=ceiling(order.issued_before),
            until=ceiling(order.until),
        )
        entry = read_entry(draft, named_things(order), self._known(), problems, ())
        try:
            change = self._ordered.add(_good(entry, problems), operator_of(order.operator, uid, order.reason))
        except EmergencyError as error:
            raise OrderError(_WRONG, str(error)) from error
        return views.revoked(change.entry, change.problem)

    def restore(self, entry_id: str, order: Restore, uid: int) -> Revoked:
        """End a revocation."""
        if not entry_id.startswith("r-"):
            raise OrderError(HTTPStatus.NOT_FOUND, f"no entry `{entry_id}` is in force")
        return views.revoked(self._end(entry_id, order, uid).entry)

    def revoked(self, limit: int) -> RevokedPage:
        """The newest revocations in force."""
        found = [entry for entry in self._ordered.entries() if not entry.freeze]
        return RevokedPage(
            total=len(found),
            in_bundle=self.counts()["bundle"],
            entries=tuple(views.revoked(entry) for entry in found[:limit]),
        )

    def freeze(self, order: Freeze, uid: int) -> Emergency:
        """Put a freeze in force."""
        problems: list[Problem] = []
        draft = Entry(selector="everything", value="", until=ceiling(order.until))
        entry = _good(read_freeze(order, draft, self._known(), problems, ()), problems)
        world = self._live.current
        if order.route is not None and world is not None:
            problems += route_without_profile(order.route, world.profiles.profiles, ("route",))
            _good(entry, problems)
        who = operator_of(order.operator, uid, order.reason)
        try:
            change = self._ordered.add(entry, who, order.route, freeze=True)
        except EmergencyError as error:
            raise OrderError(_WRONG, str(error)) from error
        return self._changed(change)

    def draft(self, order: Draft, uid: int) -> Drafted:  # noqa: ARG002 - nothing is ordered yet
        """Check what is to be approved, and write out whose names its issuers are."""
        names = self._known().issuers or {}
        subjects = tuple(
            replace(subject, issuer=names.get(subject.issuer) or subject.issuer)
            for subject in order.break_glass.subjects
        )
        request = GlassRequest(
            id=f"g-{token_hex(8)}",
            break_glass=replace(order.break_glass, subjects=subjects),
            begin=order.begin or datetime.fromtimestamp(int(self._clock()), UTC),
            end=order.end,
            ticket=order.ticket,
            justification=order.justification,
            drill=order.drill,
        )
        self._check(request)
        return Drafted(request=request, digest=request.digest)

    def open_glass(self, order: OpenGlass, uid: int) -> Emergency:
        """Open what two approvers have approved."""
        operator = operator_of(order.operator, uid, order.request.ticket)
        try:
            glass = self._check(order.request)
            change = self._ordered.open_glass(glass, order.request, order.approvals, operator)
        except (EmergencyError, OrderError) as error:
            self._on_refusal(order, operator, str(error))
            raise OrderError(_WRONG, str(error)) from error
        except EmergencyFileError as error:
            self._on_refusal(order, operator, str(error))
            raise OrderError(HTTPStatus.SERVICE_UNAVAILABLE, f"not opened: {error}") from error
        return self._changed(change)

    def end(self, emergency_id: str, order: Restore, uid: int) -> Emergency:
        """End a freeze or a break glass."""
        world = self._live.current
        if world is not None and any(found.id == emergency_id for found in world.emergencies.summaries):
            raise OrderError(
                _WRONG, f"`{emergency_id}` is of the bundle: end it there; to stop it here, freeze its route"
            )
        if emergency_id.startswith("r-"):
            raise OrderError(HTTPStatus.NOT_FOUND, f"`{emergency_id}` is a revocation: use `extauthz ctl restore`")
        return self._changed(self._end(emergency_id, order, uid))

    def emergencies(self, limit: int) -> EmergencyPage:
        """What is frozen and opened, and what will be."""
        now = int(self._clock())
        world = self._live.current
        ordered = [
            views.ordered(entry, now, glass.approvers if glass else (), approved=glass is not None)
            for entry, glass in self._ordered.glasses()
        ]
        ordered += [views.ordered(entry, now) for entry in self._ordered.entries() if entry.freeze]
        listed = [views.of_bundle(found, now) for found in (world.emergencies.summaries if world else ())]
        return EmergencyPage(
            total=len(ordered) + len(listed),
            emergencies=(*ordered[:limit], *listed),
            warning=views.clock_warning(self._ordered.clock.step()),
        )

    def counts(self) -> dict[str, int]:
        """Revocations in force, by where they stand."""
        world = self._live.current
        in_bundle = world.emergencies.denied.in_force(int(self._clock())) if world is not None else 0
        return {"bundle": in_bundle, "runtime": self._ordered.in_force()}

    def _known(self) -> Known:
        world = self._live.current
        return Known(issuer_names(self._live.issuers), world.tenants if world is not None else TenantRegistry())

    def _changed(self, change: Change) -> Emergency:
        return views.changed(change, int(self._clock()), self._ordered.clock.step())

    def _check(self, request: GlassRequest) -> Glass:
        """What the request opens, known to the bundle in force; raises OrderError."""
        problems: list[Problem] = []
        check_text("ticket", request.ticket, MAX_TICKET, problems, ())
        check_text("justification", request.justification, MAX_JUSTIFICATION, problems, ())
        check_text("id", request.id, len("g-") + 16, problems, ())
        known = self._known()
        glass = compile_glass(request, known, problems, ("breakGlass",))
        for index, subject in enumerate(request.break_glass.subjects):
            exact = (known.issuers or {}).get(subject.issuer, subject.issuer)
            if exact != subject.issuer:
                message = f"write the exact `iss` `{exact}`, for that is what approvers sign"
                problems.append(Problem(("breakGlass", "subjects", index, "issuer"), message))
        world = self._live.current
        if world is not None:
            problems += glass_routes_without_profile(request.break_glass, world.profiles.profiles, ("breakGlass",))
        if problems or glass is None:
            raise OrderError(_WRONG, _first(problems))
        return glass

    def _end(self, entry_id: str, order: Restore, uid: int) -> Change:
        try:
            return self._ordered.end(entry_id, operator_of(order.operator, uid, order.reason))
        except UnknownEntryError as error:
            raise OrderError(HTTPStatus.NOT_FOUND, str(error)) from error
        except EmergencyError as error:
            raise OrderError(_WRONG, str(error)) from error
        except EmergencyFileError as error:
            still = "still frozen" if entry_id.startswith("f-") else "still revoked"
            raise OrderError(HTTPStatus.SERVICE_UNAVAILABLE, f"{still}: {error}") from error


def _good(entry: Entry | None, problems: Sequence[Problem]) -> Entry:
    if entry is None or problems:
        raise OrderError(_WRONG, _first(problems))
    return entry


def _first(problems: Sequence[Problem]) -> str:
    """The first of the problems; `an entry names …` is about an order here."""
    problem = problems[0]
    message = problem.message.replace("an entry names", "an order names")
    return f"{dotted(problem.location)}: {message}" if problem.location else message
