"""A delta: an archive of a bundle without the files that its reader has already.

The manifest in it is that of the whole bundle, and so are the signatures over it. It lists every file by its digest, so
what is put together is verified like what came whole: there is nothing else to trust.
"""

import hashlib
from collections.abc import Mapping

from extauthz.bundle.finding import BundleError, Finding
from extauthz.bundle.manifest import Manifest
from extauthz.bundle.package import MANIFEST_FILE, Package


class OtherBaseError(BundleError):
    """Files are left out that are not here; the whole bundle is needed."""


def make_delta(old: Mapping[str, bytes], new: Package) -> Package:
    """What a reader needs who has the files of `old`."""
    changed = {path: content for path, content in new.files.items() if old.get(path) != content}
    return Package(changed, new.manifest, new.signatures)


def complete(package: Package, manifest: Manifest, here: Mapping[str, bytes]) -> Package:
    """The whole bundle, with files from `here` for those that were left out. Raises OtherBaseError.

    `manifest` is the package's own, and somebody vouched for it.
    """
    files = dict(package.files)
    for entry in manifest.files:
        if entry.path in files:
            continue
        content = here.get(entry.path)
        if content is None or hashlib.sha256(content).hexdigest() != entry.sha256:
            message = f"a delta that leaves out `{entry.path}`, which is not here as it was then: the whole is needed"
            raise OtherBaseError([Finding(file=MANIFEST_FILE, message=message)], "verify")
        files[entry.path] = content
    return Package(files, package.manifest, package.signatures)
