"""AuthorizationPolicies of a workload → AccessPolicies.

Rule 1: a DENY that is not carried over whole denies more or is not written; an ALLOW allows less.
Rule 2: without an ALLOW policy Istio allows what nothing denies, so that says a policy of its own.
"""

import hashlib
from collections.abc import Collection, Sequence
from typing import Any, Final

from msgspec import Struct

from extauthz.bundle.kinds import MAX_NAME
from extauthz.mesh.api import AuthorizationPolicy
from extauthz.mesh.claims import Words
from extauthz.mesh.context import Context
from extauthz.mesh.documents import Document
from extauthz.mesh.report import Report
from extauthz.mesh.rules import to_rules
from extauthz.mesh.workload import unknown_in

DEFAULT: Final = "istio-without-allow-policy"
_HASH_DIGITS: Final = 8
_MODES: Final = {"ALLOW": "allow", "DENY": "deny", "AUDIT": "allow", "CUSTOM": "deny"}


class Options(Struct, frozen=True, kw_only=True):
    """How policies are read."""

    trust_domains: tuple[str, ...]
    providers: frozenset[str]  # CUSTOM providers that are this server
    words: Words
    issuers: tuple[str, ...] = ()  # whose tokens are taken


Policies = list[tuple[str, dict[str, Any], str]]  # name, `spec`, and where it is from


def to_policies(documents: Sequence[Document], options: Options, report: Report) -> Policies:
    """Translate the policies that apply to a workload."""
    found: Policies = []
    for document in documents:
        spec = _spec(document, options, report)
        if spec is not None:
            found.append((policy_name(document), spec, document.title))
    if not any(_is_allow(document) for document in documents):
        spec = {"effect": "allow", "rules": [{"name": "everything"}]}
        found.append((DEFAULT, spec, "no ALLOW policy applies to the workload, so Istio allows what nothing denies"))
    return found


def refuses(document: Document) -> bool:
    """Whether a document may refuse requests by itself: a bad token, or what a DENY or CUSTOM policy matches."""
    if document.kind == "RequestAuthentication":
        return True
    return document.spec.action in {"DENY", "CUSTOM"} and not document.dry_run


def _is_allow(document: Document) -> bool:
    """Whether Istio takes the policy for one that must match: also one of which nothing was carried over."""
    return (document.spec.action or "ALLOW") == "ALLOW" and not document.dry_run


def _spec(document: Document, options: Options, report: Report) -> dict[str, Any] | None:
    policy: AuthorizationPolicy = document.spec
    action = policy.action or "ALLOW"
    enforced = action != "AUDIT" and not document.dry_run
    denies = refuses(document)
    if unknown := unknown_in(document, AuthorizationPolicy):  # of one that is not enforced, or an ALLOW
        message = f"`{unknown[0]}` is not known to extauthz; the policy is left out"
        report.add(document, (unknown[0],), "lost", message, "write it by hand")
        return None
    if action == "CUSTOM":
        if asks_us(document, options.providers):
            return None
        if enforced:
            report.add(
                document,
                ("provider",),
                "lost",
                "another server decides here too, and nobody knows what it would say; what these rules match is denied",
                "say `--provider NAME` if this policy asks extauthz; else keep it in the mesh and leave it out here",
                denial=True,
            )
    context = Context(document, report, denies, options.trust_domains, options.words, options.issuers)
    rules = [each for at, rule in enumerate(policy.rules or []) for each in to_rules(rule, at, context)]
    if not rules:
        if action == "ALLOW" and not policy.rules and enforced:
            message = "a policy without rules allows nothing: that is so without a document here"
            report.add(document, ("rules",) if "rules" in _written(document) else (), "note", message)
        return None
    spec: dict[str, Any] = {"effect": _MODES[action]}
    if not enforced:
        spec["mode"] = "shadow"
    return {**spec, "rules": rules}


def asks_us(document: Document, providers: Collection[str]) -> bool:
    """Whether a CUSTOM policy is what sends requests to extauthz."""
    provider = document.spec.provider
    return provider is not None and provider.name in providers


def asks_about_everything(document: Document) -> bool:
    """Whether a CUSTOM policy matches every request."""
    return any(document.raw(("rules", at)) == {} for at in range(len(document.spec.rules or [])))


def _written(document: Document) -> dict[str, Any]:
    value: Any = document.tree.value
    for step in document.root:
        value = value[step]
    return value.get("spec") or {}


def policy_name(document: Document) -> str:
    """`<namespace>.<name>`, cut and made unique where that is too long."""
    full = f"{document.namespace}.{document.name}"
    if len(full) <= MAX_NAME:
        return full
    digest = hashlib.sha256(full.encode()).hexdigest()[:_HASH_DIGITS]
    return f"{full[: MAX_NAME - _HASH_DIGITS - 1].rstrip('.-')}-{digest}"
