"""A bundle's directory → its files in memory, all of one state.

Rule 1: only regular `.yaml`, `.yml` and `.json` files below the directory; hidden files are skipped, but for the
        manifest and the signatures that `extauthz bundle sign` puts there.
Rule 2: the directory's own links are followed (git-sync links the directory, Kubernetes links `..data` within it);
        no other link may lead out of it.
Rule 3: sizes and counts are capped before anything is read.
"""

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from extauthz.bundle import BundleError, Package, unpack
from extauthz.bundle.finding import refusal
from extauthz.bundle.package import (
    EXTENSIONS,
    MANIFEST_FILE,
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    MAX_SIGNATURE_BYTES,
    MAX_TOTAL_BYTES,
    SIGNATURE_FILE,
)
from extauthz.bundle.syntax import MAX_FILE_BYTES
from extauthz.bundle.verify import Trust, verify_package

_SEAL: Final = {MANIFEST_FILE: MAX_MANIFEST_BYTES, SIGNATURE_FILE: MAX_SIGNATURE_BYTES}
_MAX_ARCHIVE_BYTES: Final = 256 << 20
_ATTEMPTS: Final = 20
_PAUSE: Final = 0.05  # seconds between two attempts to see the directory at rest

# Path below the directory, and what changes when the file does: device, inode, size, modified, changed.
Listing = tuple[tuple[str, tuple[int, int, int, int, int]], ...]


def load_directory(path: Path | str) -> dict[str, bytes]:
    """Every file of the bundle by its path below `path`, with `/`. Raises BundleError."""
    return load_package(path).files


def load_files(path: Path | str) -> dict[str, bytes]:
    """Every file of the bundle in a directory, or in an archive of one; nobody's signature is asked for.

    Raises BundleError.
    """
    if not Path(path).is_file():
        return load_directory(path)
    try:
        with Path(path).open("rb") as file:
            archive = file.read(_MAX_ARCHIVE_BYTES + 1)
    except OSError as error:
        raise _refuse(str(path), f"the archive cannot be read: {_words(error)}") from None
    if len(archive) > _MAX_ARCHIVE_BYTES:
        raise _refuse(str(path), f"the archive has more than {_MAX_ARCHIVE_BYTES} bytes")
    package = unpack(archive, str(path))
    verify_package(package, Trust(), 0.0)
    return package.files


def load_package(path: Path | str) -> Package:
    """The bundle with the manifest and the signatures beside it, if there are any. Raises BundleError.

    Read again when anything changed meanwhile, so that the result never mixes two states.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE)
        try:
            root = find_root(path)
            before = list_files(root)
            files = {name: _read(root, name, state[:2]) for name, state in before}
            if find_root(path) == root and list_files(root) == before:
                manifest, signatures = files.pop(MANIFEST_FILE, None), files.pop(SIGNATURE_FILE, None)
                return Package(files, manifest, signatures)
        except FileNotFoundError:
            continue  # a file or the whole state was replaced under our hands
        except OSError as error:
            raise _refuse(str(path), f"the directory cannot be read: {_words(error)}") from None
    find_root(path)  # says what is missing, if something is
    raise _refuse(str(path), "the directory keeps changing while it is read: write a new one and rename it")


def find_root(path: Path | str) -> Path:
    """The real directory behind the links that publish one: `path` itself, then `..data` within it."""
    try:
        root = Path(path).resolve(strict=True)
        published = root / "..data"
        if published.is_symlink():
            target = published.resolve(strict=True)
            if not target.is_relative_to(root):
                raise _refuse(str(path), "`..data` leads out of the directory")
            root = target
        if not root.is_dir():
            raise _refuse(str(path), "not a directory: name the directory of a bundle")
    except FileNotFoundError:
        raise _refuse(str(path), "the directory does not exist") from None
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, no permission, a NUL in the name
        raise _refuse(str(path), f"the directory cannot be read: {_words(error)}") from None
    return root


def list_files(root: Path) -> Listing:
    """The bundle's files and their states, sorted by path. Raises BundleError for a file that may not be there."""
    found: list[tuple[str, tuple[int, int, int, int, int]]] = []
    total = 0
    for name, entry in _walk(root, ""):
        state = _state(name, entry)
        if not stat.S_ISREG(state.st_mode):
            continue
        if entry.is_symlink() and not Path(entry.path).resolve(strict=True).is_relative_to(root):
            raise _refuse(name, "a link that leads out of the bundle: copy the file into it")
        cap = _SEAL.get(name, MAX_FILE_BYTES)
        if state.st_size > cap:
            raise _refuse(name, f"the file has {state.st_size} bytes, at most {cap} are read: split it")
        total += state.st_size
        if total > MAX_TOTAL_BYTES:
            raise _refuse(name, f"the bundle has more than {MAX_TOTAL_BYTES} bytes: split it")
        if len(found) == MAX_FILES:
            raise _refuse(name, f"the bundle has more than {MAX_FILES} files: put several documents in one")
        found.append((name, (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)))
    return tuple(sorted(found))


def _state(name: str, entry: "os.DirEntry[str]") -> os.stat_result:
    try:
        return entry.stat()
    except OSError as error:
        if entry.is_symlink():
            raise _refuse(name, f"a link that leads nowhere: {_words(error)}") from None
        raise  # removed while we looked


def directories_of(root: Path, files: Listing) -> set[Path]:
    """The bundle's directory and those below it that hold files, for whoever watches them."""
    below = {(root / name).parent for name, _ in files}
    return {root, *below, *(parent for path in below for parent in path.parents if parent.is_relative_to(root))}


def _walk(directory: Path, prefix: str) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    try:
        with os.scandir(directory) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except PermissionError as error:
        raise _refuse(prefix or str(directory), f"the directory cannot be read: {_words(error)}") from None
    for entry in found:
        name = f"{prefix}{entry.name}"
        if entry.name.startswith("."):
            if name in _SEAL:
                yield name, entry
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), f"{name}/")
        elif entry.name.endswith(EXTENSIONS):
            if not entry.name.isprintable():
                raise _refuse(name, "the file's name is not printable UTF-8: rename it")
            yield name, entry
        elif entry.is_symlink() and entry.is_dir():
            raise _refuse(name, "a link to a directory: copy the directory into the bundle")


def _read(root: Path, name: str, listed: tuple[int, int]) -> bytes:
    """The bytes of the file that was listed under this device and inode. Raises FileNotFoundError if it is gone."""
    try:
        target = (root / name).resolve(strict=True)
        if not target.is_relative_to(root):  # a link that was put in its place since it was listed
            raise _refuse(name, "a link that leads out of the bundle: copy the file into it")
        # O_NONBLOCK: a pipe that took the file's place must not stop us.
        descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (PermissionError, RuntimeError) as error:  # the latter for a loop of links
        raise _refuse(name, f"the file cannot be read: {_words(error)}") from None
    with open(descriptor, "rb", closefd=True) as file:  # noqa: PTH123 - of a descriptor
        opened = os.fstat(descriptor)
        if listed != (opened.st_dev, opened.st_ino):
            raise FileNotFoundError(name)  # another file by now, perhaps from elsewhere: look at everything again
        return file.read(MAX_FILE_BYTES + 1)


def _words(error: Exception) -> str:
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)


def _refuse(file: str, message: str) -> BundleError:
    return refusal(file, message, "fetch")
