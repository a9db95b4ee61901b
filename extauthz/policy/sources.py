"""`from`: who calls. Alternatives are ORed, the fields within one are ANDed."""

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from extauthz.model.problems import Location
from extauthz.policy.asked import Asked, workload
from extauthz.policy.document import SourceSpec
from extauthz.policy.matchers import address_set, principal_pattern, principal_problem, text_problem, text_set
from extauthz.policy.outcome import NO, SCOPES, YES, Outcome
from extauthz.policy.parts import AddressPart, Draft, Found, Part, TextPart, check_addresses, check_values


class Source(Struct, frozen=True, gc=False):
    """One alternative."""

    parts: tuple[Part, ...]
    scopes: Part | None = None  # apart, so that a lack of scopes alone can be told
    needed: tuple[str, ...] = ()  # the scopes of which one is needed

    def test(self, asked: Asked) -> Outcome:
        """YES, NO, or SCOPES when only a scope is missing."""
        for part in self.parts:
            if part.test(asked) != YES:
                return NO
        if self.scopes is not None and self.scopes.test(asked) != YES:
            return SCOPES if asked.subject.has_token else NO
        return YES

    def all_parts(self) -> tuple[Part, ...]:
        """Every field, scopes last."""
        return self.parts if self.scopes is None else (*self.parts, self.scopes)


class TextField(Struct, frozen=True):
    """How a field of `from` reads its attribute."""

    read: Callable[[Asked], Found]
    problem: Callable[[str], str] = text_problem
    normal: Callable[[str], str] = str
    http: bool = True


def request_principal(asked: Asked) -> str:
    """`<iss>/<sub>` of the verified token, "" without one."""
    subject = asked.subject
    return f"{subject.issuer}/{subject.id}" if subject.has_token else ""


def _service_account(asked: Asked) -> Found:
    namespace, account = workload(asked.request.source.principal)
    return (f"{namespace}/{account}",) if account else ()


def _service_account_problem(value: str) -> str:
    namespace, slash, account = value.partition("/")
    if namespace and slash and account and "*" not in value and "/" not in account:
        return ""
    return f"`{value}` must be `<namespace>/<service account>`, without `*`"


TEXT_FIELDS: dict[str, TextField] = {
    "principals": TextField(
        lambda asked: (asked.request.source.principal,), principal_problem, principal_pattern, http=False
    ),
    "namespaces": TextField(lambda asked: (workload(asked.request.source.principal)[0],), http=False),
    "service_accounts": TextField(_service_account, _service_account_problem, http=False),
    "request_principals": TextField(lambda asked: (request_principal(asked),)),
    "roles": TextField(lambda asked: asked.subject.roles),
    "tenants": TextField(lambda asked: (asked.subject.tenant,)),
    "clients": TextField(lambda asked: (asked.subject.client,)),
    # RFC 8693 section 4.1: only the current actor is to be considered, those before it are history.
    "actors": TextField(lambda asked: asked.subject.actors[:1]),
    "issuers": TextField(lambda asked: (asked.subject.issuer_name,)),
    "scopes": TextField(lambda asked: asked.subject.scopes),
}
ADDRESS_FIELDS: dict[str, Callable[[Asked], str]] = {
    "ip_blocks": lambda asked: asked.request.source.address,
    "remote_ip_blocks": lambda asked: asked.request.facts.client_address,
}

_PERSONAL = ("request_principals", "actors")  # may name a person


def _both(name: str) -> tuple[tuple[str, str, bool], tuple[str, str, bool]]:
    """(attribute, name as written, negative) of a field and of its `not` twin."""
    head, *rest = name.split("_")
    camel = head + "".join(word.capitalize() for word in rest)
    negative = "not" + camel[0].upper() + camel[1:]
    return (name, camel, False), (f"not_{name}", negative, True)


_SPELLINGS = {name: _both(name) for name in (*TEXT_FIELDS, *ADDRESS_FIELDS)}


def compile_source(spec: SourceSpec, draft: Draft, location: Location) -> Source:
    """Compile one alternative; what is malformed is noted and left out."""
    parts: list[Part] = []
    scopes = None
    for name, field in TEXT_FIELDS.items():
        for attribute, written, negative in _SPELLINGS[name]:
            values = getattr(spec, attribute)
            if values is None or not check_values(draft, (*location, written), values, field.problem):
                continue
            texts = text_set(field.normal(value) for value in values)
            masked = name in _PERSONAL
            part = TextPart(
                written, texts, field.read, draft.against, negative=negative, http=field.http, masked=masked
            )
            if attribute == "scopes":
                scopes = part
            else:
                parts.append(part)
    for name, read in ADDRESS_FIELDS.items():
        for attribute, written, negative in _SPELLINGS[name]:
            blocks = getattr(spec, attribute)
            if blocks is not None and check_addresses(draft, (*location, written), blocks):
                parts.append(AddressPart(written, address_set(blocks), read, draft.against, negative=negative))
    return Source(tuple(parts), scopes, spec.scopes or ())


def without_http(source: Source) -> Source:
    """The alternative as far as a connection can answer it."""
    return replace(source, parts=tuple(part for part in source.parts if not part.http), scopes=None, needed=())
