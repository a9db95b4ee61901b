"""FAPI request headers, by ecosystem: what is missing or malformed is refused before the token is read.

Rule 1: a header that was sent twice is refused in both header modes alike (Envoy joins repeated fields with a comma).
Rule 2: a refusal names the header and the check, never the value.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from extauthz.guards.ecosystems import (
    CHECKS,
    ECOSYSTEMS,
    MIN_VERSION,
    VERSION,
    HeaderRuleSpec,
)
from extauthz.guards.financial_id import FinancialIdSpec, check_form, check_owner
from extauthz.guards.formats import FORMATS, UUID_LENGTH, Format, format_name
from extauthz.guards.names import require_field_name, require_methods
from extauthz.guards.refusal import Refusal
from extauthz.guards.tenants import Tenant
from extauthz.model.paths import PathPattern, parse_pattern
from extauthz.model.problems import Location, Problem, suggestion
from extauthz.model.reasons import Reason
from extauthz.model.request import Request

FINANCIAL_ID_FORM_NAME: Final = "financial-id 64"


class FapiSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Which FAPI profile and which ecosystem's headers apply. The error body of denials follows the ecosystem too."""

    # What tokens, their issuers and their senders must be like; each demand is checked when the bundle loads.
    profile: Literal["fapi1-baseline", "fapi1-advanced", "fapi2-security"] | None = None
    # fapi1-baseline, fapi2, uk-obie-3.1.1, uk-obie, uk-obie-4, cdr, brazil, uae, ksa or custom; that of the profile
    # when absent
    ecosystem: str = ""
    headers: dict[str, HeaderRuleSpec] = {}  # more rules by header; one of the ecosystem's headers is replaced
    financial_id: FinancialIdSpec | None = None  # required by uk-obie-3.1.1, off everywhere else
    versions: tuple[Annotated[int, Meta(ge=1)], ...] = ()  # cdr: versions of x-v that are served; empty: any


class HeaderRule(Struct, frozen=True):
    """A compiled rule: where the header is required, and what its value must be."""

    name: str
    check: str
    fits: Format
    required: bool
    methods: tuple[str, ...]
    paths: tuple[PathPattern, ...]
    with_header: str
    ignore_invalid: bool
    max_length: int
    values: tuple[str, ...]
    takes_ids: bool = False  # whether it takes every UUID

    @property
    def form(self) -> str:
        """What a value must be, in words that two bundles can compare: format, greatest length, values."""
        return " ".join((format_name(self.fits), str(self.max_length), *self.values))

    def refuse(self, request: Request, now: int) -> Refusal | None:
        """What is wrong with this header of the request, if anything."""
        value = request.headers.get(self.name)
        if value is None:
            return self.refuse_absent(request) if self.required else None
        return None if self.ignore_invalid else self.refuse_value(value, request, now)

    def refuse_absent(self, request: Request) -> Refusal | None:
        """Refuse a request that has not this header, which is required somewhere, if it is there."""
        if self._is_required(request):
            return Refusal(Reason.FAPI_HEADER_MISSING, self.check, "missing", self.name)
        return None

    def refuse_value(self, value: str, request: Request, now: int) -> Refusal | None:
        """What is wrong with what was sent."""
        # The reader has looked at the interaction id already, in the same way.
        if self.takes_ids and value and value == request.facts.interaction_id:
            return None
        if request.headers.is_repeated(self.name):
            return Refusal(Reason.FAPI_HEADER_INVALID, self.check, "sent more than once", self.name)
        if len(value) > self.max_length or not self.fits(value, now) or (self.values and value not in self.values):
            return Refusal(Reason.FAPI_HEADER_INVALID, self.check, "malformed, or sent more than once", self.name)
        return None

    def _is_required(self, request: Request) -> bool:
        return self.covers(request) and (not self.with_header or request.headers.get(self.with_header) is not None)

    def covers(self, request: Request) -> bool:
        """Whether the header is required with this method on this path."""
        if self.methods and request.method not in self.methods:
            return False
        return not self.paths or any(path.match(request.segments) is not None for path in self.paths)


class FapiHeaders(Struct, frozen=True):
    """The compiled header rules of a profile."""

    ecosystem: str
    rules: tuple[HeaderRule, ...]
    financial_id: FinancialIdSpec | None
    versions: tuple[int, ...]

    @property
    def read_headers(self) -> frozenset[str]:
        """Every header that is looked at."""
        names = {rule.name for rule in self.rules} | {rule.with_header for rule in self.rules if rule.with_header}
        return frozenset(names if self.financial_id is None else names | {self.financial_id.header})

    @property
    def forms(self) -> dict[str, str]:
        """By header what its value must be, in the order in which they are checked."""
        found = {rule.name: rule.form for rule in self.rules if not rule.ignore_invalid}
        return found if self.financial_id is None else found | {self.financial_id.header: FINANCIAL_ID_FORM_NAME}

    def check_headers(self, request: Request, now: int) -> Refusal | None:
        """The first header that is missing or malformed. `now` is seconds since the epoch."""
        get = request.headers.get
        for rule in self.rules:  # as `rule.refuse`, without a call for those that are absent
            value = get(rule.name)
            if value is not None:
                if not rule.ignore_invalid and (refusal := rule.refuse_value(value, request, now)):
                    return refusal
            elif rule.required and (refusal := rule.refuse_absent(request)):
                return refusal
        if self.financial_id is not None and (refusal := check_form(self.financial_id, request.headers)):
            return refusal
        return self.refuse_version(request) if self.versions else None

    def check_financial_id(self, request: Request, tenant: Tenant | None) -> Refusal | None:
        """Refuse a financial id that is not the one registered for `tenant`, the tenant of the resource."""
        if self.financial_id is None:
            return None
        return self.check_form(request) or self.check_owner(request, tenant)

    @property
    def financial_id_header(self) -> str:
        """The header of the financial id, "" where none is asked for."""
        return "" if self.financial_id is None else self.financial_id.header

    def check_form(self, request: Request) -> Refusal | None:
        """Refuse a financial id that is missing where it is required, sent twice or malformed."""
        return None if self.financial_id is None else check_form(self.financial_id, request.headers)

    def check_owner(self, request: Request, tenant: Tenant | None) -> Refusal | None:
        """Refuse a financial id that is not the tenant's."""
        return None if self.financial_id is None else check_owner(self.financial_id, request.headers, tenant)

    def refuse_version(self, request: Request) -> Refusal | None:
        """CDR: some version from x-min-v to x-v must be served; an x-min-v above x-v counts as absent."""
        newest = _number(request, VERSION)
        if newest is None:
            return None
        oldest = _number(request, MIN_VERSION)
        low = newest if oldest is None or oldest > newest else oldest
        if any(low <= version <= newest for version in self.versions):
            return None
        return Refusal(Reason.FAPI_VERSION_UNSUPPORTED, VERSION, "not a version that is served", VERSION)


