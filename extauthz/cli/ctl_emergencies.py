"""`extauthz ctl freeze`, `emergencies` and `end`."""

import re
from typing import Any
from urllib.parse import quote

import click
import msgspec

from extauthz.cli import ExitCode
from extauthz.cli.control import (
    EXIT_CODES,
    FORMAT,
    OPERATOR,
    REASON,
    SOCKET,
    ask,
    camel,
    moment,
    say_how_to_go_back,
    who_of,
)
from extauthz.cli.control import end as end_program

_NAMES = (
    "--token-id",
    "--session",
    "--key-id",
    "--subject",
    "--client",
    "--service",
    "--tenant",
    "--route",
    "--everything",
)
_ROUTE = re.compile(r"(?:(?P<methods>[A-Za-z,]+) )?(?P<host>[^/ ]*)(?P<path>/\S*)?")


def read_route(text: str) -> dict[str, Any]:
    """`GET,POST api.example.com/accounts/**` taken apart; every part may be left out."""
    match = _ROUTE.fullmatch(text.strip())
    if match is None or not text.strip():
        message = f"`{text}` must be [METHODS ]HOST[PATH], e.g. `POST api.example.com/payments/**` or `*/admin/**`"
        raise click.BadParameter(message, param_hint="--route")
    route: dict[str, Any] = {name: match[name] for name in ("host", "path") if match[name]}
    if match["methods"]:
        route["methods"] = match["methods"].split(",")
    return route


@click.command(
    epilog=f"""\b
Examples:
  extauthz ctl freeze --tenant acme --until 4h --reason INC-4711 --operator "$USER"
  extauthz ctl freeze --route 'POST api.banking.local/api/payments/**' --until 2h --reason INC-4711 --operator "$USER"
  extauthz ctl freeze --subject 6f0c2f5e-… --issuer keycloak --until 7d --reason INC-4711 --operator "$USER"
  extauthz ctl freeze --everything --until 30m --reason INC-4711 --operator "$USER"

\b
In force with the next request, also for tokens that are cached; no policy and no break glass lifts it. It always ends:
after 30 days at most, of everything after 7. What must last belongs into the bundle. Other servers are not told: ask
each of them, or put it into the bundle (`kind: Emergency`).

{EXIT_CODES}""",
)
@click.option("--token-id", default="", metavar="JTI", help="One token.")
@click.option("--session", default="", metavar="SID", help="All tokens of one login.")
@click.option("--key-id", default="", metavar="KID", help="All tokens signed with this key.")
@click.option("--subject", default="", metavar="ID", help="A person or machine; needs --issuer.")
@click.option("--client", default="", metavar="ID", help="An OAuth client with all its users.")
@click.option("--service", default="", metavar="SPIFFE_ID", help="A workload, whoever it acts for.")
@click.option("--tenant", default="", metavar="ID", help="A tenant: its subjects, and everybody in it.")
@click.option("--route", default="", metavar="'[METHODS ]HOST[PATH]'", help="Requests, whoever makes them.")
@click.option("--everything", is_flag=True, help="Every request and every connection.")
@click.option("--issuer", default="", metavar="NAME|ISS", help="Only of this issuer.")
@click.option("--until", required=True, metavar="TIME", help="When it ends: 90s, 30m, 4h, 7d or RFC 3339.")
@REASON
@OPERATOR
@SOCKET
@FORMAT
def freeze(  # noqa: PLR0913 - one parameter an option
    *,
    route: str,
    everything: bool,
    issuer: str,
    until: str,
    reason: str,
    operator: str,
    path: str,
    form: str,
    **named: str,
) -> None:
    """Deny a token, a caller, a tenant, a route or everything, from the next request on."""
    chosen: dict[str, Any] = {camel(name): value for name, value in named.items() if value}
    chosen |= ({"route": read_route(route)} if route else {}) | ({"everything": True} if everything else {})
    if len(chosen) != 1:
        raise click.UsageError(f"name exactly one of {', '.join(_NAMES)}")  # noqa: EM102, TRY003 - a sentence for the user
    if "subject" in chosen and not issuer:
        raise click.UsageError("--subject needs --issuer: a subject is unique within its issuer only")  # noqa: EM101, TRY003
    order = chosen | {"until": moment(until, "--until"), "reason": reason, "operator": operator}
    done = ask(path, "POST", "/freezes", order | ({"issuer": issuer} if issuer else {}))
    show(done, "frozen", form)
    if form == "text":
        say_how_to_go_back(f"end {done['id']}", path)
    fail_on_warning(done)


@click.command(
    epilog=f"""\b
Examples:
  extauthz ctl emergencies
  extauthz ctl emergencies --format json | jq '.emergencies[] | select(.state == "in force")'

{EXIT_CODES}""",
)
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="How many, newest first."
)
@SOCKET
@FORMAT
def emergencies(*, limit: int, path: str, form: str) -> None:
    """List what is frozen and opened, or will be: at run time and by the bundle."""
    page = ask(path, "GET", f"/emergencies?limit={limit}")
    if form == "json":
        click.echo(msgspec.json.encode(page))
        return
    for emergency in page["emergencies"]:
        click.echo(describe(emergency))
    shown = f" ({len(page['emergencies'])} shown)" if len(page["emergencies"]) < page["total"] else ""
    click.echo(f"{page['total']} emergencies{shown}" if page["total"] != 1 else "1 emergency")
    if page.get("warning"):
        click.echo(f"extauthz: {page['warning']}", err=True)


@click.command(
    epilog=f"""\b
Examples:
  extauthz ctl end f-3f9a0c6b1d2e4f58 --reason 'INC-4711 closed' --operator "$USER"

\b
Emergencies of the bundle are ended in the bundle. A break glass that was ended cannot be opened again: its approvals
were for one opening.

{EXIT_CODES}""",
)
@click.argument("emergency", metavar="ID")
@REASON
@OPERATOR
@SOCKET
@FORMAT
def end(*, emergency: str, reason: str, operator: str, path: str, form: str) -> None:
    """End the freeze or break glass ID (see `extauthz ctl emergencies`), from the next request on."""
    done = ask(path, "DELETE", f"/emergencies/{quote(emergency, safe='')}", {"reason": reason, "operator": operator})
    show(done, "ended", form)
    fail_on_warning(done)


def show(emergency: dict[str, Any], word: str, form: str) -> None:
    """What was done, for people or programs."""
    click.echo(msgspec.json.encode(emergency) if form == "json" else f"{word}: {describe(emergency)}")


def fail_on_warning(emergency: dict[str, Any]) -> None:
    """End with code 4 when the change will not last."""
    if warning := emergency.get("warning"):
        end_program(warning, ExitCode.RESOURCE)


def describe(emergency: dict[str, Any]) -> str:
    """One line."""
    kind = emergency["kind"].replace("_", " ")
    approvers = f", approved by {' and '.join(emergency['approvers'])}" if emergency.get("approvers") else ""
    who = "the bundle"
    if emergency["source"] == "runtime":
        who = f"{who_of(emergency)} at {emergency['created']}"
    span = f"{emergency['begin']} to {emergency['end']}"
    return (
        f"{emergency['id']}  {kind}, {emergency['state']}: {emergency['what']}, {span}, "
        f"by {who}{approvers}: {emergency['ticket']}"
    )
