"""Whether a package may be read at all: vouched for, whole, the bundle that is meant, and not older than it may be.

Rule 1: with keys to trust, nothing of a manifest is read before a signature over it was found good.
Rule 2: what is in force is no excuse: a copy from this server's own disk is verified like one from afar.
"""

from collections.abc import Callable, Collection, Mapping

from msgspec import Struct

from extauthz.bundle.delta import complete
from extauthz.bundle.finding import refusal
from extauthz.bundle.manifest import Manifest, check_files, parse_manifest
from extauthz.bundle.package import MANIFEST_FILE, Package
from extauthz.bundle.trust import TrustedKey, verify


class Trust(Struct, frozen=True):
    """Whose bundles are taken."""

    keys: tuple[TrustedKey, ...] = ()  # none: nobody's word is needed
    required: bool = False  # false: what is not signed is taken too; what is signed must be signed well
    name: str = ""  # of the only bundle that is taken; "": any


class Verified(Struct, frozen=True):
    """What is known of a package that may be read."""

    manifest: Manifest | None  # None for a directory without one
    key: TrustedKey | None  # who vouched; None when nobody had to
    package: Package  # the whole of it


class Mark(Struct, frozen=True, forbid_unknown_fields=True):
    """The highest that was ever in force."""

    sequence: int
    digest: str  # of the bundle's files


def verify_package(
    package: Package, trust: Trust, now: float, here: Callable[[], Mapping[str, bytes]] | None = None
) -> Verified:
    """Whether `package` may be read at `now`, in seconds since the epoch. Raises BundleError at step `verify`.

    `here`, for a delta: what has the files that it leaves out.
    """
    if package.manifest is None:
        if trust.required or package.signatures is not None:
            raise refusal(MANIFEST_FILE, "there is no manifest: build or sign the bundle", "verify")
        return Verified(None, None, package)
    key = None
    if trust.keys and (trust.required or package.signatures is not None):
        key = verify(package.manifest, package.signatures, trust.keys, now)
    manifest = parse_manifest(package.manifest)
    if trust.name and manifest.name != trust.name:
        raise refusal(MANIFEST_FILE, f"this is bundle `{manifest.name}`, `{trust.name}` is expected here", "verify")
    if here is not None:
        package = complete(package, manifest, here())
    check_files(manifest, package.files)
    return Verified(manifest, key, package)


def check_name(manifest: Manifest, trust: Trust, marks: Mapping[str, Mark]) -> None:
    """A bundle of another name has no mark yet, and would be a way around them. Raises BundleError at step `verify`."""
    counted = sorted(name for name, mark in marks.items() if mark.sequence)
    if counted and manifest.name not in marks and not trust.name:
        message = (
            f"this is bundle `{manifest.name}`, `{counted[0]}` was in force here: set `bundle.trust.name` to "
            f"`{manifest.name}` if it is to take its place"
        )
        raise refusal(MANIFEST_FILE, message, "verify")


def check_sequence(manifest: Manifest, digest: str, mark: Mark | None, permitted: Collection[str] = ()) -> None:
    """Anti-rollback: nothing older than `mark` unless its digest is permitted. Raises BundleError at step `verify`."""
    if mark is None or digest in permitted or manifest.sequence > mark.sequence:
        return
    if manifest.sequence < mark.sequence:
        hint = " (it was built without `--sequence`)" if not manifest.sequence else ""
        message = f"sequence {manifest.sequence}{hint} is lower than {mark.sequence}, which was in force: a rollback"
        raise refusal(MANIFEST_FILE, message, "verify")
    if manifest.sequence and digest != mark.digest:
        message = f"sequence {manifest.sequence} was in force with other files: give every build its own number"
        raise refusal(MANIFEST_FILE, message, "verify")
