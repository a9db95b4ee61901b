"""Files of Istio → files of a bundle for one workload, and everything that is not as it was.

Rule 1: what is written passes the linter; an import that would not is a defect of ours and writes nothing.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from extauthz.bundle import BundleError, Finding, lint_bundle
from extauthz.mesh.documents import KINDS, Document, Read, read_documents
from extauthz.mesh.identities import DEFAULT_TRUST_DOMAIN
from extauthz.mesh.issuers import Issuers, to_issuers
from extauthz.mesh.policies import DEFAULT, Options, Policies, asks_about_everything, asks_us, refuses, to_policies
from extauthz.mesh.report import Change, Report
from extauthz.mesh.validation import uncovered, wrong
from extauthz.mesh.workload import ROOT_NAMESPACE, Workload, labels_of, selects, unknown_in
from extauthz.mesh.write import document


class ImportOptions(Struct, frozen=True, kw_only=True):
    """What the documents do not say themselves."""

    namespace: str = ""  # of the workload; may be left out where only one is spoken of
    labels: dict[str, str] | None = None  # of the workload; None: not said
    targets: frozenset[tuple[str, str]] = frozenset()  # (kind, name) of what the workload serves
    root_namespace: str = ROOT_NAMESPACE
    default_namespace: str = ""  # of documents that name none
    trust_domains: tuple[str, ...] = (DEFAULT_TRUST_DOMAIN,)  # the mesh's own first, then its aliases
    providers: frozenset[str] = frozenset()  # CUSTOM providers that are this server
    audiences: Mapping[str, str] = {}  # by issuer, for rules that name none
    name: str = ""  # of the bundle; the namespace when left out


class Imported(Struct, frozen=True, kw_only=True):
    """The bundle, and the report about it."""

    files: dict[str, bytes]
    changes: list[Change]
    workload: Workload
    applied: list[str]  # titles of documents that the bundle is made of
    elsewhere: list[str]  # of those for other workloads
    others: dict[str, int]  # kinds of documents that say nothing about access, and how many
    refuses: bool  # what is lost would have refused requests: not to be written, unless more may be denied
    is_whole: bool


def import_istio(files: Mapping[str, bytes], options: ImportOptions) -> Imported:
    """Translate. Raises BundleError for input that is wrong, with file and line."""
    read = read_documents(files, options.default_namespace)
    if findings := [finding for each in read.documents for finding in wrong(each)]:
        raise BundleError(findings)
    workload = _workload(read, options)
    applied = [each for each in read.documents if selects(each, workload)]
    if not applied:
        raise BundleError([_nothing(read, workload, next(iter(files), ""))])
    if findings := [_unknown(each) for each in applied if refuses(each) and unknown_in(each, KINDS[each.kind])]:
        raise BundleError(findings)
    policies_of_istio = [each for each in applied if each.kind == "AuthorizationPolicy"]
    ours = [each for each in policies_of_istio if asks_us(each, options.providers)]
    if findings := [uncovered(each) for each in ours if not asks_about_everything(each)]:
        raise BundleError(findings)
    report = Report()
    rules = [each for each in applied if each.kind == "RequestAuthentication"]
    issuers = to_issuers(rules, options.audiences, report)
    chosen = Options(
        trust_domains=options.trust_domains,
        providers=options.providers,
        words=issuers.words,
        issuers=issuers.accepted,
    )
    policies = to_policies(policies_of_istio, chosen, report)
    _note_whole(applied[0], issuers, policies, report)
    written = _files(options.name or workload.namespace, issuers, policies)
    _check(written)
    return Imported(
        files=written,
        changes=report.changes,
        workload=workload,
        applied=[each.title for each in applied],
        elsewhere=[each.title for each in read.documents if each not in applied],
        others=read.others,
        refuses=report.refuses,
        is_whole=report.is_whole,
    )


def _workload(read: Read, options: ImportOptions) -> Workload:
    namespaces = sorted({each.namespace for each in read.documents} - {options.root_namespace})
    namespace = options.namespace
    findings: list[Finding] = []
    if not namespace:
        if len(namespaces) > 1:
            named = ", ".join(f"`{each}`" for each in namespaces)
            findings.append(_about(read.documents[0], f"which workload is meant? say `--namespace`, one of {named}"))
        namespace = namespaces[0] if namespaces else options.root_namespace
    near = [each for each in read.documents if each.namespace in {namespace, options.root_namespace}]
    chosen = [each for each in near if labels_of(each)]
    if chosen and options.labels is None:
        selectors = sorted({_selector(each) for each in chosen})
        known = "; ".join(f"`{each}`" for each in selectors)
        message = f"which workload is meant? say its labels with `--label`, or `--no-labels`: selectors are {known}"
        findings.append(_about(chosen[0], message))
    if findings:
        raise BundleError(findings)
    return Workload(
        namespace=namespace,
        labels=options.labels or {},
        targets=options.targets,
        root_namespace=options.root_namespace,
    )


def _selector(each: Document) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(labels_of(each).items()))


def _about(each: Document, message: str) -> Finding:
    return each.tree.error((*each.root, "spec"), message)


def _unknown(each: Document) -> Finding:
    """What a field may refuse that nobody here knows, nobody here can make up for."""
    name = unknown_in(each, KINDS[each.kind])[0]
    message = f"`{name}` is not known to extauthz: write this {each.kind} by hand and leave it out here"
    return each.tree.error(each.place((name,)), message)


def _nothing(read: Read, workload: Workload, file: str) -> Finding:
    labels = ",".join(f"{name}={value}" for name, value in sorted(workload.labels.items())) or "no labels"
    found = f", of {len(read.documents)} read" if read.documents else ""
    message = (
        f"no document applies to the workload with {labels} in namespace `{workload.namespace}`{found}: "
        "Istio would allow everything, and such a bundle is not written"
    )
    return Finding(file=file, message=message)


def _files(name: str, issuers: Issuers, policies: Policies) -> dict[str, bytes]:
    """The bundle: one file for each document."""
    files = {"bundle.yaml": document("Bundle", name, {})}
    authentication: dict[str, Any] = {"mode": "none"}
    if issuers.documents:
        authentication = {"mode": "optional", "issuers": [*issuers.documents], "formBody": "ignore"}
    profile = {"match": {"hosts": ["*"], "paths": ["/**"]}, "authentication": authentication}
    about = "A token may be missing, unless a policy asks for one; a bad one is refused: as Istio has it."
    files["profile.yaml"] = document("SecurityProfile", name, profile, about)
    for issuer, spec in issuers.documents.items():
        files[f"issuers/{issuer}.yaml"] = document("Issuer", issuer, spec)
    files.update(issuers.keys)
    for policy, spec, about in _guards(issuers) + policies:
        if spec["effect"] == "allow" and spec.get("mode") != "shadow":
            _add_obligations(spec, issuers)
        files[f"policies/{policy}.yaml"] = document("AccessPolicy", policy, spec, about)
    return files


def _guards(issuers: Issuers) -> Policies:
    about = "Tokens that Istio would verify and extauthz does not read: refused, so that nobody passes as nobody."
    if not issuers.refused:
        return []
    rules = [{"name": name, "condition": condition} for name, condition in issuers.refused.items()]
    return [("istio-unread-tokens", {"effect": "deny", "rules": rules}, about)]


def _note_whole(first: Document, issuers: Issuers, policies: Policies, report: Report) -> None:
    """What no single place of the input says."""
    names = {name for name, _, _ in policies}
    if DEFAULT in names:
        message = "no ALLOW policy applies to the workload: what nothing denies is allowed, as in Istio"
        report.add(first, (), "note", message, f"delete `policies/{DEFAULT}.yaml` to deny what nothing allows")
    if issuers.headers.removed or issuers.headers.upstream:
        message = "allow rules remove the token or set headers: they do not speak about connections without HTTP"
        instead = "write a rule without `obligations` for ports that serve no HTTP"
        report.add(first, (), "note", message, instead)


def _add_obligations(spec: dict[str, Any], issuers: Issuers) -> None:
    obligations: dict[str, Any] = {}
    if issuers.headers.upstream:
        obligations["upstreamHeaders"] = dict(issuers.headers.upstream)
    if issuers.headers.removed:
        obligations["removeHeaders"] = list(issuers.headers.removed)
    if obligations:
        for rule in spec["rules"]:
            rule["obligations"] = obligations


def _check(files: dict[str, bytes]) -> None:
    try:
        lint_bundle(files)
    except BundleError as error:
        raise ImportDefectError(error) from None


class ImportDefectError(Exception):
    """The import made a bundle that cannot be used: a defect of the import, not of its input."""

    def __init__(self, error: BundleError) -> None:
        self.findings = error.findings
        super().__init__(str(error))
