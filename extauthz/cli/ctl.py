"""`extauthz ctl`: orders to a running server, through its control socket; here revoke and restore."""

from typing import Any
from urllib.parse import quote

import click
import msgspec

from extauthz.cli import ExitCode, ctl_break_glass, ctl_bundles, ctl_emergencies
from extauthz.cli.control import (
    EXIT_CODES,
    FORMAT,
    OPERATOR,
    REASON,
    SOCKET,
    ask,
    camel,
    end,
    moment,
    say_how_to_go_back,
    who_of,
)

_KINDS = {
    "tokenId": "--token-id",
    "session": "--session",
    "keyId": "--key-id",
    "subject": "--subject",
    "client": "--client",
    "service": "--service",
    "tenant": "--tenant",
}


@click.group(name="ctl")
def command() -> None:
    """Revoke, freeze, open, and choose the bundle in force on a running server, at once."""


command.add_command(ctl_emergencies.freeze)
command.add_command(ctl_break_glass.break_glass)
command.add_command(ctl_emergencies.emergencies)
command.add_command(ctl_emergencies.end)
command.add_command(ctl_bundles.rollback)
command.add_command(ctl_bundles.pin)
command.add_command(ctl_bundles.promote)
command.add_command(ctl_bundles.unpin)
command.add_command(ctl_bundles.revisions)


@command.command(
    epilog=f"""\b
Examples:
  extauthz ctl revoke --token-id 5f1c9a02-… --until 4h --reason INC-4711 --operator "$USER"
  extauthz ctl revoke --subject 6f0c2f5e-… --issuer keycloak --until 24h --reason INC-4711 --operator "$USER"
  extauthz ctl revoke --subject 6f0c2f5e-… --issuer keycloak --issued-before now --until 12h \\
    --reason 'password reset' --operator "$USER"
  extauthz ctl revoke --tenant acme --until never --reason 'frozen by order of the bank' --operator "$USER"
  extauthz ctl revoke --service spiffe://cluster.local/ns/web/sa/front --until 1h --reason INC-4711 --operator "$USER"

\b
In force with the next request, also for tokens that are cached. Other servers are not told: ask each of them, or put
the entry into the bundle (`kind: Revocation`).

{EXIT_CODES}""",
)
@click.option("--token-id", default="", metavar="JTI", help="One token.")
@click.option("--session", default="", metavar="SID", help="All tokens of one login.")
@click.option("--key-id", default="", metavar="KID", help="All tokens signed with this key.")
@click.option("--subject", default="", metavar="ID", help="A person or machine; needs --issuer.")
@click.option("--client", default="", metavar="ID", help="An OAuth client with all its users.")
@click.option("--service", default="", metavar="SPIFFE_ID", help="A workload, whoever it acts for.")
@click.option("--tenant", default="", metavar="ID", help="A tenant: its subjects, and everybody in it.")
@click.option("--issuer", default="", metavar="NAME|ISS", help="Only of this issuer.")
@click.option("--issued-before", default="", metavar="TIME", help="Only tokens issued before: RFC 3339 or `now`.")
@click.option("--until", required=True, metavar="TIME", help="When it ends: 90s, 30m, 4h, 7d, RFC 3339 or `never`.")
@REASON
@OPERATOR
@SOCKET
@FORMAT
def revoke(
    *, issued_before: str, until: str, issuer: str, reason: str, operator: str, path: str, form: str, **named: str
) -> None:
    """Refuse a token, or everything of a caller, client, service or tenant, from the next request on."""
    chosen = {name: value for name, value in named.items() if value}
    if len(chosen) != 1:
        raise click.UsageError(f"name exactly one of {', '.join(_KINDS.values())}")  # noqa: EM102, TRY003 - a sentence for the user
    if "subject" in chosen and not issuer:
        raise click.UsageError("--subject needs --issuer: a subject is unique within its issuer only")  # noqa: EM101, TRY003
    ((name, value),) = chosen.items()
    order = {camel(name): value, "reason": reason, "operator": operator}
    if issuer:
        order["issuer"] = issuer
    if issued_before:
        order["issuedBefore"] = moment(issued_before, "--issued-before")
    if until != "never":
        order["until"] = moment(until, "--until", "never")
    done = ask(path, "POST", "/revocations", order)
    if form == "json":
        click.echo(msgspec.json.encode(done))
    else:
        click.echo(f"revoked: {_describe(done)}")
        say_how_to_go_back(f"restore {done['id']}", path)
    if warning := done.get("warning"):
        end(warning, ExitCode.RESOURCE)


@command.command(
    epilog=f"""\b
Examples:
  extauthz ctl revocations
  extauthz ctl revocations --format json | jq '.entries[] | select(.selector == "tenant")'

{EXIT_CODES}""",
)
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="How many, newest first."
)
@SOCKET
@FORMAT
def revocations(*, limit: int, path: str, form: str) -> None:
    """List what is revoked at run time; what the bundle revokes is counted."""
    page = ask(path, "GET", f"/revocations?limit={limit}")
    if form == "json":
        click.echo(msgspec.json.encode(page))
        return
    for entry in page["entries"]:
        click.echo(_describe(entry))
    shown = f" ({len(page['entries'])} shown)" if len(page["entries"]) < page["total"] else ""
    click.echo(f"{page['total']} revoked at run time{shown}, {page['inBundle']} by the bundle")


@command.command(
    epilog=f"""\b
Examples:
  extauthz ctl restore r-3f9a0c6b1d2e4f58 --reason 'INC-4711 closed' --operator "$USER"

\b
Entries of the bundle are ended in the bundle.

{EXIT_CODES}""",
)
@click.argument("entry", metavar="ID")
@REASON
@OPERATOR
@SOCKET
@FORMAT
def restore(*, entry: str, reason: str, operator: str, path: str, form: str) -> None:
    """End the entry ID (see `extauthz ctl revocations`), from the next request on."""
    order = {"reason": reason, "operator": operator}
    done = ask(path, "DELETE", f"/revocations/{quote(entry, safe='')}", order)
    click.echo(msgspec.json.encode(done) if form == "json" else f"restored: {_describe(done)}")


def _describe(entry: dict[str, Any]) -> str:
    """One line on an entry."""
    issuer = f" of {entry['issuer']}" if entry.get("issuer") else ""
    before = f" issued before {entry['issuedBefore']}" if entry.get("issuedBefore") else ""
    until = f"until {entry['until']}" if entry.get("until") else "without end"
    who = f"by {who_of(entry)} at {entry['created']}: {entry['reason']}"
    return f"{entry['id']}  {entry['selector']} {entry['value']}{issuer}{before}, {until}, {who}"
