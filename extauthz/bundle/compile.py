"""Documents → what a decision reads. Every room compiles its own; here names are resolved between them.

Rule: a document that refers to a broken one is not compiled, so that one mistake is reported once.
"""

from collections.abc import Mapping

from msgspec import Struct

from extauthz.bundle.approvals import Approvers, compile_approvers
from extauthz.bundle.data import parse_json
from extauthz.bundle.documents import Document, Documents
from extauthz.bundle.emergencies import compile_emergency
from extauthz.bundle.fapi_profile import apply_profile
from extauthz.bundle.finding import BundleError, Finding
from extauthz.bundle.keep import compile_keeping
from extauthz.bundle.kinds import SecurityProfileSpec
from extauthz.bundle.memory import Memory
from extauthz.bundle.policies import compile_all
from extauthz.bundle.revocations import Known, compile_revocation, issuer_names
from extauthz.bundle.sender import compile_sender_constraint
from extauthz.bundle.signing import compile_signing
from extauthz.guards import (
    Entry,
    Glass,
    Listed,
    StepUp,
    Summary,
    TenancySpec,
    TenantRegistry,
    compile_fapi,
    compile_registry,
    compile_step_up,
    compile_tenancy,
    listed,
)
from extauthz.identity import (
    Authentication,
    Issuer,
    JwksError,
    KeySet,
    compile_authentication,
    compile_issuer,
    parse_jwks,
)
from extauthz.model.hosts import HostPattern, parse_host_pattern
from extauthz.model.keeping import Keeping
from extauthz.model.paths import PathPattern, parse_pattern
from extauthz.model.problems import Location, Problem, suggestion
from extauthz.model.subject import SERVICE
from extauthz.policy import PolicyMemory, PolicySet
from extauthz.snapshot import Profile


class Compiled(Struct, frozen=True):
    """The parts of a snapshot; usable only when there is no error in `findings`."""

    issuers: dict[str, Issuer]
    keys: dict[str, KeySet]
    tenants: TenantRegistry
    profiles: tuple[Profile, ...]
    policies: PolicySet
    emergencies: Listed
    approvers: Approvers | None
    keeping: Keeping
    findings: list[Finding]


def compile_documents(documents: Documents, files: Mapping[str, bytes], memory: Memory | None = None) -> Compiled:
    """Compile everything that can be compiled; `files` for the key files that issuers and profiles name."""
    findings: list[Finding] = []
    issuers: dict[str, Issuer] = {}
    keys: dict[str, KeySet] = {}
    for document in documents.by_kind["Issuer"]:
        problems: list[Problem] = []
        if document.name == SERVICE:
            message = f"an Issuer cannot be called `{SERVICE}`: that name stands for services in their own name"
            problems.append(Problem(("metadata", "name"), message))
        issuer = compile_issuer(document.name, document.spec, problems)
        if issuer is not None:
            issuers[issuer.name] = issuer
            if issuer.jwks_file:
                _add_keys(keys, issuer, files, problems)
        findings += document.findings(problems)
    findings += _same_issuer(documents.by_kind["Issuer"], issuers)

    tenants, tenancy = _compile_tenants(documents, findings)
    profiles = [
        profile
        for document in documents.by_kind["SecurityProfile"]
        if (profile := _compile_profile(document, documents, issuers, (tenancy, tenants), files, findings))
    ]
    known = memory.policies if memory is not None else PolicyMemory()
    policies = compile_all(documents, tenants, profiles, findings, known)
    approvers = _compile_approvers(documents, findings)
    emergencies = _compile_emergencies(documents, issuers, tenants, approvers, findings)
    keeping = compile_keeping(documents, issuers, profiles, policies, files)
    return Compiled(issuers, keys, tenants, tuple(profiles), policies, emergencies, approvers, keeping, findings)


def _add_keys(keys: dict[str, KeySet], issuer: Issuer, files: Mapping[str, bytes], problems: list[Problem]) -> None:
    location: Location = ("spec", "jwks", "file")
    name = issuer.jwks_file
    if name not in files:
        known = [path for path in files if path.endswith(".json")]
        problems.append(Problem(location, f"unknown file `{name}`{suggestion(name, known)}", code="unknown-name"))
        return
    try:
        parse_json(files[name], name)  # for its caps and its refusal of duplicate keys
        keys[issuer.name], left_out = parse_jwks(files[name], issuer)
    except BundleError as error:
        problems += [Problem(location, str(finding)) for finding in error.findings]
    except JwksError as error:
        problems.append(Problem(location, f"`{name}`: {error}"))
    else:
        problems += [Problem(location, f"`{name}`: {why}", "warning", "unusable-key") for why in left_out]


def _same_issuer(documents: list[Document], issuers: Mapping[str, Issuer]) -> list[Finding]:
    """A token names its issuer by `iss` alone, so two documents for one `iss` could not be told apart in a profile."""
    findings = []
    first: dict[str, str] = {}
    for document in documents:
        if document.name not in issuers:
            continue
        for iss in issuers[document.name].spellings:
            other = first.setdefault(iss, document.name)
            if other != document.name:
                message = f"`{iss}` is also the issuer of `{other}`: a profile can accept only one of them"
                findings.append(document.tree.warning(("spec", "issuer"), message, "shared-issuer"))
                break
    return findings


def _compile_tenants(documents: Documents, findings: list[Finding]) -> tuple[TenantRegistry, TenancySpec | None]:
    document = documents.one("Tenancy")
    if document is None or document.spec.tenants.removeprefix("data.") in documents.broken_data:
        return compile_registry(None, documents.data, []), None
    problems: list[Problem] = []
    issuers = None if documents.unread else frozenset(documents.names["Issuer"])
    registry = compile_registry(document.spec, documents.data, problems, issuers)
    findings += document.findings(problems)
    return registry, document.spec


