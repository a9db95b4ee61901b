"""Which headers each FAPI ecosystem asks for: one table, read by `fapi`.

Rule 1: what a row says is what the ecosystem's own texts say; stricter wishes belong in a profile's `headers`.
Rule 2: these headers are the client's assertions; nothing here makes them evidence of anything.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct


class HeaderRuleSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """One request header: what it looks like, where it is required, and what happens when it is wrong."""

    # uuid, uuid-v4, http-date, http-date-or-utc, ip-address, positive-integer, base64, boolean or text
    format: str = "text"
    required: bool = False  # missing is refused; a value that is sent is checked in any case
    methods: tuple[str, ...] = ()  # required only with these methods; empty: with all
    paths: tuple[str, ...] = ()  # required only on these path patterns; empty: on all
    with_header: str = ""  # required only when this header is sent too
    invalid: Literal["refuse", "ignore"] = "refuse"  # ignore: the request goes on, the value is not used
    max_length: Annotated[int, Meta(ge=1, le=8192)] = 256  # in characters
    values: tuple[str, ...] = ()  # when not empty, nothing else is accepted


INTERACTION_ID: Final = "x-fapi-interaction-id"
AUTH_DATE: Final = "x-fapi-auth-date"
CUSTOMER_ADDRESS: Final = "x-fapi-customer-ip-address"
END_USER_PRESENT: Final = "x-fapi-end-user-present"
FINANCIAL_ID: Final = "x-fapi-financial-id"
IDEMPOTENCY_KEY: Final = "x-idempotency-key"
VERSION: Final = "x-v"
MIN_VERSION: Final = "x-min-v"
VERSIONS: Final = (VERSION, MIN_VERSION)

# Ids of the checks; a header without one is named itself.
CHECKS: Final = {INTERACTION_ID: "RS-01", CUSTOMER_ADDRESS: "RS-04"}

_ADDRESS = HeaderRuleSpec(format="ip-address")
_DATE_OR_UTC = HeaderRuleSpec(format="http-date-or-utc")  # the published patterns of UK and Brazil take GMT and UTC
_KEY_OF_40 = HeaderRuleSpec(max_length=40)
_UK = {
    INTERACTION_ID: HeaderRuleSpec(format="uuid"),
    AUTH_DATE: _DATE_OR_UTC,
    CUSTOMER_ADDRESS: _ADDRESS,
    IDEMPOTENCY_KEY: _KEY_OF_40,
}

ECOSYSTEMS: Final[Mapping[str, Mapping[str, HeaderRuleSpec]]] = {
    "fapi1-baseline": {
        # What to do with an id that is no UUID is not defined: go on with a new one.
        INTERACTION_ID: HeaderRuleSpec(format="uuid", invalid="ignore"),
        AUTH_DATE: HeaderRuleSpec(format="http-date"),
        CUSTOMER_ADDRESS: _ADDRESS,
    },
    # FAPI 2.0 has no headers of its own; its implementation advice keeps two, and never refuses for their sake.
    "fapi2": {
        INTERACTION_ID: HeaderRuleSpec(format="uuid", invalid="ignore"),
        END_USER_PRESENT: HeaderRuleSpec(format="boolean", invalid="ignore"),
    },
    "uk-obie-3.1.1": _UK,  # and the financial id, see `fapi`
    "uk-obie": _UK,  # 3.1.2 and later
    "uk-obie-4": _UK,  # the same headers; an expired token is refused with a body
    "cdr": {
        INTERACTION_ID: HeaderRuleSpec(format="uuid"),
        AUTH_DATE: HeaderRuleSpec(format="http-date", required=True),
        CUSTOMER_ADDRESS: _ADDRESS,
        "x-cds-client-headers": HeaderRuleSpec(
            format="base64", required=True, with_header=CUSTOMER_ADDRESS, max_length=8192
        ),
        VERSION: HeaderRuleSpec(format="positive-integer", required=True),
        MIN_VERSION: HeaderRuleSpec(format="positive-integer"),
    },
    "brazil": {
        INTERACTION_ID: HeaderRuleSpec(format="uuid", required=True),
        AUTH_DATE: _DATE_OR_UTC,
        CUSTOMER_ADDRESS: _ADDRESS,
        IDEMPOTENCY_KEY: _KEY_OF_40,
    },
    "uae": {
        INTERACTION_ID: HeaderRuleSpec(format="uuid-v4", invalid="ignore"),
        AUTH_DATE: _DATE_OR_UTC,
        CUSTOMER_ADDRESS: _ADDRESS,
        IDEMPOTENCY_KEY: HeaderRuleSpec(required=True, methods=("POST",), paths=("/**/payments",), max_length=40),
    },
    "ksa": _UK,  # its tests reuse the UK's steps
    "custom": {},  # every rule is written in the profile
}
