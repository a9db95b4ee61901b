"""The manifest of a bundle: every file with size and digest, what the bundle is called, and its place in the order.

Rule 1: its bytes are canonical: only what `encode_manifest` writes is read, so nobody reads it in another way.
Rule 2: it lists every file; one that is not listed, or is not there, refuses the bundle.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from extauthz.bundle.finding import BundleError, Finding, refusal, shorten
from extauthz.bundle.package import MANIFEST_FILE, MAX_FILES, MAX_MANIFEST_BYTES, wrong_path

FORMAT: Final = "extauthz bundle 1"
MAX_SEQUENCE: Final = (1 << 53) - 1  # the largest whole number that every JSON reader keeps
_MAX_SHOWN: Final = 20  # files named of those that differ


class ManifestFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of the bundle."""

    path: str  # below the bundle's directory, with `/`
    size: Annotated[int, Meta(ge=0)]  # in bytes
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]  # of the content, hex


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed. Written without spaces, members in this order, files in the order of their paths."""

    format: str = FORMAT  # of this file; another is refused
    name: Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")]  # which bundle: marks are kept by name
    revision: Annotated[str, Meta(pattern=r"^[!-~]([ -~]{0,126}[!-~])?$")]  # what people call this state
    # Higher is newer; a server takes nothing lower than it had (anti-rollback). 0: not counted.
    sequence: Annotated[int, Meta(ge=0, le=MAX_SEQUENCE)]
    files: tuple[ManifestFile, ...]


def make_manifest(files: Mapping[str, bytes], name: str, revision: str, sequence: int) -> Manifest:
    """The manifest of these files. Raises BundleError for a path that cannot travel."""
    wrong = [Finding(file=path, message=f"{why}: rename it") for path in sorted(files) if (why := wrong_path(path))]
    if wrong:
        raise BundleError(wrong, "unpack")
    entries = tuple(
        ManifestFile(path=path, size=len(files[path]), sha256=hashlib.sha256(files[path]).hexdigest())
        for path in sorted(files)
    )
    return Manifest(name=name, revision=revision, sequence=sequence, files=entries)


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes that are signed."""
    return msgspec.json.encode(manifest)


def parse_manifest(text: bytes) -> Manifest:
    """Read a manifest. Raises BundleError."""
    if len(text) > MAX_MANIFEST_BYTES:
        raise refusal(MANIFEST_FILE, f"it has {len(text)} bytes, at most {MAX_MANIFEST_BYTES} are read", "verify")
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        problem = str(error).removeprefix("JSON is malformed: ")
        raise refusal(MANIFEST_FILE, f"not a manifest: {problem[:1].lower()}{problem[1:]}", "verify") from None
    if manifest.format != FORMAT:
        raise refusal(
            MANIFEST_FILE, f"format `{shorten(manifest.format)}` is not known: this server reads `{FORMAT}`", "verify"
        )
    paths = [entry.path for entry in manifest.files]
    if len(paths) > MAX_FILES:
        raise refusal(MANIFEST_FILE, f"it lists {len(paths)} files, at most {MAX_FILES} are read", "verify")
    if encode_manifest(manifest) != text or paths != sorted(set(paths)) or any(map(wrong_path, paths)):
        raise refusal(
            MANIFEST_FILE, "not in the one form that `extauthz bundle build` writes: build it again", "verify"
        )
    return manifest


def check_files(manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Raise BundleError unless these are exactly the files of the manifest."""
    findings = list(_differences(manifest, files))
    if findings:
        shown = findings[:_MAX_SHOWN]
        if rest := len(findings) - len(shown):
            shown.append(Finding(file=MANIFEST_FILE, message=f"{rest} more files differ from the manifest"))
        raise BundleError(shown, "verify")


def _differences(manifest: Manifest, files: Mapping[str, bytes]) -> Iterator[Finding]:
    listed = {entry.path: entry for entry in manifest.files}
    for path in sorted(files.keys() - listed.keys()):
        yield Finding(file=path, message="the manifest does not list this file")
    for path, entry in listed.items():
        content = files.get(path)
        if content is None:
            yield Finding(file=path, message="the manifest lists this file, but it is not there")
        elif len(content) != entry.size or hashlib.sha256(content).hexdigest() != entry.sha256:
            yield Finding(file=path, message="the file is not the one that the manifest lists: its digest differs")