def _compile_step_up(
    spec: SecurityProfileSpec, authentication: Authentication | None, problems: list[Problem]
) -> StepUp | None:
    at: Location = ("spec", "stepUp")
    if spec.step_up is None:
        return None
    step_up = compile_step_up(spec.step_up, problems, at)
    if spec.authentication.mode == "none":
        problems.append(Problem(at, "mode `none` verifies nobody, so nobody could meet this"))
    issuers = () if authentication is None else authentication.issuers
    if issuers and step_up is not None and step_up.reads_contexts and not any(found.claims.acrs for found in issuers):
        message = "no issuer of this profile lists contexts, so nobody could meet `acrs`: set its `claims.acrs`"
        problems.append(Problem(at, message))
    return step_up


def _compile_profile(
    document: Document,
    documents: Documents,
    issuers: Mapping[str, Issuer],
    tenants: tuple[TenancySpec | None, TenantRegistry],
    files: Mapping[str, bytes],
    findings: list[Finding],
) -> Profile | None:
    problems: list[Problem] = []
    spec: SecurityProfileSpec = apply_profile(document.spec, document.tree.value["spec"], issuers, problems)
    hosts = _compile_hosts(spec.match.hosts, problems, ("spec", "match", "hosts"))
    paths = _compile_paths(spec.match.paths, problems, ("spec", "match", "paths"))
    broken = {name for name in spec.authentication.issuers if documents.knows("Issuer", name)} - issuers.keys()
    authentication = None
    if not broken:
        location: Location = ("spec", "authentication")
        authentication = compile_authentication(spec.authentication, issuers, problems, location)
    _check_service_tenants(spec, tenants[1], problems)
    fapi = compile_fapi(spec.fapi, problems, ("spec", "fapi")) if spec.fapi else None
    tenancy = None
    tenancy_is_broken = tenants[0] is None and (documents.names["Tenancy"] or documents.unread)
    if spec.tenancy and not tenancy_is_broken:
        tenancy = compile_tenancy(spec.tenancy, *tenants, problems, ("spec", "tenancy"))
    step_up = _compile_step_up(spec, authentication, problems)
    sender, possession = compile_sender_constraint(spec, problems)
    signing = compile_signing(spec, documents, files, possession.dpop.origins, problems)
    findings += document.findings(problems)
    if authentication is None:
        return None
    proceed = spec.audit.when_unavailable == "proceed"
    return Profile(
        document.name,
        hosts,
        paths,
        authentication,
        fapi=fapi,
        tenancy=tenancy,
        step_up=step_up,
        sender=sender,
        possession=possession,
        signing=signing,
        proceed_without_journal=proceed,
    )


def _check_service_tenants(spec: SecurityProfileSpec, registry: TenantRegistry, problems: list[Problem]) -> None:
    """Services act for tenants that exist; what a pattern captures is looked up with each request."""
    for index, mapping in enumerate(spec.authentication.service.tenants):
        if mapping.tenant and len(registry) and registry.get(mapping.tenant) is None:
            at: Location = ("spec", "authentication", "service", "tenants", index, "tenant")
            message = f"unknown tenant `{mapping.tenant}`{suggestion(mapping.tenant, [*registry])}"
            problems.append(Problem(at, message, code="unknown-name"))


def _compile_hosts(texts: tuple[str, ...], problems: list[Problem], at: Location) -> tuple[HostPattern, ...]:
    parsed = [parse_host_pattern(text) for text in texts]
    problems += [Problem((*at, index), pattern) for index, pattern in enumerate(parsed) if isinstance(pattern, str)]
    if not texts:
        problems.append(Problem(at, "an empty list covers nothing: name hosts, or leave the field out to cover all"))
    return tuple(pattern for pattern in parsed if not isinstance(pattern, str))


def _compile_paths(texts: tuple[str, ...], problems: list[Problem], at: Location) -> tuple[PathPattern, ...]:
    parsed = [parse_pattern(text) for text in texts]
    problems += [Problem((*at, index), pattern) for index, pattern in enumerate(parsed) if isinstance(pattern, str)]
    if not texts:
        problems.append(Problem(at, "an empty list covers nothing: name paths, or leave the field out to cover all"))
    return tuple(pattern for pattern in parsed if not isinstance(pattern, str))


def _compile_approvers(documents: Documents, findings: list[Finding]) -> Approvers | None:
    """None when the document that lists them could not be read."""
    about = documents.one("Bundle")
    if about is None:
        return None if documents.unread or documents.names["Bundle"] else {}
    problems: list[Problem] = []
    approvers = compile_approvers(about.spec.approvers, problems, ("spec", "approvers"))
    findings += about.findings(problems)
    return approvers


def _compile_emergencies(
    documents: Documents,
    issuers: Mapping[str, Issuer],
    tenants: TenantRegistry,
    approvers: Approvers | None,
    findings: list[Finding],
) -> Listed:
    """What the bundle revokes, freezes and opens."""
    broken = documents.unread or documents.names["Issuer"] - issuers.keys()
    known = Known(None if broken else issuer_names(issuers.values()), tenants)
    entries: list[Entry] = []
    opened: list[Glass] = []
    summaries: list[Summary] = []
    for document in documents.by_kind["Revocation"]:
        problems: list[Problem] = []
        entries += compile_revocation(document.name, document.spec, known, problems)
        findings += document.findings(problems)
    for document in documents.by_kind["Emergency"]:
        problems = []
        found = compile_emergency(document.name, document.spec, known, approvers, problems)
        findings += document.findings(problems)
        if found is not None:
            entries += found.entries
            opened += [found.glass] if found.glass else []
            summaries.append(found.summary)
    return listed(entries, tuple(opened), tuple(summaries))
