"""Every kind of finding about a bundle: stable codes, for `lint --ignore`, pipelines and dashboards.

Rule 1: a code is public API: never renamed, never given a second meaning.
Rule 2: a code is an error's or a warning's, never both: what is an error is not to be ignored.
"""

from typing import Final, Literal

ErrorCode = Literal[
    "syntax",
    "unknown-kind",
    "unknown-field",
    "missing-field",
    "invalid-value",
    "duplicate-name",
    "unknown-name",
    "condition-syntax",
    "duplicate-route",
    "invalid",
    "failed-test",
]
WarningCode = Literal[
    "allows-anyone",
    "absent-matches",
    "broader-than-tenant",
    "computed-names",
    "dead-alternative",
    "financial-id-without-tenancy",
    "foreign-tenant",
    "header-spelling",
    "hidden-route",
    "large-data",
    "missing-financial-id",
    "missing-registry",
    "misspelt-attribute",
    "names-nobody",
    "never-true-condition",
    "only-excludes",
    "outside-fapi",
    "shadowed-rule",
    "shared-financial-id",
    "shared-issuer",
    "unchecked-tenant",
    "uncovered-path",
    "unknown-role",
    "unknown-tenant",
    "unnameable-tenant",
    "unreachable-rule",
    "unusable-key",
    "unused-issuer",
    "unusual-issuer",
]
Code = Literal[ErrorCode, WarningCode]

ERRORS: Final[dict[ErrorCode, str]] = {
    "syntax": "a file cannot be read as YAML or JSON, or says the same key twice",
    "unknown-kind": "a document is of no known kind or version",
    "unknown-field": "a field that does not exist",
    "missing-field": "a field that must be there",
    "invalid-value": "a value of another type or form than the field takes",
    "duplicate-name": "two documents, rules or cases have one name",
    "unknown-name": "a reference to something that does not exist: an issuer, tenant, data file, policy",
    "condition-syntax": "a CEL expression that does not compile, or is of another type",
    "duplicate-route": "two profiles claim the same host and path",
    "invalid": "anything else that cannot be meant; the message says what would be right",
    "failed-test": "a PolicyTest of the bundle fails",
}
WARNINGS: Final[dict[WarningCode, str]] = {
    "allows-anyone": "an allow rule that says nothing about who calls",
    "absent-matches": "`notValues` of an allow rule also holds where the attribute is absent",
    "broader-than-tenant": "an allow rule that lets callers of one tenant at the resources of all",
    "computed-names": "headers or query parameters are read by names that are not known when the bundle loads",
    "dead-alternative": "an alternative of `from` or `to` that no request can be, in a rule that others keep alive",
    "financial-id-without-tenancy": "a financial id is compared with that of the caller's tenant alone",
    "foreign-tenant": "a policy for one tenant names callers of others",
    "header-spelling": "a header whose other spellings with `_` reach upstreams",
    "hidden-route": "a route on which another profile with a more specific host always comes first",
    "large-data": "a large data file is used as a whole instead of being looked up by key",
    "missing-financial-id": "a tenant without the financial id that a profile asks for",
    "missing-registry": "policies name tenants, but no Tenancy says which there are",
    "misspelt-attribute": "an attribute of a tenant that has no meaning and resembles one that has",
    "names-nobody": "an entry of `from` that is empty, so that it matches anyone",
    "never-true-condition": "a condition that is never true for a request that the rest of the rule covers",
    "only-excludes": "an entry of `from` that only excludes callers, so that whoever sends no credential matches",
    "outside-fapi": "an algorithm that FAPI does not know",
    "shadowed-rule": "a rule that never decides, for others that cover all of it come first",
    "shared-financial-id": "two tenants have one financial id",
    "shared-issuer": "two Issuer documents stand for one `iss`",
    "unchecked-tenant": "a path captures a tenant that no guard compares with the caller's",
    "uncovered-path": "a path or host of a policy under no profile",
    "unknown-role": "a role that no test's token carries and no grant names",
    "unknown-tenant": "a tenant that is not registered, in `when` or in a condition",
    "unnameable-tenant": "a tenant's id cannot stand in a host",
    "unreachable-rule": "a rule that no request can match, whoever sends it",
    "unusable-key": "a key of a key file is left out",
    "unused-issuer": "an Issuer that no profile accepts",
    "unusual-issuer": "an issuer that does not look like those of its preset",
}
CODES: Final[dict[str, str]] = {str(code): words for table in (ERRORS, WARNINGS) for code, words in table.items()}
