"""Istio's documents as they are written: AuthorizationPolicy and RequestAuthentication of `security.istio.io`.

Rule 1: a field that is not known here is kept apart, never ignored: it may be what restricts a rule.
Rule 2: what Istio's own validation refuses is wrong input; nothing is guessed about it.
"""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from extauthz.bundle import BundleError, Finding, Tree, bind, parse_yaml
from extauthz.mesh.api import AuthorizationPolicy, RequestAuthentication
from extauthz.model.problems import Location

GROUP: Final = "security.istio.io"
VERSIONS: Final = (f"{GROUP}/v1", f"{GROUP}/v1beta1")
DRY_RUN: Final = "istio.io/dry-run"


KINDS: Final[dict[str, type[Struct]]] = {
    "AuthorizationPolicy": AuthorizationPolicy,
    "RequestAuthentication": RequestAuthentication,
}


class Document(Struct, frozen=True):
    """One document, and where it was written."""

    kind: str
    namespace: str
    name: str
    spec: Any  # the struct that KINDS names
    dry_run: bool
    tree: Tree
    root: Location  # of the document in its tree: not empty within a List

    @property
    def title(self) -> str:
        """As people name it."""
        return f"{self.kind} {self.namespace}/{self.name}"

    def raw(self, location: Location) -> Any:  # noqa: ANN401 - any YAML value
        """What is written at a place below `spec`."""
        value = self.tree.value
        for step in (*self.root, "spec", *location):
            value = value[step]
        return value

    def place(self, location: Location) -> Location:
        """The place in the file's tree."""
        return (*self.root, "spec", *location)


class Read(Struct, frozen=True):
    """Everything that files say."""

    documents: list[Document]
    others: dict[str, int]  # kinds of documents that are not Istio's policies, and how many


def read_documents(files: Mapping[str, bytes], default_namespace: str = "") -> Read:
    """Read all files, by the names to report them under. Raises BundleError with everything that is wrong."""
    documents: list[Document] = []
    others: dict[str, int] = {}
    findings: list[Finding] = []
    for name in files:
        try:
            trees = parse_yaml(files[name], name)
        except BundleError as error:
            findings += error.findings
            continue
        for tree in trees:
            for root in _roots(tree, findings):
                _read_one(tree, root, default_namespace, documents, others, findings)
    findings += _twice(documents)
    if findings:
        raise BundleError(findings)
    return Read(documents, others)


def _roots(tree: Tree, findings: list[Finding]) -> list[Location]:
    """The documents in one YAML document: itself, or the items of a List."""
    if not isinstance(tree.value, dict):
        findings.append(tree.error((), "expected a Kubernetes document, a mapping with `kind`"))
        return []
    if not str(tree.value.get("kind", "")).endswith("List"):
        return [()]
    items = tree.value.get("items")
    if not isinstance(items, list):
        findings.append(tree.error(("items",), "expected a list of documents"))
        return []
    return [("items", at) for at in range(len(items))]


def _read_one(
    tree: Tree,
    root: Location,
    default_namespace: str,
    documents: list[Document],
    others: dict[str, int],
    findings: list[Finding],
) -> None:
    value = tree.value
    for step in root:
        value = value[step]
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        findings.append(tree.error((*root, "kind"), "expected a Kubernetes document, a mapping with `kind`"))
        return
    kind, version = value["kind"], value.get("apiVersion")
    if kind not in KINDS or not str(version).startswith(f"{GROUP}/"):
        others[kind] = others.get(kind, 0) + 1
        return
    if version not in VERSIONS:
        findings.append(
            tree.error((*root, "apiVersion"), f"unknown version `{version}`: known are {_ticked(VERSIONS)}")
        )
        return
    metadata = value.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        findings.append(tree.error((*root, "metadata"), f"{kind} without `metadata.name`"))
        return
    namespace = metadata.get("namespace") or default_namespace
    if not isinstance(namespace, str) or not namespace:
        message = "no namespace: write `metadata.namespace`, or give `--default-namespace`"
        findings.append(tree.error((*root, "metadata"), message))
        return
    annotations = metadata.get("annotations")
    dry_run = isinstance(annotations, dict) and str(annotations.get(DRY_RUN, "")).lower() == "true"
    struct = KINDS[kind]
    spec = struct() if value.get("spec") is None else bind(tree, struct, (*root, "spec"))
    if isinstance(spec, list):
        findings.extend(spec)
        return
    documents.append(Document(kind, namespace, metadata["name"], spec, dry_run, tree, root))


def _twice(documents: list[Document]) -> list[Finding]:
    """One document in two files may be in two states."""
    first: dict[tuple[str, str, str], Document] = {}
    findings = []
    for document in documents:
        other = first.setdefault((document.kind, document.namespace, document.name), document)
        if other is not document:
            at = (*document.root, "metadata", "name")
            where = f"{other.tree.file}:{other.tree.line((*other.root, 'metadata', 'name'))}"
            findings.append(document.tree.error(at, f"{document.title} is already read from {where}: leave one out"))
    return findings


def unknown_fields(raw: object, struct: type[Struct]) -> list[str]:
    """Fields of a mapping that this version knows nothing of."""
    known = set(struct.__struct_encode_fields__)
    return [key for key in raw if key not in known] if isinstance(raw, dict) else []


def _ticked(texts: tuple[str, ...]) -> str:
    return ", ".join(f"`{text}`" for text in texts)
