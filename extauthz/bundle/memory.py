"""What was read and compiled of a bundle, to be used again where nothing changed: one file of ten thousand is not all.

Rule 1: a file is the same when its content is, by SHA-256; a policy is the same when its document and all data are.
Rule 2: everything that is kept is never changed, so snapshots may share it.
"""

from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any, Final

from extauthz.bundle.data import DATA, PATCH, merge, read_data
from extauthz.bundle.finding import Finding
from extauthz.bundle.syntax import Tree, parse_yaml
from extauthz.bundle.tree import bind
from extauthz.model.problems import Location
from extauthz.policy import PolicyMemory

_UNREAD: Final = object()


class _File:
    """One file, as far as it was read."""

    __slots__ = ("bound", "digest", "trees", "value")

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self.trees: list[Tree] | None = None
        self.value: Any = _UNREAD  # of a data file
        self.bound: dict[tuple[int, type], Any] = {}  # by place in `trees`


class Memory:
    """Of one source of bundles; one thread uses it."""

    def __init__(self) -> None:
        self.policies = PolicyMemory()
        self._files: dict[str, _File] = {}
        self._patched: dict[str, tuple[Any, Any, Any]] = {}  # what it was made of, and what it is

    def keep(self, paths: Iterable[str]) -> None:
        """Forget files that are no longer there."""
        wanted = set(paths)
        self._files = {path: file for path, file in self._files.items() if path in wanted}
        self._patched = {name: found for name, found in self._patched.items() if f"{DATA}{name}{PATCH}.json" in wanted}

    def trees(self, text: bytes, path: str) -> list[Tree]:
        """The documents of a YAML file. Raises BundleError."""
        file = self._file(text, path)
        if file.trees is None:
            file.trees = parse_yaml(text, path)
        return file.trees

    def data(self, text: bytes, path: str) -> Any:  # noqa: ANN401 - whatever the file holds
        """The value of a data file. Raises BundleError."""
        file = self._file(text, path)
        if file.value is _UNREAD:
            file.value = read_data(text, path)
        return file.value

    def patched(self, name: str, whole: Any, text: bytes, path: str) -> Any:  # noqa: ANN401 - as above
        """The value of a data file with the changes of another (RFC 7396). Raises BundleError."""
        patch = self.data(text, path)
        known = self._patched.get(name)
        if known is None or known[0] is not whole or known[1] is not patch:
            known = self._patched[name] = (whole, patch, merge(whole, patch))
        return known[2]

    def binder(self, path: str, place: int) -> Callable[..., Any]:
        """`bind` for the document at that place of a file: the same struct, or findings, as the last time."""
        known = self._files[path].bound

        def bound(tree: Tree, kind: type, location: Location = ()) -> Any | list[Finding]:  # noqa: ANN401 - as `bind`
            if (place, kind) not in known:
                known[place, kind] = bind(tree, kind, location)
            return known[place, kind]

        return bound

    def _file(self, text: bytes, path: str) -> _File:
        digest = sha256(text).digest()
        file = self._files.get(path)
        if file is None or file.digest != digest:
            file = self._files[path] = _File(digest)
        return file
