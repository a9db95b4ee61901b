"""`extauthz bundle build`, `sign`, `verify` and `keygen`: from a directory to an archive that servers may trust."""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import click
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from msgspec import json
from msgspec.structs import replace

from extauthz.bundle import (
    BundleError,
    Manifest,
    Package,
    bundle_digest,
    make_manifest,
    pack,
    parse_manifest,
    read_bundle,
    run_tests,
    unpack,
)
from extauthz.bundle.finding import refusal
from extauthz.bundle.manifest import MAX_SEQUENCE, encode_manifest
from extauthz.bundle.package import MANIFEST_FILE, SIGNATURE_FILE
from extauthz.bundle.trust import (
    BadKeyError,
    PrivateKey,
    TrustedKey,
    key_id,
    read_private_key,
    read_public_key,
    sign,
    signers,
)
from extauthz.bundle.verify import Trust, verify_package
from extauthz.cli import ExitCode
from extauthz.cli.bundle_report import finding_line
from extauthz.model.ports import NoTokenCache
from extauthz.sources import load_package

_MAX_KEY_BYTES = 64 << 10
_FILE = click.Path(dir_okay=False, path_type=Path)
_PATH = click.Path(path_type=Path)
_FORMAT = click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to print."
)
_SEQUENCE = click.option(
    "--sequence",
    type=click.IntRange(0, MAX_SEQUENCE),
    default=0,
    help="Higher for every build, e.g. the pipeline's number: servers refuse to go back. 0: not counted.",
)
_NAME = click.option("--name", default="", help="What the bundle is called; by default as its Bundle document.")
_REVISION = click.option(
    "--revision", default="", help="What people call this state, e.g. a commit; by default as the Bundle document says."
)
_DOCUMENT = "bundle.yaml"  # where a Bundle document usually is
_FIXED = "an archive keeps its sequence, name and revision: build it again"
_EXIT_CODES = """\b
Exit codes: 0 done, 1 a PolicyTest fails, 2 wrong usage, 3 the bundle has errors or a key cannot be used,
4 a file cannot be read or written.
"""


@click.command(
    epilog=f"""\b
Examples:
  extauthz bundle build examples/banking -o banking.tar.gz
  extauthz bundle build bundle -o bank.tar.gz --key bundle.key --sequence "$CI_PIPELINE_IID" --revision "$COMMIT"

{_EXIT_CODES}""",
)
@click.argument("directory", type=_PATH)
@click.option("-o", "--out", type=_FILE, required=True, help="The archive to write, `.tar.gz`.")
@click.option("--key", "keys", type=_FILE, multiple=True, help="Sign with this private key, PEM; may be repeated.")
@_SEQUENCE
@_NAME
@_REVISION
@click.option("--compress", is_flag=True, help="Smaller; the same bytes only where zlib is the same.")
@_FORMAT
def build(  # noqa: PLR0913 - options of a command
    *,
    directory: Path,
    out: Path,
    keys: tuple[Path, ...],
    sequence: int,
    name: str,
    revision: str,
    compress: bool,
    form: str,
) -> None:
    """Check the bundle in DIRECTORY and write it as one archive: the same tree, the same bytes, on any machine."""
    try:
        files = load_package(directory).files
        manifest = _manifest(files, name, revision, sequence)
        package = _sealed(Package(files), manifest, _private_keys(keys))
        archive = pack(package, compress=compress)
    except BundleError as error:
        _refuse(error)
    _write(out, archive)
    _tell(out, package, manifest, form)


@click.command(
    name="sign",
    epilog=f"""\b
Examples:
  extauthz bundle sign bundle --key bundle.key --sequence "$CI_PIPELINE_IID"   # a directory, e.g. for git-sync
  extauthz bundle sign bank.tar.gz --key new.key                               # a second signature, to rotate keys

{_EXIT_CODES}""",
)
@click.argument("path", type=_PATH)
@click.option("--key", "keys", type=_FILE, multiple=True, required=True, help="Private key, PEM; may be repeated.")
@_SEQUENCE
@_NAME
@_REVISION
@_FORMAT
def sign_command(*, path: Path, keys: tuple[Path, ...], sequence: int, name: str, revision: str, form: str) -> None:
    """Sign what PATH holds: a directory as it is now, or an archive, beside the signatures that it has.

    Sequence, name and revision are for directories: those of an archive were fixed when it was built.
    """
    try:
        if path.is_dir():
            found = load_package(path)
            manifest = _manifest(found.files, name, revision, sequence)
            package = _sealed(found, manifest, _private_keys(keys))
            _write(path / SIGNATURE_FILE, package.signatures or b"")
            _write(path / MANIFEST_FILE, package.manifest or b"")
        else:
            if sequence or name or revision:
                raise click.UsageError(_FIXED)
            archive = _read(path)
            found = unpack(archive, str(path))
            verify_package(found, Trust(), time.time())
            manifest = parse_manifest(found.manifest or b"")
            package = replace(found, signatures=sign(found.manifest or b"", _private_keys(keys), found.signatures))
            _write(path, pack(package, compress=archive != pack(found)))
    except BundleError as error:
        _refuse(error)
    _tell(path, package, manifest, form)


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
@click.argument("path", type=_PATH)
@click.option("--trust", "trusted", type=_FILE, multiple=True, required=True, help="Public key, PEM; may be repeated.")
@click.option("--name", default="", help="The only bundle that may be it.")
@click.option("--min-sequence", type=click.IntRange(0, MAX_SEQUENCE), default=0, help="Refuse an older one.")
@_FORMAT
def verify_command(*, path: Path, trusted: tuple[Path, ...], name: str, min_sequence: int, form: str) -> None:
    """Check signature, manifest and every file of PATH, an archive or a directory, as a server does."""
    trust = Trust(tuple(TrustedKey(_public_id(file)) for file in trusted), required=True, name=name)
    try:
        package = load_package(path) if path.is_dir() else unpack(_read(path), str(path))
        found = verify_package(package, trust, time.time())
        if found.manifest is not None and found.manifest.sequence < min_sequence:
            message = f"sequence {found.manifest.sequence} is lower than {min_sequence}"
            raise refusal(MANIFEST_FILE, message, "verify")
    except BundleError as error:
        for finding in error.findings:
            click.echo(f"{error.step}: {finding}", err=True)
        sys.exit(ExitCode.FAILED)
    _tell(path, package, found.manifest, form, found.key)


