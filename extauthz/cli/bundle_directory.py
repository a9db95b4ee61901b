"""The DIRECTORY that the commands of `extauthz bundle` are about, and how it is read."""

import sys
from pathlib import Path

import click

from extauthz.bundle import Built, BundleError, read_bundle
from extauthz.cli import ExitCode
from extauthz.cli.bundle_report import finding_line
from extauthz.model.ports import NoTokenCache
from extauthz.sources import load_files

DIRECTORY = click.argument("directory", type=click.Path(path_type=Path))
FORMAT = click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to print."
)


def read_or_exit(directory: Path) -> Built:
    """The bundle; one with errors ends the command with 3."""
    try:
        return read_bundle(load_files(directory), NoTokenCache())
    except BundleError as error:
        for finding in error.findings:
            click.echo(finding_line(finding), err=True)
        sys.exit(ExitCode.CONFIG)


def count(number: int, what: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{number} {what}" + ("" if number == 1 else "s")
