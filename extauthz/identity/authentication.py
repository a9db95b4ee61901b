"""The `authentication` section of a SecurityProfile, compiled."""

from collections.abc import Mapping

from msgspec import Struct

from extauthz.identity.document import AuthenticationSpec
from extauthz.identity.issuer import Issuer
from extauthz.identity.service import ServiceIdentity, compile_service
from extauthz.model.problems import Location, Problem, suggestion


class Authentication(Struct, frozen=True):
    """What a profile demands of a caller."""

    mode: str  # required, optional or none
    issuers: tuple[Issuer, ...]
    by_iss: Mapping[str, Issuer]
    refuse_form_body: bool = True
    service: ServiceIdentity | None = None
    introspecting: Issuer | None = None  # who reads opaque tokens


def compile_authentication(
    spec: AuthenticationSpec, issuers: Mapping[str, Issuer], problems: list[Problem], location: Location
) -> Authentication | None:
    """Check an `authentication` section against the known issuers; None when it has an error."""
    before = len(problems)
    accepted: list[Issuer] = []
    chosen: dict[str, Issuer] = {}
    if spec.mode == "none" and spec.issuers:
        problems.append(Problem((*location, "issuers"), "mode `none` verifies nobody: leave `issuers` out"))
    service = compile_service(spec.service, problems, (*location, "service"))
    if spec.mode == "none" and spec.service.mode != "off":
        message = "mode `none` asks nobody who calls: write `required`, and no `issuers` if only services may call"
        problems.append(Problem((*location, "service", "mode"), message))
    if spec.mode != "none" and not spec.issuers and spec.service.mode != "instead":
        problems.append(Problem(location, f"mode `{spec.mode}` needs `issuers`, the names of Issuer documents"))
    for index, name in enumerate(spec.issuers):
        where = (*location, "issuers", index)
        issuer = issuers.get(name)
        if issuer is None:
            message = f"unknown issuer `{name}`{suggestion(name, [*issuers])}"
            problems.append(Problem(where, message, code="unknown-name"))
        elif same := next((chosen[iss] for iss in issuer.spellings if iss in chosen), None):
            problems.append(Problem(where, f"issuers `{same.name}` and `{name}` have the same `iss`: name one of them"))
        else:
            accepted.append(issuer)
            chosen.update(dict.fromkeys(issuer.spellings, issuer))
    introspecting = [issuer for issuer in accepted if issuer.introspection is not None]
    if len(introspecting) > 1:
        first, second, *_ = (issuer.name for issuer in introspecting)
        message = f"`{first}` and `{second}` both introspect: an opaque token does not say to which it belongs (INT-01)"
        problems.append(Problem((*location, "issuers"), message))
    if len(problems) > before:
        return None
    refuse_form = spec.form_body == "refuse"
    asked = introspecting[0] if introspecting else None
    return Authentication(spec.mode, tuple(accepted), chosen, refuse_form, service, asked)
