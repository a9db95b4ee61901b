"""The financial id: gone from the standards, alive in contracts. Off unless a profile asks for it."""

from msgspec import Struct

from extauthz.guards.ecosystems import FINANCIAL_ID
from extauthz.guards.refusal import Refusal
from extauthz.guards.tenants import FINANCIAL_ID_FORM, Tenant
from extauthz.model.reasons import Reason
from extauthz.model.request import Headers


class FinancialIdSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The header by which a client says which institution it means; it must be the tenant's registered one."""

    required: bool = True  # false: may be absent, but must be right when it is sent
    header: str = FINANCIAL_ID  # its name


def check_form(spec: FinancialIdSpec, headers: Headers) -> Refusal | None:
    """Refuse an id that is missing where required, sent twice or malformed."""
    value = headers.get(spec.header)
    if value is None:
        return Refusal(Reason.FAPI_HEADER_MISSING, spec.header, "missing", spec.header) if spec.required else None
    if not FINANCIAL_ID_FORM.fullmatch(value) or headers.is_repeated(spec.header):
        return Refusal(Reason.FAPI_HEADER_INVALID, spec.header, "malformed, or sent more than once", spec.header)
    return None


def check_owner(spec: FinancialIdSpec, headers: Headers, tenant: Tenant | None) -> Refusal | None:
    """Refuse an id that is not the tenant's. Without a tenant, or a registered id, no value is right."""
    value = headers.get(spec.header)
    if value is None or (tenant is not None and tenant.financial_id == value):
        return None
    return Refusal(Reason.FAPI_FINANCIAL_ID_MISMATCH, spec.header, "not the id registered for the tenant", spec.header)
