"""The registry of tenants, and the explicit ways from one to another."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from extauthz.guards.names import require_field_name, require_methods
from extauthz.model.problems import Location, Problem, suggestion

# Like a DNS label, so that an id can stand in a host, a path, a header and a metric label. Upper case and `_` are
# for identity providers that mint such ids; two ids may not differ in case alone.
_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_\-]{0,61}[A-Za-z0-9])?")
# Printable ASCII without blank and comma; a comma would be two header fields joined.
FINANCIAL_ID_FORM: Final = re.compile(r"[!-+\--~]{1,64}")


class Tenant(Struct, frozen=True, gc=False):
    """A registered tenant."""

    id: str
    financial_id: str = ""  # "" when none is registered
    attributes: bytes = b"{}"  # what else the registry says about it, as JSON


class CrossTenantSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """An explicit way into tenants that are not the subject's own. All its parts must hold."""

    name: str  # what the journal calls it
    roles: tuple[str, ...] = ()  # any one of them
    methods: tuple[str, ...] = ()  # exactly these
    require_header: str = ""  # must be sent once and not be empty, e.g. a ticket number
    tenants: tuple[str, ...] = ()  # only into these; empty: into all
    scopes: tuple[str, ...] = ()  # all of them
    issuers: tuple[str, ...] = ()  # only for subjects these Issuers vouch for; empty: for all


class TenancySpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Who the tenants are, and the few ways across."""

    tenants: str  # `data.<file>`: a map from tenant id to `{financialId, ...attributes}`
    cross_tenant: tuple[CrossTenantSpec, ...] = ()  # the ways into other tenants; none when absent


class TenantRegistry:
    """Every tenant there is. Immutable; iteration yields ids in the order of the file."""

    def __init__(self, tenants: tuple[Tenant, ...] = ()) -> None:
        self._tenants: Final = {tenant.id: tenant for tenant in tenants}

    def get(self, tenant_id: str) -> Tenant | None:
        """The tenant of that id, compared exactly."""
        return self._tenants.get(tenant_id)

    def own(self, tenant_id: str) -> str:
        """`tenant_id` if it is registered or nobody keeps a registry, else ""."""
        return tenant_id if not self._tenants or tenant_id in self._tenants else ""

    def __contains__(self, tenant_id: object) -> bool:
        """Whether that id is registered."""
        return tenant_id in self._tenants

    def __iter__(self) -> Iterator[str]:
        """Ids in the order of the file."""
        return iter(self._tenants)

    def __len__(self) -> int:
        """How many tenants there are; 0 also when nobody keeps a registry."""
        return len(self._tenants)


def compile_registry(
    spec: TenancySpec | None,
    data: Mapping[str, object],
    problems: list[Problem],
    issuers: frozenset[str] | None = None,
) -> TenantRegistry:
    """Read the registry from `data` and check the ways across; what is wrong goes to `problems`.

    `issuers`: names of the Issuer documents, to tell a grant to an unknown one. Without `spec` it is empty.
    """
    if spec is None:
        return TenantRegistry()
    tenants = _read_tenants(spec.tenants, data, problems)
    registry = TenantRegistry(tuple(tenants))
    names: set[str] = set()
    for index, grant in enumerate(spec.cross_tenant):
        location: Location = ("spec", "crossTenant", index)
        if grant.name in names:
            problems.append(
                Problem((*location, "name"), f"two grants are called `{grant.name}`", code="duplicate-name")
            )
        names.add(grant.name)
        _check_grant(grant, registry, issuers, problems, location)
    return registry


def _read_tenants(reference: str, data: Mapping[str, object], problems: list[Problem]) -> list[Tenant]:
    location: Location = ("spec", "tenants")
    prefix, _, name = reference.partition(".")
    if prefix != "data" or not name:
        problems.append(Problem(location, f"`{reference}` must name a file of `data/`, e.g. `data.tenants`"))
        return []
    if name not in data:
        hint = suggestion(reference, [f"data.{known}" for known in data]) or ": the bundle has no `data/`"
        problems.append(Problem(location, f"unknown data file `{reference}`{hint}", code="unknown-name"))
        return []
    entries = data[name]
    if not isinstance(entries, Mapping) or not entries:
        message = f"`{reference}` must be a map from tenant id to its attributes, with at least one tenant"
        problems.append(Problem(location, message))
        return []
    tenants = []
    seen: dict[str, str] = {}
    for key, attributes in entries.items():
        if not isinstance(key, str) or not _ID.fullmatch(key):
            message = (
                f"tenant id `{key}` in `{reference}` must be 1 to 63 letters, digits, `-` or `_`, as in a host name"
            )
            problems.append(Problem(location, message))
            continue
        if (other := seen.setdefault(key.casefold(), key)) != key:
            problems.append(Problem(location, f"tenant ids `{other}` and `{key}` in `{reference}` differ only in case"))
            continue
        if tenant := _read_tenant(key, attributes, problems, location):
            tenants.append(tenant)
    _warn_shared_financial_ids(tenants, problems, location)
    return tenants


def _read_tenant(key: str, attributes: object, problems: list[Problem], location: Location) -> Tenant | None:
    if attributes is None:
        return Tenant(key)
    if not isinstance(attributes, Mapping):
        problems.append(Problem(location, f"tenant `{key}` must be a map, e.g. `{{financialId: …}}`"))
        return None
    financial_id = attributes.get("financialId", "")
    if "financialId" in attributes and not (
        isinstance(financial_id, str) and FINANCIAL_ID_FORM.fullmatch(financial_id)
    ):
        message = (
            f"tenant `{key}`: `financialId` must be a text of 1 to 64 printable characters without blank and comma"
        )
        problems.append(Problem(location, message))
        return None
    for name in attributes:
        if name != "financialId" and str(name).replace("_", "").replace("-", "").lower() == "financialid":
            message = f"tenant `{key}`: `{name}` has no meaning, did you mean `financialId`?"
            problems.append(Problem(location, message, "warning", "misspelt-attribute"))
    try:
        rest = msgspec.json.encode({name: value for name, value in attributes.items() if name != "financialId"})
    except (TypeError, ValueError, OverflowError):
        problems.append(Problem(location, f"tenant `{key}`: attributes must be JSON: texts, numbers, lists and maps"))
        return None
    return Tenant(key, financial_id, rest)


def _warn_shared_financial_ids(tenants: list[Tenant], problems: list[Problem], location: Location) -> None:
    owners: dict[str, str] = {}
    for tenant in tenants:
        if not tenant.financial_id:
            continue
        owner = owners.setdefault(tenant.financial_id, tenant.id)
        if owner != tenant.id:
            message = f"tenants `{owner}` and `{tenant.id}` have the same `financialId`, so it cannot tell them apart"
            problems.append(Problem(location, message, "warning", "shared-financial-id"))


def _check_grant(
    grant: CrossTenantSpec,
    registry: TenantRegistry,
    issuers: frozenset[str] | None,
    problems: list[Problem],
    location: Location,
) -> None:
    if not grant.name:
        problems.append(Problem((*location, "name"), "a grant needs a name: the journal records which one was used"))
    if not grant.roles:
        problems.append(
            Problem((*location, "roles"), f"grant `{grant.name}` must name the roles that may cross tenants")
        )
    if not grant.methods:
        problems.append(Problem((*location, "methods"), f"grant `{grant.name}` must name its methods, e.g. `[GET]`"))
    require_methods(grant.methods, problems, (*location, "methods"))
    if grant.require_header:
        require_field_name(grant.require_header, problems, (*location, "requireHeader"))
    for index, tenant in enumerate(grant.tenants):
        if len(registry) and tenant not in registry:
            message = f"unknown tenant `{tenant}`{suggestion(tenant, list(registry))}"
            problems.append(Problem((*location, "tenants", index), message, code="unknown-name"))
    for index, issuer in enumerate(grant.issuers):
        if issuers is not None and issuer not in issuers:
            message = f"unknown issuer `{issuer}`{suggestion(issuer, list(issuers))}"
            problems.append(Problem((*location, "issuers", index), message, code="unknown-name"))
