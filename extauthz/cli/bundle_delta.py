"""`extauthz bundle delta`: what a server needs that has the bundle before."""

from pathlib import Path

import click

from extauthz.bundle import BundleError, bundle_digest, pack, parse_manifest, unpack
from extauthz.bundle.delta import make_delta
from extauthz.cli.bundle_directory import FORMAT
from extauthz.cli.bundle_output import FILE, read_file, refuse, tell, write_file


@click.command(
    epilog="""\b
Examples:
  extauthz bundle delta bank-411.tar.gz bank-412.tar.gz -o bank-411-412.tar.gz

\b
Exit codes: 0 done, 2 wrong usage, 3 one of them is no archive, 4 a file cannot be read or written.
""",
)
@click.argument("old", type=FILE)
@click.argument("new", type=FILE)
@click.option("-o", "--out", type=FILE, required=True, help="The archive to write, `.tar.gz`.")
@click.option("--compress", is_flag=True, help="Smaller; the same bytes only where zlib is the same.")
@FORMAT
def delta(*, old: Path, new: Path, out: Path, compress: bool, form: str) -> None:
    """Write the archive NEW without the files that OLD has as well, under the manifest and the signatures of NEW.

    For web servers that answer `A-IM: extauthz-files` (RFC 3229); servers put NEW together again and verify it whole.
    """
    try:
        before, after = unpack(read_file(old), str(old)), unpack(read_file(new), str(new))
        made = make_delta(before.files, after)
        archive = pack(made, compress=compress)
        manifest = parse_manifest(made.manifest or b"")
        parse_manifest(before.manifest or b"")
    except BundleError as error:
        refuse(error)
    write_file(out, archive)
    tell(out, after, manifest, form)
    if form == "text":
        click.echo(
            f"from {bundle_digest(before.files)}, {len(made.files)} of {len(after.files)} files, {len(archive)} bytes"
        )
