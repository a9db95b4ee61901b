"""Roles and tenants that no document knows: mostly misspelt, so that a rule quietly matches nobody, or everybody.

Rule 1: roles are known from the tokens of tests and from grants; a bundle whose tests have no roles is not judged.
"""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Final

from extauthz.bundle.cases import DEFAULT_NOW
from extauthz.bundle.compile import Compiled
from extauthz.bundle.documents import Documents
from extauthz.bundle.finding import Finding
from extauthz.bundle.kinds import CaseSpec
from extauthz.bundle.minting import complete_claims
from extauthz.identity import Issuer
from extauthz.identity.claims import build_subject
from extauthz.model.codes import Code
from extauthz.model.problems import Location, Problem
from extauthz.model.subject import Subject
from extauthz.policy.matchers import text_set
from extauthz.policy.reach.boxes import Span
from extauthz.policy.reach.examine import Examined
from extauthz.policy.reach.formula import Compared, Listed, Member, atoms

_TENANTS: Final = frozenset({"subject.tenant", "resource.tenant"})
Named = tuple[Location, str]  # where, and the name or pattern


def lint_names(documents: Documents, compiled: Compiled, examined: Examined) -> Iterator[Finding]:
    """Warnings about names in rules; the documents have no errors."""
    trees = [document.tree for document in documents.by_kind["AccessPolicy"]]
    roles = _known_roles(documents, compiled.issuers)
    tenants = frozenset(compiled.tenants)
    for span in examined.spans:
        if roles:
            for problem in _unknown(_roles(span, examined), roles, "role", "unknown-role"):
                yield trees[span.document].finding(problem)
        if tenants:
            for problem in _unknown(_tenants(span, examined), tenants, "tenant", "unknown-tenant"):
                yield trees[span.document].finding(problem)


def _known_roles(documents: Documents, issuers: Mapping[str, Issuer]) -> frozenset[str]:
    """Those in tokens of tests, and in grants beside; empty when no token has any."""
    found = {
        role
        for test in documents.by_kind["PolicyTest"]
        for case in test.spec.cases
        for role in _roles_of(case, issuers)
    }
    granted = {
        role for each in documents.by_kind["Tenancy"] for grant in each.spec.cross_tenant for role in grant.roles
    }
    return frozenset(found | granted) if found else frozenset()


def _roles_of(case: CaseSpec, issuers: Mapping[str, Issuer]) -> tuple[str, ...]:
    claims = {**(case.token.claims if case.token else {}), **(case.introspection or {})}
    asked = [issuers[case.token.issuer]] if case.token else [each for each in issuers.values() if each.introspection]
    subjects = [build_subject(issuer, complete_claims(issuer, claims, DEFAULT_NOW), b"{}", "") for issuer in asked]
    return tuple(role for subject in subjects if isinstance(subject, Subject) for role in subject.roles)


def _roles(span: Span, examined: Examined) -> Iterator[Named]:
    at: Location = ("spec", "rules", span.position)
    for index, source in enumerate(span.spec.from_ or ()):
        yield from _listed((*at, "from", index, "roles"), source.roles)
        yield from _listed((*at, "from", index, "notRoles"), source.not_roles)
    yield from _whens(span, "subject.roles")
    condition = examined.conditions.get(span.condition)
    for atom in atoms(condition.formula) if condition else ():
        if isinstance(atom, Member) and atom.container == "subject.roles" and isinstance(atom.value, str):
            yield (*at, "condition"), atom.value


def _tenants(span: Span, examined: Examined) -> Iterator[Named]:
    """Those of `from` and of the policy are errors already, but for patterns."""
    at: Location = ("spec", "rules", span.position)
    for index, source in enumerate(span.spec.from_ or ()):
        for field, values in (("tenants", source.tenants), ("notTenants", source.not_tenants)):
            yield from ((place, name) for place, name in _listed((*at, "from", index, field), values) if "*" in name)
    yield from _whens(span, "subject.tenant")
    condition = examined.conditions.get(span.condition)
    for atom in atoms(condition.formula) if condition else ():
        match atom:
            case Compared(term=term, value=str(value)) if term.name in _TENANTS and value:
                yield (*at, "condition"), value
            case Listed(term=term, values=listed) if term.name in _TENANTS:
                yield from (((*at, "condition"), value) for value in listed if isinstance(value, str) and value)


def _whens(span: Span, key: str) -> Iterator[Named]:
    for index, when in enumerate(span.spec.when or ()):
        if when.key == key:
            at: Location = ("spec", "rules", span.position, "when", index)
            yield from _listed((*at, "values"), when.values)
            yield from _listed((*at, "notValues"), when.not_values)


def _listed(at: Location, values: tuple[str, ...] | None) -> Iterator[Named]:
    yield from (((*at, position), value) for position, value in enumerate(values or ()))


def _unknown(named: Iterable[Named], known: frozenset[str], what: str, code: Code) -> Iterator[Problem]:
    told: set[str] = set()
    for at, name in named:
        if name in told or any(map(text_set([name]).has, known)):
            continue
        told.add(name)
        near = [] if "*" in name else get_close_matches(name, sorted(known), n=1)
        hint = f", did you mean `{near[0]}`?" if near else ""
        if what == "role":
            said = (
                f"no test's token has role `{name}`" if "*" not in name else f"no test's token has a role like `{name}`"
            )
            hint = hint or ": correct it, or add a case of a caller who has it"
        else:
            said = f"no registered tenant is `{name}`"
            hint = hint or ": correct it, or register it"
        yield Problem(at, said + hint, "warning", code)
