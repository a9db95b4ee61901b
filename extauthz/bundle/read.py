"""Files in memory → a snapshot, or every reason why there is none. Pure: the caller reads the files.

Rule: whatever the bytes, the end is `Built` or `BundleError`.
"""

import gc
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from extauthz.bundle.cases import Case, check_cases, read_cases
from extauthz.bundle.compile import Compiled, compile_documents
from extauthz.bundle.documents import Document, Documents, read_documents
from extauthz.bundle.emergency_lint import lint_ended
from extauthz.bundle.finding import BundleError, Finding, Step, in_order
from extauthz.bundle.kinds import KINDS, BundleSpec
from extauthz.bundle.lint import lint, same_routes
from extauthz.bundle.memory import Memory
from extauthz.bundle.name_lint import lint_names
from extauthz.bundle.rule_lint import examine, lint_rules
from extauthz.bundle.trust import write_public_key
from extauthz.identity import Issuer
from extauthz.model.letting_go import let_go
from extauthz.model.ports import NoTokenCache, TokenCache
from extauthz.snapshot import ProfileIndex, Snapshot

UNNAMED = "bundle"  # what a bundle is called that has no Bundle document
_SHORT_DIGEST = 12  # hex digits that stand for a revision without a name, as in version control


class Built(Struct, frozen=True):
    """A bundle that may be activated, once its tests pass."""

    snapshot: Snapshot  # with the keys of issuers whose keys are files; others come from the network
    issuers: tuple[Issuer, ...]
    warnings: list[Finding]
    tests: tuple[Case, ...]
    name: str = UNNAMED  # of the Bundle document
    data: Mapping[str, Any] = {}  # what conditions read as `data.<file>`


def read_bundle(files: Mapping[str, bytes], tokens: TokenCache, memory: Memory | None = None) -> Built:
    """Compile the files of a bundle, by path below its directory. Raises BundleError with all findings.

    With `memory` what did not change since the last time is used again.
    """
    with collector_paused():
        documents, compiled, findings = _compile(files, memory)
        built = _build(documents, compiled, findings, bundle_digest(files), tokens)
        let_go(*documents.by_kind.values(), documents.findings, compiled.findings, findings)
        return built


class Opened(Struct, frozen=True):
    """A bundle with the documents it was made of: for those who change one and look what happens."""

    documents: Documents
    compiled: Compiled
    built: Built


def open_bundle(files: Mapping[str, bytes]) -> Opened:
    """As `read_bundle`, for tools."""
    documents, compiled, findings = _compile(files)
    return Opened(documents, compiled, _build(documents, compiled, findings, bundle_digest(files), NoTokenCache()))


def lint_bundle(files: Mapping[str, bytes], now: int = 0) -> Built:
    """As `read_bundle`, with the warnings that take too long for a server: rules that never decide, names, breadth.

    `now`, in seconds since the epoch, tells which Emergencies are over.
    """
    with collector_paused():
        documents, compiled, findings = _compile(files)
        examined = examine(documents)
        findings = [
            *findings,
            *lint_rules(documents, compiled, examined),
            *lint_names(documents, compiled, examined),
            *lint_ended(documents, now),
        ]
        return _build(documents, compiled, findings, bundle_digest(files), NoTokenCache())


def _compile(files: Mapping[str, bytes], memory: Memory | None = None) -> tuple[Documents, Compiled, list[Finding]]:
    """The documents, what they compile to, and warnings. Raises BundleError when there is an error."""
    documents = read_documents(files, memory)
    compiled = compile_documents(documents, files, memory)
    findings = documents.findings + compiled.findings + check_cases(documents)
    findings += same_routes(documents, compiled.profiles) + _whole(documents, files)
    if not _has_error(findings):
        findings += lint(documents, compiled)
    if _has_error(findings):
        broken: list[tuple[Step, list[Finding]]] = [("parse", documents.findings), ("compile", compiled.findings)]
        raise BundleError(findings, next((step for step, found in broken if _has_error(found)), "lint"))
    return documents, compiled, findings


def bundle_digest(files: Mapping[str, bytes]) -> str:
    """SHA-256, hex, over every path and content in order of the paths, each with its length in front."""
    digest = hashlib.sha256()
    for path in sorted(files):
        for part in (path.encode("utf-8", "surrogatepass"), files[path]):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()


def _has_error(findings: list[Finding]) -> bool:
    return any(finding.severity == "error" for finding in findings)


def _build(documents: Documents, compiled: Compiled, findings: list[Finding], digest: str, tokens: TokenCache) -> Built:
    about: Document | None = documents.one("Bundle")
    spec: BundleSpec = about.spec if about else BundleSpec()
    snapshot = Snapshot(
        revision=spec.revision or digest[:_SHORT_DIGEST],
        digest=digest,
        profiles=ProfileIndex(compiled.profiles),
        keys=compiled.keys,
        tenants=compiled.tenants,
        policies=compiled.policies,
        emergencies=compiled.emergencies,
        keeping=compiled.keeping,
        approvers={name: write_public_key(key) for name, key in (compiled.approvers or {}).items()},
        tokens=tokens,
        documents={kind: len(documents.by_kind[kind]) for kind in KINDS},
    )
    begins = {summary.id: summary.begin for summary in compiled.emergencies.summaries}
    tests = documents.by_kind["PolicyTest"]
    cases = [case for document in tests for case in read_cases(document, compiled.issuers, begins)]
    return Built(
        snapshot=snapshot,
        issuers=tuple(compiled.issuers.values()),
        warnings=in_order(findings),
        tests=tuple(cases),
        name=about.name if about else UNNAMED,
        data=documents.data,
    )


def _whole(documents: Documents, files: Mapping[str, bytes]) -> list[Finding]:
    """What is wrong with the bundle as a whole."""
    if documents.names["SecurityProfile"] or documents.names["AccessPolicy"] or documents.findings:
        return []
    what = "no SecurityProfile and no AccessPolicy was found" if files else "no file was found"
    return [Finding(file="bundle.yaml", message=f"{what}: is this the directory of a bundle?")]


@contextmanager
def collector_paused() -> Iterator[None]:
    """Nothing that is built here is garbage yet: the collector would walk it again and again (3.9 s instead of 0.6)."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
