"""`extauthz ctl`: revoke and restore on a running server, through its control socket."""

import http.client
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, NoReturn
from urllib.parse import quote

import click
import msgspec

from extauthz.cli import ExitCode
from extauthz.model.durations import parse_duration

_SECONDS = 30.0  # a list of 100,000 entries is written to disk in under 2
_KINDS = {
    "tokenId": "--token-id",
    "session": "--session",
    "keyId": "--key-id",
    "subject": "--subject",
    "client": "--client",
    "service": "--service",
    "tenant": "--tenant",
}

_SOCKET = click.option(
    "--socket",
    "path",
    required=True,
    # The server's own variable: inside its container nothing has to be named.
    envvar="EXTAUTHZ_ADMIN__CONTROL_SOCKET",
    show_envvar=True,
    help="The server's `admin.controlSocket`.",
)
_OPERATOR = click.option("--operator", required=True, metavar="NAME", help="Who you are, for the journal.")
_REASON = click.option("--reason", required=True, metavar="TEXT", help="Why, for the journal: a ticket, not a person.")
_FORMAT = click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
_EXIT_CODES = """\b
Exit codes: 0 done, 1 the server refused, 2 wrong usage,
4 the socket cannot be used, or the change will not survive a restart.
"""


@click.group(name="ctl")
def command() -> None:
    """Revoke tokens and freeze callers on a running server, at once."""


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

{_EXIT_CODES}""",
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
@_REASON
@_OPERATOR
@_SOCKET
@_FORMAT
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
    order = {_camel(name): value, "reason": reason, "operator": operator}
    if issuer:
        order["issuer"] = issuer
    if issued_before:
        order["issuedBefore"] = _moment(issued_before, "--issued-before")
    if until != "never":
        order["until"] = _moment(until, "--until")
    done = _ask(path, "POST", "/revocations", order)
    if form == "json":
        click.echo(msgspec.json.encode(done))
    else:
        click.echo(f"revoked: {_describe(done)}")
        click.echo(f"to undo: extauthz ctl restore {done['id']} --reason TEXT --operator NAME --socket {path}")
    if warning := done.get("warning"):
        _end(warning, ExitCode.RESOURCE)


@command.command(
    epilog=f"""\b
Examples:
  extauthz ctl revocations
  extauthz ctl revocations --format json | jq '.entries[] | select(.selector == "tenant")'

{_EXIT_CODES}""",
)
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="How many, newest first."
)
@_SOCKET
@_FORMAT
def revocations(*, limit: int, path: str, form: str) -> None:
    """List what is revoked at run time; what the bundle revokes is counted."""
    page = _ask(path, "GET", f"/revocations?limit={limit}")
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

{_EXIT_CODES}""",
)
@click.argument("entry", metavar="ID")
@_REASON
@_OPERATOR
@_SOCKET
@_FORMAT
def restore(*, entry: str, reason: str, operator: str, path: str, form: str) -> None:
    """End the entry ID (see `extauthz ctl revocations`), from the next request on."""
    order = {"reason": reason, "operator": operator}
    done = _ask(path, "DELETE", f"/revocations/{quote(entry, safe='')}", order)
    click.echo(msgspec.json.encode(done) if form == "json" else f"restored: {_describe(done)}")


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(self._path)


def _ask(path: str, method: str, target: str, order: dict[str, str] | None = None) -> dict[str, Any]:
    """The answer; ends the program when there is none or the server refused."""
    connection = _Connection(path)
    try:
        body = msgspec.json.encode(order) if order is not None else None
        with suppress(BrokenPipeError):  # who is refused at the door need not have said all; the answer says why
            connection.request(method, target, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        found = msgspec.json.decode(answer.read(), type=dict[str, Any])
    except FileNotFoundError:
        _end(f"there is no socket `{path}`: does the server run, and is `admin.controlSocket` set?", ExitCode.RESOURCE)
    except ConnectionRefusedError:
        _end(f"nobody answers on `{path}`: the server has ended", ExitCode.RESOURCE)
    except PermissionError:
        _end(f"`{path}` is for the server's own user and root: try sudo, or `kubectl exec`", ExitCode.RESOURCE)
    except (OSError, http.client.HTTPException, msgspec.MsgspecError) as error:
        _end(f"`{path}` does not answer as a control socket does: {error}", ExitCode.RESOURCE)
    finally:
        connection.close()
    if answer.status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
        broken = answer.status in {HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE}
        _end(str(found.get("error", answer.reason)), ExitCode.RESOURCE if broken else ExitCode.FAILED)
    return found


def _describe(entry: dict[str, Any]) -> str:
    """One line on an entry."""
    issuer = f" of {entry['issuer']}" if entry.get("issuer") else ""
    before = f" issued before {entry['issuedBefore']}" if entry.get("issuedBefore") else ""
    until = f"until {entry['until']}" if entry.get("until") else "without end"
    who = f"by {entry['operator']} (uid {entry['uid']}) at {entry['created']}: {entry['reason']}"
    return f"{entry['id']}  {entry['selector']} {entry['value']}{issuer}{before}, {until}, {who}"


def _moment(text: str, option: str) -> str:
    """RFC 3339 in UTC."""
    now = datetime.now(UTC)
    seconds = parse_duration(text) if option == "--until" else None
    try:
        if text == "now" and option == "--issued-before":
            moment = now
        else:
            moment = datetime.fromisoformat(text) if seconds is None else now + timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        moment = None
    if moment is None or moment.tzinfo is None:
        words = "`now`" if option == "--issued-before" else "90s, 30m, 4h, 7d or `never`"
        message = f"`{text}` must be {words}, or RFC 3339 such as 2026-11-23T10:00:00Z"
        raise click.BadParameter(message, param_hint=option)
    return moment.astimezone(UTC).isoformat()


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)


def _end(message: str, code: ExitCode) -> NoReturn:
    click.echo(f"extauthz: {message}", err=True)
    sys.exit(code)
