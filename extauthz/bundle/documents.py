"""The files of a bundle → documents by kind, data and key files. Nothing is compiled here."""

import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from extauthz.bundle.data import DATA, PATCH
from extauthz.bundle.finding import BundleError, Finding, shorten
from extauthz.bundle.kinds import API_VERSION, KINDS, MAX_NAME, SINGLE_KINDS, Envelope
from extauthz.bundle.memory import Memory
from extauthz.bundle.syntax import Tree
from extauthz.model.letting_go import let_go
from extauthz.model.problems import Problem, suggestion

# RFC 1123 labels joined with dots, as Kubernetes names its objects.
NAME_PATTERN: Final = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*"
_NAME = re.compile(NAME_PATTERN)
_YAML: Final = (".yaml", ".yml")
_Bind = Callable[..., Any]  # as `tree.bind`


class Document(Struct, frozen=True):
    """A document whose fields are known; its names are not yet resolved."""

    kind: str
    name: str
    spec: Any  # the struct that KINDS names for `kind`
    tree: Tree

    def findings(self, problems: list[Problem]) -> list[Finding]:
        """Problems of this document with file and line."""
        return [self.tree.finding(problem) for problem in problems]


class Documents(Struct, frozen=True):
    """Everything a bundle's files say."""

    by_kind: dict[str, list[Document]]
    names: dict[str, set[str]]  # by kind: also of documents that are broken, so that others may refer to them
    data: dict[str, Any]  # by file name without extension
    broken_data: set[str]  # names of data files that could not be read
    unread: set[str]  # files whose documents nobody knows, for they could not be parsed
    findings: list[Finding]

    def knows(self, kind: str, name: str) -> bool:
        """Whether a reference is good, or cannot be judged because a file could not be parsed."""
        return name in self.names[kind] or bool(self.unread)

    def one(self, kind: str) -> Document | None:
        """The document of a kind that may appear once."""
        found = self.by_kind[kind]
        return found[0] if found else None


def read_documents(files: Mapping[str, bytes], memory: Memory | None = None) -> Documents:
    """Parse and bind every file, by path below the bundle's directory; all findings are in the result.

    With `memory` files are read that are not known from the last time.
    """
    memory = memory or Memory()
    memory.keep(files)
    documents = Documents({kind: [] for kind in KINDS}, {kind: set() for kind in KINDS}, {}, set(), set(), [])
    seen: dict[tuple[str, str], Tree] = {}
    # Changes to data come behind all data: `a.patch.json` is before `a.yaml`.
    for path in sorted(files, key=lambda path: (f"{PATCH}." in path and path.startswith(DATA), path)):
        try:
            if path.startswith(DATA):
                _add_data(documents, path, files[path], memory)
            elif path.endswith(_YAML):
                for place, tree in enumerate(memory.trees(files[path], path)):
                    _add_document(documents, tree, seen, memory.binder(path, place))
                    tree.lines.pack()  # the rest is asked seldom
        except BundleError as error:
            documents.findings.extend(error.findings)
            if not path.startswith(DATA):
                documents.unread.add(path)
    let_go(seen)
    return documents


def _add_data(documents: Documents, path: str, text: bytes, memory: Memory) -> None:
    stem, extension = posixpath.splitext(path.removeprefix(DATA))
    message = ""
    if stem.endswith(PATCH) and extension in {*_YAML, ".json"}:
        if extension == ".json":
            _add_patch(documents, path, stem.removesuffix(PATCH), text, memory)
        else:
            message = f"changes to data are JSON (RFC 7396): write `{stem}.json`"
            documents.findings.append(Finding(file=path, message=message))
        return
    if "/" in stem:
        message = "data files lie directly in `data/`: move it there"
    elif not stem.isidentifier() or not stem.isascii():
        message = f"conditions read this file as `data.{stem}`: use letters, digits and `_` in its name"
    elif stem in documents.data:
        message = f"`data.{stem}` is already read from another file: remove one"
    elif extension in {*_YAML, ".json"}:
        documents.data[stem] = None  # a broken file still has a name that others may refer to
        documents.broken_data.add(stem)
        documents.data[stem] = memory.data(text, path)
        documents.broken_data.remove(stem)
    if message:
        documents.findings.append(Finding(file=path, message=message))


def _add_patch(documents: Documents, path: str, name: str, text: bytes, memory: Memory) -> None:
    """Changes to a data file that was read before."""
    if name in documents.broken_data:
        return
    if name not in documents.data:
        message = f"there is no data file `{name}` that this could change"
        documents.findings.append(Finding(file=path, message=message, code="unknown-name"))
        return
    documents.broken_data.add(name)
    documents.data[name] = memory.patched(name, documents.data[name], text, path)
    documents.broken_data.remove(name)


def _add_document(documents: Documents, tree: Tree, seen: dict[tuple[str, str], Tree], bind: _Bind) -> None:
    envelope = _read_envelope(documents, tree, bind)
    if envelope is None:
        return
    kind, name = envelope.kind, envelope.metadata.name
    first = seen.setdefault((kind, "" if kind in SINGLE_KINDS else name), tree)
    if first is not tree:
        what = (
            f"a bundle has at most one {kind}" if kind in SINGLE_KINDS else f"{kind} `{shorten(name)}` exists already"
        )
        message = f"{what}, see {first.file}:{first.line(('metadata', 'name'))}: remove or rename one"
        documents.findings.append(tree.error(("metadata", "name"), message, "duplicate-name"))
        return
    spec = bind(tree, KINDS[kind], ("spec",))
    if isinstance(spec, list):
        documents.findings.extend(spec)
    else:
        documents.by_kind[kind].append(Document(kind, name, spec, tree))


def _read_envelope(documents: Documents, tree: Tree, bind: _Bind) -> Envelope | None:
    """The envelope if it says what the document is; a wrong name or version is reported and read on."""
    findings = documents.findings
    bound: Envelope | list[Finding] = bind(tree, Envelope)
    if isinstance(bound, list):
        findings.extend(bound)
        _note_name(documents, tree.value)
        return None
    if bound.api_version != API_VERSION:
        message = f"unknown version `{shorten(bound.api_version)}`: write `{API_VERSION}`"
        findings.append(tree.error(("apiVersion",), message, "unknown-kind"))
    if bound.kind not in KINDS:
        message = f"unknown kind `{shorten(bound.kind)}`{suggestion(bound.kind, list(KINDS))}"
        findings.append(tree.error(("kind",), message, "unknown-kind"))
        for names in documents.names.values():
            names.add(bound.metadata.name)  # whatever was meant, it is not missing
        return None
    name = bound.metadata.name
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        message = f"name `{shorten(name)}` must be 1 to {MAX_NAME} lower-case letters, digits, `-` and `.`"
        findings.append(tree.error(("metadata", "name"), message, "invalid-value"))
    documents.names[bound.kind].add(name)
    return bound


def _note_name(documents: Documents, value: object) -> None:
    """Remember what a broken document is called, so that whoever refers to it is not reported too."""
    match value:
        case {"kind": str(kind), "metadata": {"name": str(name)}} if kind in KINDS:
            documents.names[kind].add(name)
