"""Whose keys verify a token here, and what is revoked: from the bundle and from files."""

from collections.abc import Sequence
from pathlib import Path

import click

from extauthz.cli.check_input import read_text, wrong
from extauthz.guards import AsListed
from extauthz.identity import Issuer, JwksError, KeySet, parse_jwks
from extauthz.snapshot import Snapshot
from extauthz.sources import EmergencyFileError, load_emergencies


def read_keys(named: Sequence[str], issuers: Sequence[Issuer]) -> dict[str, KeySet]:
    """Keys by issuer, from NAME=FILE."""
    keys = {}
    for text in named:
        name, _, file = text.partition("=")
        if not file:
            raise click.UsageError(f"`{text}` must be NAME=FILE")  # noqa: EM102, TRY003
        try:
            keys[name], left_out = parse_jwks(read_text(Path(file)).encode(), choose(name, issuers))
        except JwksError as error:
            wrong(f"{file}: {error}")
        for why in left_out:
            click.echo(f"{file}: {why}", err=True)
    return keys


def read_orders(file: Path | None, bundle: Snapshot) -> AsListed:
    """What a server's file revokes, freezes and opens at run time."""
    try:
        return AsListed(load_emergencies(file, bundle.approvers)) if file else AsListed()
    except EmergencyFileError as error:
        wrong(str(error))


def choose(name: str, issuers: Sequence[Issuer]) -> Issuer:
    """The issuer of that name; the only one when there is no name."""
    by_name = {issuer.name: issuer for issuer in issuers}
    if not name and len(by_name) == 1:
        return issuers[0]
    if name not in by_name:
        known = ", ".join(f"`{known}`" for known in by_name) or "none"
        what = f"the bundle has no issuer `{name}`" if name else "name the issuer"
        raise click.UsageError(f"{what}: its issuers are {known}")  # noqa: EM102, TRY003
    return by_name[name]
