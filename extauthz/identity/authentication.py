"""The `authentication` section of a SecurityProfile, compiled."""

from collections.abc import Mapping

from msgspec import Struct

from extauthz.identity.document import AuthenticationSpec
from extauthz.identity.issuer import Issuer
from extauthz.model.problems import Location, Problem, suggestion


class Authentication(Struct, frozen=True):
    """What a profile demands of a caller."""

    mode: str  # required, optional or none
    issuers: tuple[Issuer, ...]
    by_iss: Mapping[str, Issuer]
    refuse_form_body: bool = True


def compile_authentication(
    spec: AuthenticationSpec, issuers: Mapping[str, Issuer], problems: list[Problem], location: Location
) -> Authentication | None:
    """Check an `authentication` section against the known issuers; None when it has an error."""
    before = len(problems)
    chosen: dict[str, Issuer] = {}
    if spec.mode == "none" and spec.issuers:
        problems.append(Problem((*location, "issuers"), "mode `none` verifies nobody: leave `issuers` out"))
    if spec.mode != "none" and not spec.issuers:
        problems.append(Problem(location, f"mode `{spec.mode}` needs `issuers`, the names of Issuer documents"))
    for index, name in enumerate(spec.issuers):
        where = (*location, "issuers", index)
        issuer = issuers.get(name)
        if issuer is None:
            problems.append(Problem(where, f"unknown issuer `{name}`{suggestion(name, [*issuers])}"))
        elif issuer.issuer in chosen:
            other = chosen[issuer.issuer].name
            problems.append(Problem(where, f"issuers `{other}` and `{name}` have the same `iss`: name one of them"))
        else:
            chosen[issuer.issuer] = issuer
    if len(problems) > before:
        return None
    return Authentication(spec.mode, tuple(chosen.values()), chosen, spec.form_body == "refuse")
