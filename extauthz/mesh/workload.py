"""Which workload an import is for, and which documents speak about it.

Rule 1: one bundle is for one workload. A request does not say truthfully which workload it is for: its labels never
arrive, and `Host` is the client's; so selectors cannot become conditions.
"""

from typing import Any, Final

from msgspec import Struct

from extauthz.mesh.api import TargetRef
from extauthz.mesh.documents import Document, unknown_fields

ROOT_NAMESPACE: Final = "istio-system"


class Workload(Struct, frozen=True, kw_only=True):
    """What Istio goes by when it chooses the policies of a proxy."""

    namespace: str
    labels: dict[str, str] = {}
    targets: frozenset[tuple[str, str]] = frozenset()  # kind and name of what it serves, for `targetRefs`
    root_namespace: str = ROOT_NAMESPACE


def selects(document: Document, workload: Workload) -> bool:
    """Whether Istio applies the document to the workload."""
    if document.namespace not in {workload.namespace, workload.root_namespace}:
        return False
    refs = target_refs(document)
    if refs:
        return any((ref.kind, ref.name) in workload.targets for ref in refs)
    wanted = labels_of(document)
    return all(workload.labels.get(name) == value for name, value in wanted.items())


def target_refs(document: Document) -> list[TargetRef]:
    """What the document is attached to; none when a selector chooses."""
    spec: Any = document.spec
    return [*([spec.target_ref] if spec.target_ref else []), *(spec.target_refs or [])]


def labels_of(document: Document) -> dict[str, str]:
    """Labels of the selector; none when it chooses every workload."""
    selector = document.spec.selector
    return (selector.match_labels or {}) if selector is not None else {}


def unknown_in(document: Document, struct: type[Struct]) -> list[str]:
    """Fields of the `spec` that nobody here knows."""
    value: Any = document.tree.value
    for step in document.root:
        value = value[step]
    return unknown_fields(value.get("spec"), struct)
