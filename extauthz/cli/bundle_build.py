"""`extauthz bundle build` and `sign`: from a directory to an archive that servers may trust."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
from msgspec.structs import replace

from extauthz.bundle import (
    BundleError,
    Manifest,
    Package,
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
from extauthz.bundle.trust import PrivateKey, sign
from extauthz.bundle.verify import Trust, verify_package
from extauthz.cli import ExitCode
from extauthz.cli.bundle_directory import FORMAT
from extauthz.cli.bundle_output import FILE, PATH, private_keys, read_file, refuse, tell, write_file
from extauthz.model.ports import NoTokenCache
from extauthz.sources import load_package

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
@click.argument("directory", type=PATH)
@click.option("-o", "--out", type=FILE, required=True, help="The archive to write, `.tar.gz`.")
@click.option("--key", "keys", type=FILE, multiple=True, help="Sign with this private key, PEM; may be repeated.")
@_SEQUENCE
@_NAME
@_REVISION
@click.option("--compress", is_flag=True, help="Smaller; the same bytes only where zlib is the same.")
@FORMAT
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
        package = _sealed(Package(files), manifest, private_keys(keys))
        archive = pack(package, compress=compress)
    except BundleError as error:
        refuse(error)
    write_file(out, archive)
    tell(out, package, manifest, form)


@click.command(
    name="sign",
    epilog=f"""\b
Examples:
  extauthz bundle sign bundle --key bundle.key --sequence "$CI_PIPELINE_IID"   # a directory, e.g. for git-sync
  extauthz bundle sign bank.tar.gz --key new.key                               # a second signature, to rotate keys

{_EXIT_CODES}""",
)
@click.argument("path", type=PATH)
@click.option("--key", "keys", type=FILE, multiple=True, required=True, help="Private key, PEM; may be repeated.")
@_SEQUENCE
@_NAME
@_REVISION
@FORMAT
def sign_command(*, path: Path, keys: tuple[Path, ...], sequence: int, name: str, revision: str, form: str) -> None:
    """Sign what PATH holds: a directory as it is now, or an archive, beside the signatures that it has.

    Sequence, name and revision are for directories: those of an archive were fixed when it was built.
    """
    try:
        if path.is_dir():
            found = load_package(path)
            manifest = _manifest(found.files, name, revision, sequence)
            package = _sealed(found, manifest, private_keys(keys))
            write_file(path / SIGNATURE_FILE, package.signatures or b"")
            write_file(path / MANIFEST_FILE, package.manifest or b"")
        else:
            if sequence or name or revision:
                raise click.UsageError(_FIXED)
            archive = read_file(path)
            found = unpack(archive, str(path))
            verify_package(found, Trust(), time.time())
            manifest = parse_manifest(found.manifest or b"")
            package = replace(found, signatures=sign(found.manifest or b"", private_keys(keys), found.signatures))
            write_file(path, pack(package, compress=archive != pack(found)))
    except BundleError as error:
        refuse(error)
    tell(path, package, manifest, form)


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
