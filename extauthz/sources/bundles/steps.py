"""A bundle on its way into force: unpack, verify, parse, lint, compile and test, each step by its name.

Rule: pure but for what is handed in; a step that fails raises BundleError, and `Progress` knows how far it came.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from msgspec import Struct
from msgspec.structs import replace

from extauthz.bundle import (
    Built,
    BundleError,
    Finding,
    Manifest,
    Memory,
    Package,
    Step,
    TrustedKey,
    bundle_digest,
    encode_manifest,
    make_manifest,
    pack,
    read_bundle,
    run_tests,
    unpack,
)
from extauthz.bundle.data import check_size
from extauthz.bundle.verify import Mark, Trust, check_name, check_sequence, verify_package
from extauthz.model.ports import NoTokenCache
from extauthz.sources.bundles.origin import Brought


class Progress:
    """How far one attempt came."""

    def __init__(self) -> None:
        self.passed: list[Step] = []
        self.failed: Step | None = None

    @contextmanager
    def step(self, *names: Step) -> Iterator[None]:
        """Inside, these steps are taken together; a BundleError says at which of them it ended."""
        try:
            yield
        except Exception as error:
            self.failed = error.step if isinstance(error, BundleError) else names[0]
            self.passed += names[: names.index(self.failed)] if self.failed in names else ()
            raise
        self.passed += names


class Rules(Struct, frozen=True):
    """What a bundle must be like, now."""

    trust: Trust
    marks: Mapping[str, Mark]  # by name of a bundle
    permitted: Collection[str]  # digests of older bundles that may come into force


class Vouched(Struct, frozen=True):
    """A package that may be read."""

    package: Package
    archive: bytes | None  # as it came; None for a directory
    manifest: Manifest | None
    key: TrustedKey | None
    digest: str  # of its files


def open_package(
    brought: Brought,
    rules: Callable[[], Rules],
    now: float,
    progress: Progress,
    here: Callable[[], Mapping[str, bytes]] = dict,
) -> Vouched:
    """Unpack and verify; `here` has the files that a delta leaves out. Raises BundleError, and what these two raise."""
    package, archive = brought.package, brought.archive
    if package is None:
        with progress.step("unpack"):
            package = unpack(brought.archive or b"", brought.where)
    with progress.step("verify"):
        known = rules()
        found = verify_package(package, known.trust, now, here if brought.is_delta else None)
        package = found.package
        digest = bundle_digest(package.files)
        if found.manifest is not None:
            check_name(found.manifest, known.trust, known.marks)
            check_sequence(found.manifest, digest, known.marks.get(found.manifest.name), known.permitted)
        if brought.is_delta:
            archive = pack(package)
    return Vouched(package, archive, found.manifest, found.key, digest)


def build(vouched: Vouched, progress: Progress, memory: Memory, max_data_bytes: int, *, with_tests: bool) -> Built:
    """Parse, lint, compile and test; what `memory` knows is used again. Raises BundleError."""
    with progress.step("parse", "lint", "compile"):
        check_size(vouched.package.files, max_data_bytes)
        built = read_bundle(vouched.package.files, NoTokenCache(), memory)
        if vouched.manifest is not None:
            built = replace(built, snapshot=replace(built.snapshot, revision=vouched.manifest.revision))
    if with_tests:
        with progress.step("test"):
            _test(built)
    return built


def to_keep(vouched: Vouched, name: str, revision: str) -> tuple[Manifest, bytes]:
    """Manifest and archive for the disk; made here for a directory that has none. Raises BundleError."""
    manifest, package = vouched.manifest, vouched.package
    if manifest is None:
        manifest = make_manifest(package.files, name, revision, 0)
        package = Package(package.files, encode_manifest(manifest))
    return manifest, vouched.archive if vouched.archive is not None else pack(package)


def fingerprint(brought: Brought) -> str:
    """The same for the same content, whatever became of it."""
    digest = hashlib.sha256()
    package = brought.package
    if package is None:
        digest.update(brought.archive or b"")
    else:
        digest.update(bundle_digest(package.files).encode())
        for part in (package.manifest, package.signatures):
            digest.update(b"\0" if part is None else b"\1" + hashlib.sha256(part).digest())
    return digest.hexdigest()


def _test(built: Built) -> None:
    failures = [
        Finding(
            file=result.file,
            line=result.line,
            message=f"case `{result.case}` of `{result.test}` fails: {', '.join(result.differences)}",
            code="failed-test",
        )
        for result in run_tests(built)
        if not result.passed
    ]
    if failures:
        raise BundleError(failures, "test")
