"""`extauthz bundle permit`: leave for a server to put an older bundle in force, with a name and a reason."""

import os
import re
import sys
import time
from pathlib import Path
from typing import NoReturn

import click
from msgspec.structs import replace

from extauthz.bundle import BundleError, bundle_digest, unpack
from extauthz.cli import ExitCode
from extauthz.sources import load_package
from extauthz.sources.bundles.state import Permit, State, StoreError
from extauthz.sources.bundles.store import BundleStore

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_TEXT = 512


@click.command(
    epilog="""\b
Examples:
  extauthz bundle permit bank-411.tar.gz --state /var/lib/extauthz/bundles --operator "$USER" --reason INC-4711

\b
Takes effect when the source offers that bundle the next time, and ends when a newer one comes into force. On record as
`bundle_rolled_back` when it is used. Each server has its own state directory.

\b
Exit codes: 0 done, 2 wrong usage, 3 the bundle cannot be read, 4 the state directory cannot be used.
"""
)
@click.argument("bundle", metavar="PATH|DIGEST")
@click.option(
    "--state", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True, help="`stateDirectory`."
)
@click.option("--operator", required=True, metavar="NAME", help="Who you are, for the journal.")
@click.option("--reason", required=True, metavar="TEXT", help="Why, for the journal.")
def permit(*, bundle: str, state: Path, operator: str, reason: str) -> None:
    """Let a server go back to one bundle: an archive, a directory, or the digest that `verify` prints."""
    for text in (operator, reason):
        if not text.strip() or len(text) > _MAX_TEXT or not text.isprintable():
            raise click.UsageError(_TEXTS)
    digest = _digest(bundle)
    given = Permit(operator=operator, uid=os.getuid(), reason=reason, given=time.time())

    def add(before: State) -> State:
        return replace(before, permits={**before.permits, digest: given})

    try:
        BundleStore(str(state), keep=1).update(add)
    except StoreError as error:
        _end(str(error), ExitCode.RESOURCE)
    click.echo(f"permitted: {digest}")


_TEXTS = f"--operator and --reason take a line of 1 to {_MAX_TEXT} characters"


def _digest(bundle: str) -> str:
    if _DIGEST.fullmatch(bundle):
        return bundle
    path = Path(bundle)
    try:
        package = load_package(path) if path.is_dir() else unpack(path.read_bytes(), bundle)
    except BundleError as error:
        _end(str(error), ExitCode.CONFIG)
    except OSError as error:
        _end(f"{path}: {(error.strerror or str(error)).lower()}", ExitCode.CONFIG)
    return bundle_digest(package.files)


def _end(message: str, code: ExitCode) -> NoReturn:
    click.echo(f"extauthz: {message}", err=True)
    sys.exit(code)