def _number(request: Request, name: str) -> int | None:
    """The header as a number; None when it is absent, or malformed where a profile's rule lets that pass."""
    value = request.headers.get(name)
    return int(value) if value is not None and FORMATS["positive-integer"](value, 0) else None


# The headers that a profile's own texts speak of.
_OWN_HEADERS: Final = {
    "fapi1-baseline": "fapi1-baseline",
    "fapi1-advanced": "fapi1-baseline",
    "fapi2-security": "fapi2",
}


def compile_fapi(spec: FapiSpec, problems: list[Problem], location: Location) -> FapiHeaders | None:
    """Check and compile `spec`; None when there were errors, which are then in `problems`."""
    before = len(problems)
    ecosystem = spec.ecosystem or _OWN_HEADERS.get(spec.profile or "", "")
    if ecosystem not in ECOSYSTEMS:
        message = f"unknown ecosystem `{ecosystem}`{suggestion(ecosystem, list(ECOSYSTEMS))}"
        if not ecosystem:
            message = "missing: name an ecosystem for its headers, or a `profile` for what tokens must be like"
        problems.append(Problem((*location, "ecosystem"), message))
        return None
    if ecosystem == "custom" and not spec.headers and spec.financial_id is None:
        problems.append(Problem((*location, "headers"), "ecosystem `custom` has no rules of its own: write `headers`"))
    table = {**ECOSYSTEMS[ecosystem], **spec.headers}
    if spec.versions and (table.get(VERSION) or HeaderRuleSpec()).format != "positive-integer":
        message = f"`versions` needs `{VERSION}` with format `positive-integer`, as in ecosystem `cdr`"
        problems.append(Problem((*location, "versions"), message))
    rules = [compile_header(name, rule, problems, (*location, "headers", name)) for name, rule in table.items()]
    financial_id = spec.financial_id
    if financial_id is None and ecosystem == "uk-obie-3.1.1":
        financial_id = FinancialIdSpec()
    if financial_id is not None:
        require_field_name(financial_id.header, problems, (*location, "financialId", "header"))
        if financial_id.header in table:
            message = f"`{financial_id.header}` has its rule in `financialId`: remove it here"
            problems.append(Problem((*location, "headers", financial_id.header), message))
    if len(problems) > before:
        return None
    return FapiHeaders(ecosystem, tuple(rule for rule in rules if rule), financial_id, spec.versions)


# Headers whose meaning is fixed elsewhere; a rule here would promise what it does not keep.
_NOT_FOR_RULES: Final = frozenset({"authorization", "cookie", "host", "content-length", "transfer-encoding"})


def compile_header(name: str, spec: HeaderRuleSpec, problems: list[Problem], location: Location) -> HeaderRule | None:
    """Check and compile the rule of one header; None when there were errors."""
    before = len(problems)
    require_field_name(name, problems, location)
    if name in _NOT_FOR_RULES:
        problems.append(Problem(location, f"`{name}` cannot have a rule of its own"))
    if spec.format not in FORMATS:
        hint = suggestion(spec.format, list(FORMATS))
        problems.append(Problem((*location, "format"), f"unknown format `{spec.format}`{hint}"))
    if spec.with_header:
        require_field_name(spec.with_header, problems, (*location, "withHeader"))
    require_methods(spec.methods, problems, (*location, "methods"))
    if not spec.required and (spec.methods or spec.paths or spec.with_header):
        message = "`methods`, `paths` and `withHeader` say where the header is required: add `required: true`"
        problems.append(Problem(location, message))
    if spec.required and spec.invalid == "ignore":
        problems.append(Problem((*location, "invalid"), "a required header cannot be ignored when it is invalid"))
    paths = []
    for index, text in enumerate(spec.paths):
        pattern = parse_pattern(text)
        if isinstance(pattern, str):
            problems.append(Problem((*location, "paths", index), pattern))
        else:
            paths.append(pattern)
    if len(problems) > before:
        return None
    return HeaderRule(
        name=name,
        check=CHECKS.get(name, name),
        fits=FORMATS[spec.format],
        required=spec.required,
        methods=spec.methods,
        paths=tuple(paths),
        with_header=spec.with_header,
        ignore_invalid=spec.invalid == "ignore",
        max_length=spec.max_length,
        values=spec.values,
        takes_ids=spec.format == "uuid" and not spec.values and spec.max_length >= UUID_LENGTH,
    )
