"""`extauthz bundle verify` and `keygen`: whether a server would read a bundle, and the keys that it trusts."""

import os
import sys
import time
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from extauthz.bundle import BadKeyError, BundleError, TrustedKey, unpack
from extauthz.bundle.finding import refusal
from extauthz.bundle.manifest import MAX_SEQUENCE
from extauthz.bundle.package import MANIFEST_FILE
from extauthz.bundle.trust import PrivateKey, key_id, read_public_key
from extauthz.bundle.verify import Trust, verify_package
from extauthz.cli import ExitCode
from extauthz.cli.bundle_directory import FORMAT
from extauthz.cli.bundle_output import FILE, PATH, end, read_file, tell
from extauthz.sources import load_package


@click.command(
    name="verify",
    epilog="""\b
Examples:
  extauthz bundle verify bank.tar.gz --trust bundle.key.pub
  extauthz bundle verify bank.tar.gz --trust old.pub --trust new.pub --name bank --min-sequence 41

\b
Exit codes: 0 a server that trusts these keys would read it, 1 it would not, 2 wrong usage, 3 a key cannot be used,
4 a file cannot be read.
""",
)
@click.argument("path", type=PATH)
@click.option("--trust", "trusted", type=FILE, multiple=True, required=True, help="Public key, PEM; may be repeated.")
@click.option("--name", default="", help="The only bundle that may be it.")
@click.option("--min-sequence", type=click.IntRange(0, MAX_SEQUENCE), default=0, help="Refuse an older one.")
@FORMAT
def verify_command(*, path: Path, trusted: tuple[Path, ...], name: str, min_sequence: int, form: str) -> None:
    """Check signature, manifest and every file of PATH, an archive or a directory, as a server does."""
    trust = Trust(tuple(TrustedKey(_public_id(file)) for file in trusted), required=True, name=name)
    try:
        package = load_package(path) if path.is_dir() else unpack(read_file(path), str(path))
        found = verify_package(package, trust, time.time())
        if found.manifest is not None and found.manifest.sequence < min_sequence:
            message = f"sequence {found.manifest.sequence} is lower than {min_sequence}"
            raise refusal(MANIFEST_FILE, message, "verify")
    except BundleError as error:
        for finding in error.findings:
            click.echo(f"{error.step}: {finding}", err=True)
        sys.exit(ExitCode.FAILED)
    tell(path, package, found.manifest, form, found.key)


@click.command(
    epilog="""\b
Examples:
  extauthz bundle keygen --out bundle.key
  openssl pkey -in bundle.key -pubout        # the same public half

\b
Exit codes: 0 done, 2 wrong usage, 4 a file exists already or cannot be written.
"""
)
@click.option("--out", type=FILE, required=True, help="The private key; its public half gets the same name and `.pub`.")
@click.option("--algorithm", type=click.Choice(["ed25519", "ecdsa-p256"]), default="ed25519", show_default=True)
def keygen(*, out: Path, algorithm: str) -> None:
    """Make a key that signs bundles: the private half for the pipeline alone, the public half for servers."""
    key: PrivateKey = Ed25519PrivateKey.generate() if algorithm == "ed25519" else generate_private_key(SECP256R1())
    public = out.with_name(out.name + ".pub")
    try:
        for file in (out, public):
            if file.exists():
                end(f"{file}: exists already", ExitCode.RESOURCE)
        _create(out, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
        _create(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    except OSError as error:
        end(f"{error.filename}: {(error.strerror or str(error)).lower()}", ExitCode.RESOURCE)
    click.echo(f"{out}\n{public}\nid {key_id(key.public_key())}")


def _public_id(file: Path) -> str:
    try:
        return key_id(read_public_key(read_file(file)))
    except BadKeyError as error:
        end(f"{file}: {error}", ExitCode.CONFIG)


def _create(file: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as stream:
        stream.write(content)