@click.command(
    epilog="""\b
Examples:
  extauthz bundle keygen --out bundle.key
  openssl pkey -in bundle.key -pubout        # the same public half

\b
Exit codes: 0 done, 2 wrong usage, 4 a file exists already or cannot be written.
"""
)
@click.option(
    "--out", type=_FILE, required=True, help="The private key; its public half gets the same name and `.pub`."
)
@click.option("--algorithm", type=click.Choice(["ed25519", "ecdsa-p256"]), default="ed25519", show_default=True)
def keygen(*, out: Path, algorithm: str) -> None:
    """Make a key that signs bundles: the private half for the pipeline alone, the public half for servers."""
    key: PrivateKey = Ed25519PrivateKey.generate() if algorithm == "ed25519" else generate_private_key(SECP256R1())
    public = out.with_name(out.name + ".pub")
    try:
        for file in (out, public):
            if file.exists():
                _end(f"{file}: exists already", ExitCode.RESOURCE)
        _create(out, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
        _create(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    except OSError as error:
        _end(f"{error.filename}: {(error.strerror or str(error)).lower()}", ExitCode.RESOURCE)
    click.echo(f"{out}\n{public}\nid {key_id(key.public_key())}")


def _manifest(files: dict[str, bytes], name: str, revision: str, sequence: int) -> Manifest:
    """Of a bundle that a server would activate. Raises BundleError; ends the program when its own tests fail."""
    built = read_bundle(files, NoTokenCache())
    failed = [result for result in run_tests(built) if not result.passed]
    for result in failed:
        click.echo(f"{result.file}:{result.line}: case `{result.case}` of `{result.test}` fails", err=True)
    if failed:
        sys.exit(ExitCode.FAILED)
    snapshot = built.snapshot
    if revision and snapshot.revision not in {revision, snapshot.digest[: len(snapshot.revision)]}:
        message = f"spec.revision is `{snapshot.revision}`, not `{revision}`: leave one of them out"
        raise refusal(_DOCUMENT, message, "lint")
    manifest = make_manifest(files, name or built.name, revision or snapshot.revision, sequence)
    return parse_manifest(encode_manifest(manifest))  # a name or revision that servers would refuse shows here


def _sealed(package: Package, manifest: Manifest, keys: Sequence[PrivateKey]) -> Package:
    """With the manifest, and signatures by `keys` beside those that still hold."""
    text = encode_manifest(manifest)
    signatures = sign(text, keys, package.signatures) if keys else None
    return Package(package.files, text, signatures)


def _private_keys(files: Sequence[Path]) -> list[PrivateKey]:
    found = []
    for file in files:
        try:
            found.append(read_private_key(_read(file)))
        except BadKeyError as error:
            _end(f"{file}: {error}", ExitCode.CONFIG)
    return found


def _public_id(file: Path) -> str:
    try:
        return key_id(read_public_key(_read(file)))
    except BadKeyError as error:
        _end(f"{file}: {error}", ExitCode.CONFIG)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        _end(f"{file}: {(error.strerror or str(error)).lower()}", ExitCode.RESOURCE)


def _write(file: Path, content: bytes) -> None:
    """Readers, such as a server that watches the directory, see the old file or the new one."""
    fresh = file.with_name(file.name + ".new")
    try:
        fresh.write_bytes(content)
        fresh.replace(file)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        _end(f"{file}: {(error.strerror or str(error)).lower()}", ExitCode.RESOURCE)


def _create(file: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as stream:
        stream.write(content)


def _tell(path: Path, package: Package, manifest: Manifest | None, form: str, key: TrustedKey | None = None) -> None:
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


def _refuse(error: BundleError) -> NoReturn:
    for finding in error.findings:
        click.echo(finding_line(finding), err=True)
    sys.exit(ExitCode.CONFIG)


def _end(message: str, code: ExitCode) -> NoReturn:
    click.echo(f"extauthz: {message}", err=True)
    sys.exit(code)
