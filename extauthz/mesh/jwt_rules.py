"""Entries of `jwtRules`: where each stands, and where it looks for tokens.

Rule 1: a token in a place that we do not read is refused, never ignored: who sends it would be nobody, and a deny rule
about callers would miss it.
"""

import re
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from extauthz.mesh.api import JwtRule
from extauthz.mesh.documents import Document
from extauthz.mesh.report import Kind, Report
from extauthz.mesh.texts import quoted
from extauthz.model.problems import Location

HEADER: Final = "authorization"
_SCHEME: Final = "Bearer"
_REFUSED: Final = "is not read: requests that send it are refused"
_BETTER: Final = "send tokens as `Authorization: Bearer`"
_NAME = re.compile(r"[^a-z0-9]+")
_TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")


class Placed(Struct, frozen=True):
    """One entry, and where it stands."""

    rule: JwtRule
    document: Document
    location: Location

    def note(self, report: Report, kind: Kind, where: Location, message: str, instead: str) -> None:
        """Report a change at a place of the entry."""
        report.add(self.document, (*self.location, *where), kind, message, instead)


def placed(documents: Sequence[Document]) -> list[Placed]:
    """All entries of RequestAuthentications."""
    return [
        Placed(rule, document, ("jwtRules", at))
        for document in documents
        for at, rule in enumerate(document.spec.jwt_rules or [])
    ]


def reads_header(rule: JwtRule) -> bool:
    """Whether a token in `Authorization` is looked at: by default, and where it is named."""
    elsewhere = rule.from_headers or rule.from_params or rule.from_cookies
    return not elsewhere or any(header.name.lower() == HEADER for header in rule.from_headers or [])


def reads_bearer(rule: JwtRule) -> bool:
    """Whether that is so with `Bearer`."""
    found = [header for header in rule.from_headers or [] if header.name.lower() == HEADER]
    return reads_header(rule) and (not found or any(header.prefix.strip() == _SCHEME for header in found))


def refuse_elsewhere(at: Placed, report: Report) -> dict[str, str]:
    """What is refused for the places that are not read: names and expressions."""
    refused = {}
    for number, header in enumerate(at.rule.from_headers or []):
        name = header.name.lower()
        if name == HEADER and header.prefix.strip() == _SCHEME:
            continue
        message = f"a token in the header `{header.name}`{_prefixed(header.prefix)} {_REFUSED}"
        at.note(report, "narrower", ("fromHeaders", number), message, _BETTER)
        if name != HEADER:  # other schemes than Bearer are refused there, with Issuers or without
            test = f"{quoted(name)} in request.headers" if _TOKEN.fullmatch(name) else "true"
            refused[f"header-{plain(name)}"] = test
    for number, name in enumerate(at.rule.from_params or []):
        message = f"a token in the query parameter `{name}` {_REFUSED}"
        at.note(report, "narrower", ("fromParams", number), message, f"{_BETTER}: addresses end up in logs")
        refused[f"param-{plain(name)}"] = f"{quoted(name)} in request.query"
    for number, name in enumerate(at.rule.from_cookies or []):
        message = f"a token in the cookie `{name}` {_REFUSED}"
        instead = "let a gateway put the token into `Authorization: Bearer`"
        at.note(report, "narrower", ("fromCookies", number), message, instead)
        test = f'"cookie" in request.headers && request.headers["cookie"].contains({quoted(name + "=")})'
        refused[f"cookie-{plain(name)}"] = test
    return refused


def plain(text: str) -> str:
    """Letters, digits and hyphens, for names."""
    return _NAME.sub("-", text.lower()).strip("-")


def _prefixed(prefix: str) -> str:
    return f" behind `{prefix}`" if prefix else ""
