"""What an issuer is called in tokens: its `iss`, other spellings of it, or one for each tenant of a template.

Rule 1: every accepted `iss` is written out when the document is loaded; a token's is compared exactly (JWT-07).
"""

import re
from collections.abc import Iterator

from msgspec import Struct

from extauthz.identity.document import IssuerSpec
from extauthz.identity.presets import Preset
from extauthz.identity.urls import is_fetchable
from extauthz.model.problems import Location, Problem

TEMPLATE = "{tenantid}"  # as the metadata and the keys of Entra ID write it
MAX_TENANTS = 1000  # each is an entry of a table; whoever trusts more of them trusts everybody
_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Spelling(Struct, frozen=True):
    """One `iss`."""

    issuer: str  # what the Subject's `issuer` becomes: one caller has one, however the token spells it
    tenant: str = ""  # of a template: which tenant this is


def compile_spellings(spec: IssuerSpec, preset: Preset | None, problems: list[Problem]) -> dict[str, Spelling]:
    """Every `iss` of the document; `preset` is None where it is unknown."""
    texts: list[tuple[Location, str]] = [(("spec", "issuer"), spec.issuer)]
    texts += [(("spec", "issuerAliases", index), alias) for index, alias in enumerate(spec.issuer_aliases)]
    tenants = _tenants(spec, texts, problems)
    found: dict[str, Spelling] = {}
    for tenant in tenants:
        for where, text in texts:
            iss = text.replace(TEMPLATE, tenant)
            if iss in found:
                problems.append(Problem(where, f"`{iss}` is listed twice"))
            found[iss] = Spelling(spec.issuer.replace(TEMPLATE, tenant), tenant)
    if preset is not None:
        for where, text in texts:
            problems += _check(where, text.replace(TEMPLATE, tenants[0]), preset)
    return found


def speaks_for(named: str, iss: str, spelling: Spelling) -> bool:
    """Whether a key that names its issuer, exactly or by a template, may sign for this one."""
    if TEMPLATE not in named:
        return named in {iss, spelling.issuer}
    head, _, tail = named.partition(TEMPLATE)
    return any(
        len(text) > len(head) + len(tail)
        and text.startswith(head)
        and text.endswith(tail)
        and _TENANT.fullmatch(text, len(head), len(text) - len(tail)) is not None
        for text in (iss, spelling.issuer)
    )


def _tenants(spec: IssuerSpec, texts: list[tuple[Location, str]], problems: list[Problem]) -> list[str]:
    where: Location = ("spec", "issuerTenants")
    for place, text in texts:
        if (TEMPLATE in text) != bool(spec.issuer_tenants):
            wrong = (
                "needs `issuerTenants`, the tenants that are accepted" if TEMPLATE in text else "has no `{tenantid}`"
            )
            problems.append(Problem(place, f"`{text}` {wrong}"))
    if len(spec.issuer_tenants) > MAX_TENANTS:
        problems.append(Problem(where, f"more than {MAX_TENANTS} tenants"))
    for index, tenant in enumerate(spec.issuer_tenants):
        if not _TENANT.fullmatch(tenant):
            problems.append(Problem((*where, index), f"`{tenant}` must be the id of one tenant, as tokens have it"))
    return [*dict.fromkeys(spec.issuer_tenants[:MAX_TENANTS])] or [""]


def _check(where: Location, iss: str, preset: Preset) -> Iterator[Problem]:
    if wrong := is_fetchable(iss):
        yield Problem(where, f"`{iss}` {wrong}")
    elif "?" in iss or "#" in iss:
        yield Problem(where, f"`{iss}` must not have a query or fragment (RFC 8414 section 2)")
    elif not re.fullmatch(preset.issuer_pattern, iss):
        yield Problem(where, f"`{iss}` looks unusual: an issuer here {preset.issuer_hint}", "warning", "unusual-issuer")
