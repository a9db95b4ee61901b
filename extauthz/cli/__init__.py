"""The `extauthz` command: one thin module per command group, imported only when asked for.

Exit codes, the same for every command: see `ExitCode`.
"""

from enum import IntEnum
from importlib import import_module

import click


class ExitCode(IntEnum):
    """What a command's exit status means."""

    OK = 0
    FAILED = 1  # what was checked did not hold: denied, lint errors, broken chain, failed test
    USAGE = 2  # the command line is wrong
    CONFIG = 3  # the server config, the bundle or an input file is wrong
    RESOURCE = 4  # something the configuration names cannot be had: port, key file, journal directory


_COMMANDS = {
    "serve": "run the decision server",
    "check": "decide one request offline and explain it",
    "bundle": "lint, test, explain, build, sign and replay a bundle",
    "ctl": "revoke, freeze, break glass, roll back on a running server",
    "audit": "verify the journal, find decisions in it",
    "token": "mint test tokens for the demo issuer",
    "demo": "run the server behind a real Envoy with sample requests",
}


class _LazyGroup(click.Group):
    """Imports a command's module when the command is used, so that `--help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"extauthz.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


EPILOG = """\b
Exit codes: 0 success, 1 what was checked does not hold, 2 wrong usage,
3 wrong configuration or bundle, 4 a port, key or directory cannot be used.
"""


@click.group(cls=_LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="extauthz", prog_name="extauthz")
def main() -> None:
    """Attribute-based access control for Envoy and Istio."""
