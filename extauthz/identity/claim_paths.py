"""Where in a token's claims a fact is found.

A path is dotted (`realm_access.roles`) or a list of names, for names that contain dots themselves.
"""

from collections.abc import Sequence

from extauthz.model.problems import Location, Problem

PathSpec = str | list[str]  # one path
PathsSpec = str | list[str | list[str]]  # one dotted path, or a list of paths
ClaimPath = tuple[str, ...]


class Missing:
    """No such claim."""


class Blocked:
    """The path leads through something that is not an object."""


MISSING, BLOCKED = Missing(), Blocked()


def look_up(claims: dict[str, object], path: ClaimPath) -> object:
    """The value at `path`; MISSING where a member is absent or null, BLOCKED where there is no object to look in."""
    found: object = claims
    for name in path:
        if type(found) is not dict:
            return BLOCKED
        found = found.get(name)
        if found is None:
            return MISSING
    return found


def first_of(claims: dict[str, object], paths: Sequence[ClaimPath]) -> object:
    """The value at the first of `paths` that is present; MISSING when none is."""
    for path in paths:
        found = look_up(claims, path)
        if found is not MISSING:
            return found
    return MISSING


def compile_path(spec: PathSpec, problems: list[Problem], location: Location) -> ClaimPath:
    """One path; an empty text is no path at all."""
    if isinstance(spec, str):
        if "://" in spec:
            problems.append(Problem(location, f"`{spec}` has dots that belong to its name: write the list [`{spec}`]"))
        names = tuple(spec.split(".")) if spec else ()
    else:
        names = tuple(spec)
        if not names:
            problems.append(Problem(location, "a claim path needs at least one name"))
    if not all(names):
        problems.append(Problem(location, "a claim path has an empty name"))
    return names


def compile_paths(spec: PathsSpec, problems: list[Problem], location: Location) -> tuple[ClaimPath, ...]:
    """Several paths; an empty text or list is none."""
    if isinstance(spec, str):
        return (compile_path(spec, problems, location),) if spec else ()
    return tuple(compile_path(path, problems, (*location, index)) for index, path in enumerate(spec))
