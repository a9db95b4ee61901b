"""A bundle as it travels: its files, the manifest that lists them, and the signatures over the manifest.

Rule: what is here came from outside and was not looked into yet; `archive.py` makes it, `manifest.py` and `trust.py`
judge it.
"""

from typing import Final

from msgspec import Struct

MANIFEST_FILE: Final = ".manifest.json"
SIGNATURE_FILE: Final = ".manifest.sig"
EXTENSIONS: Final = (".yaml", ".yml", ".json")  # of a bundle's own files

MAX_FILES: Final = 20_000  # one file a policy for twice the largest bundle we measure
MAX_TOTAL_BYTES: Final = 64 << 20  # of all files together
MAX_MANIFEST_BYTES: Final = 8 << 20  # an entry of the longest path takes under 400 bytes
MAX_SIGNATURE_BYTES: Final = 64 << 10  # sixteen signatures take under 8 KiB


class Package(Struct, frozen=True):
    """What a directory or an archive held."""

    files: dict[str, bytes]  # by path, with `/`
    manifest: bytes | None = None  # the exact bytes that signatures are over; None when there is none
    signatures: bytes | None = None


def wrong_path(path: str) -> str:
    """Why a file may not be called so in a bundle that travels; "" when it may."""
    parts = path.split("/")
    if path.startswith("/"):
        return "an absolute path"
    if ".." in parts:
        return "a path that leads out of the bundle"
    if "" in parts or "." in parts or "\\" in path:
        return "a path that is not in its plain form"
    if not path.isprintable():
        return "a path that is not printable"
    if any(part.startswith(".") for part in parts):
        return "a hidden file"
    if not path.endswith(EXTENSIONS):
        return f"not a file of a bundle: its files end in {', '.join(EXTENSIONS)}"
    return ""
