"""What the commands that build, sign and verify share: files, keys, and how a bundle is told."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import click
from msgspec import json

from extauthz.bundle import BadKeyError, BundleError, Manifest, Package, TrustedKey, bundle_digest
from extauthz.bundle.trust import PrivateKey, read_private_key, signers
from extauthz.cli import ExitCode
from extauthz.cli.bundle_report import finding_line

FILE = click.Path(dir_okay=False, path_type=Path)
PATH = click.Path(path_type=Path)


def private_keys(files: Sequence[Path]) -> list[PrivateKey]:
    found = []
    for file in files:
        try:
            found.append(read_private_key(read_file(file)))
        except BadKeyError as error:
            end(f"{file}: {error}", ExitCode.CONFIG)
    return found


def read_file(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        end(f"{file}: {(error.strerror or str(error)).lower()}", ExitCode.RESOURCE)


def write_file(file: Path, content: bytes) -> None:
    """Readers, such as a server that watches the directory, see the old file or the new one."""
    fresh = file.with_name(file.name + ".new")
    try:
        fresh.write_bytes(content)
        fresh.replace(file)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        end(f"{file}: {(error.strerror or str(error)).lower()}", ExitCode.RESOURCE)


def tell(path: Path, package: Package, manifest: Manifest | None, form: str, key: TrustedKey | None = None) -> None:
    """What the bundle is; `key` is the one that was trusted."""
    if manifest is None:  # only where no key is trusted; the commands that say so always have some
        return
    about: dict[str, object] = {
        "name": manifest.name,
        "revision": manifest.revision,
        "sequence": manifest.sequence,
        "digest": bundle_digest(package.files),
        "files": len(manifest.files),
        "signedBy": signers(package.signatures) if package.signatures else (),
    }
    if key is not None:
        about["trusted"] = key.id
    if form == "json":
        click.echo(json.encode({"path": str(path), **about}))
    else:
        click.echo("\n".join([str(path), *(f"  {name}: {_words(value)}" for name, value in about.items())]))


def _words(value: object) -> str:
    return (" ".join(value) or "nobody") if isinstance(value, tuple) else str(value)


def refuse(error: BundleError) -> NoReturn:
    for finding in error.findings:
        click.echo(finding_line(finding), err=True)
    sys.exit(ExitCode.CONFIG)


def end(message: str, code: ExitCode) -> NoReturn:
    click.echo(f"extauthz: {message}", err=True)
    sys.exit(code)
