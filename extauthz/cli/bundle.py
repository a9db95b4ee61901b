"""`extauthz bundle`: lint, test and describe a bundle; what it accepts is what the server activates."""

from pathlib import Path

import click
from msgspec import json

from extauthz.cli.bundle_build import build, sign_command
from extauthz.cli.bundle_delta import delta
from extauthz.cli.bundle_directory import DIRECTORY, FORMAT, read_or_exit
from extauthz.cli.bundle_explain import explain
from extauthz.cli.bundle_import_istio import command as import_istio
from extauthz.cli.bundle_lint import lint
from extauthz.cli.bundle_permit import permit
from extauthz.cli.bundle_replay import replay
from extauthz.cli.bundle_report import describe
from extauthz.cli.bundle_schema import schema
from extauthz.cli.bundle_test import test
from extauthz.cli.bundle_verify import keygen, verify_command


@click.group(name="bundle")
def command() -> None:
    """Lint, test and describe the bundle in a directory; build, sign and verify archives of it."""


for subcommand in (
    lint,
    test,
    explain,
    replay,
    schema,
    import_istio,
    build,
    sign_command,
    delta,
    verify_command,
    keygen,
    permit,
):
    command.add_command(subcommand)


@command.command(
    epilog="""\b
Examples:
  extauthz bundle show examples/banking
  extauthz bundle show --format json examples/banking

\b
Exit codes: 0 success, 2 wrong usage, 3 the bundle has errors (see `extauthz bundle lint`).
""",
)
@DIRECTORY
@FORMAT
def show(directory: Path, form: str) -> None:
    """Print revision, digest and contents of the bundle in DIRECTORY."""
    built = read_or_exit(directory)
    snapshot = built.snapshot
    about = {
        "revision": snapshot.revision,
        "digest": snapshot.digest,
        "documents": snapshot.documents,
        "tenants": len(snapshot.tenants),
        "rules": sum(len(policy.rules) for policy in snapshot.policies.policies),
        "cases": len(built.tests),
        "slow": [{"name": rule, "condition with": holds} for rule, holds in snapshot.policies.slow_conditions],
        "profiles": [
            {
                "name": profile.name,
                "hosts": [host.text for host in profile.hosts],
                "paths": [path.text for path in profile.paths],
                "authentication": profile.authentication.mode,
            }
            for profile in snapshot.profiles.profiles
        ],
        "issuers": [
            {
                "name": issuer.name,
                "issuer": issuer.issuer,
                "keys": issuer.jwks_file or issuer.jwks_uri or "discovery",
            }
            for issuer in built.issuers
        ],
    }
    click.echo(json.encode(about) if form == "json" else "\n".join(describe(about)))
