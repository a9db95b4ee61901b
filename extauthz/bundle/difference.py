"""What another bundle would change, document by document. Pure; only files that differ are read."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from extauthz.bundle.documents import read_documents

_POLICY = "AccessPolicy"
_TESTS = "PolicyTest"


class Difference(Struct, frozen=True, kw_only=True):
    """Names in order. Documents that are no policies as `kind/name`; tests do not decide and are left out."""

    added: tuple[str, ...] = ()  # policies
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()  # others that were added, removed or changed
    files: tuple[str, ...] = ()  # of data and keys, likewise

    def __bool__(self) -> bool:
        """Whether anything would decide otherwise."""
        return any(getattr(self, name) for name in self.__struct_fields__)


def difference(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Difference:
    """What replacing the files `before` by `after` would add, remove and change."""
    paths = sorted({path for path in before.keys() | after.keys() if before.get(path) != after.get(path)})
    old, new = (_documents({path: files[path] for path in paths if path in files}) for files in (before, after))
    changed = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    policies = {name for kind, name in changed if kind == _POLICY}
    return Difference(
        added=tuple(sorted(name for name in policies if (_POLICY, name) not in old)),
        removed=tuple(sorted(name for name in policies if (_POLICY, name) not in new)),
        changed=tuple(sorted(name for name in policies if (_POLICY, name) in old and (_POLICY, name) in new)),
        documents=tuple(sorted(f"{kind}/{name}" for kind, name in changed if kind not in {_POLICY, _TESTS})),
        files=tuple(path for path in paths if not path.endswith((".yaml", ".yml")) or path.startswith("data/")),
    )


def _documents(files: Mapping[str, bytes]) -> dict[tuple[str, str], Any]:
    """Every document by kind and name, as it is written: where it lies does not matter."""
    by_kind = read_documents(files).by_kind
    return {(document.kind, document.name): document.tree.value for found in by_kind.values() for document in found}
