"""Emergencies that would do nothing: routes that no profile covers, and what is over.

Rule: an error is what looks as if it worked; an Emergency that has ended is a warning, for time passes by itself.
"""

from collections.abc import Iterable, Iterator

from extauthz.bundle.documents import Documents
from extauthz.bundle.emergencies import EmergencySpec
from extauthz.bundle.finding import Finding
from extauthz.bundle.routes import Cover
from extauthz.guards import BreakGlassSpec, RouteSpec
from extauthz.model.problems import Location, Problem
from extauthz.snapshot import Profile


def lint_emergencies(documents: Documents, profiles: Iterable[Profile]) -> Iterator[Finding]:
    """Errors about routes of Emergencies that have no errors of their own."""
    cover = Cover(profiles)
    for document in documents.by_kind["Emergency"]:
        spec: EmergencySpec = document.spec
        problems: list[Problem] = []
        for index, freeze in enumerate(spec.freeze):
            if freeze.route is not None:
                problems += _without_profile(
                    cover, freeze.route.host, freeze.route.path, ("spec", "freeze", index, "route")
                )
        if spec.break_glass is not None:
            problems += _glass(cover, spec.break_glass, ("spec", "breakGlass"))
        yield from document.findings(problems)


def lint_ended(documents: Documents, now: int) -> Iterator[Finding]:
    """Warnings about what is over at `now`, seconds since the epoch: it is without effect and can go."""
    for document in documents.by_kind["Emergency"]:
        if document.spec.end.timestamp() <= now:
            message = "this is over and without effect: remove the document"
            yield document.tree.finding(Problem(("spec", "end"), message, "warning", "ended-emergency"))


def route_without_profile(route: RouteSpec, profiles: Iterable[Profile], at: Location) -> list[Problem]:
    """What is wrong with freezing a route that is refused anyway."""
    return _without_profile(Cover(profiles), route.host, route.path, at)


def glass_routes_without_profile(spec: BreakGlassSpec, profiles: Iterable[Profile], at: Location) -> list[Problem]:
    """What is wrong with opening routes that stay refused, for a guard says so."""
    return _glass(Cover(profiles), spec, at)


def _glass(cover: Cover, spec: BreakGlassSpec, at: Location) -> list[Problem]:
    found: list[Problem] = []
    for index, route in enumerate(spec.routes):
        found += _without_profile(cover, route.host, route.path, (*at, "routes", index))
    return found


def _without_profile(cover: Cover, host: str, path: str, at: Location) -> list[Problem]:
    if cover.meets((host,), path):
        return []
    on = "" if host == "*" else f" on `{host}`"
    message = f"no SecurityProfile covers `{path}`{on}: every such request is refused, whatever stands here"
    return [Problem((*at, "path"), message, code="no-effect")]
