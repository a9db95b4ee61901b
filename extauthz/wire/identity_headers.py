"""Who calls, as the headers that upstreams trust."""

from extauthz.model.decision import Evidence
from extauthz.wire.names import escape
from extauthz.wire.options import OutboundOptions


def identity_headers(evidence: Evidence, options: OutboundOptions) -> tuple[tuple[str, str], ...]:
    """Name and value of each; an empty value stands for a header to remove.

    Values are visible ASCII: `%`, whatever else is no such character, and a list's separator are percent-encoded.
    """
    subject = evidence.subject
    return (
        (options.subject_header, escape(subject.id)),
        (options.issuer_header, escape(subject.issuer)),
        (options.tenant_header, escape(evidence.tenant)),
        (options.client_header, escape(subject.client)),
        (options.roles_header, ",".join([escape(role, ",") for role in subject.roles])),
        (options.scopes_header, " ".join([escape(scope, " ") for scope in subject.scopes])),
    )
