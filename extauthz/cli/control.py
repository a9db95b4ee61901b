"""Speaks with a server's control socket: the options and answers that all orders share."""

import http.client
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, NoReturn

import click
import msgspec

from extauthz.cli import ExitCode
from extauthz.model.durations import parse_duration

_SECONDS = 60.0  # a list of 100,000 entries is written to disk in under 4; compiling 10,000 policies anew takes longer

SOCKET = click.option(
    "--socket",
    "path",
    required=True,
    # The server's own variable: inside its container nothing has to be named.
    envvar="EXTAUTHZ_ADMIN__CONTROL_SOCKET",
    show_envvar=True,
    help="The server's `admin.controlSocket`.",
)
OPERATOR = click.option("--operator", required=True, metavar="NAME", help="Who you are, for the journal.")
REASON = click.option("--reason", required=True, metavar="TEXT", help="Why, for the journal: a ticket, not a person.")
FORMAT = click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
EXIT_CODES = """\b
Exit codes: 0 done, 1 the server refused, 2 wrong usage,
4 the socket cannot be used, or the change will not survive a restart.
"""


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(self._path)


def ask(path: str, method: str, target: str, order: dict[str, Any] | None = None) -> dict[str, Any]:
    """The answer; ends the program when there is none or the server refused."""
    connection = _Connection(path)
    try:
        body = msgspec.json.encode(order) if order is not None else None
        with suppress(BrokenPipeError):  # who is turned away is told so before the body is read
            connection.request(method, target, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        found = msgspec.json.decode(answer.read(), type=dict[str, Any])
    except FileNotFoundError:
        end(f"there is no socket `{path}`: does the server run, and is `admin.controlSocket` set?", ExitCode.RESOURCE)
    except ConnectionRefusedError:
        end(f"nobody answers on `{path}`: the server has ended", ExitCode.RESOURCE)
    except PermissionError:
        end(f"`{path}` is for the server's own user and root: try sudo, or `kubectl exec`", ExitCode.RESOURCE)
    except (OSError, http.client.HTTPException, msgspec.MsgspecError) as error:
        end(f"`{path}` does not answer as a control socket does: {error}", ExitCode.RESOURCE)
    finally:
        connection.close()
    if answer.status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
        broken = answer.status in {HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE}
        end(str(found.get("error", answer.reason)), ExitCode.RESOURCE if broken else ExitCode.FAILED)
    return found


def moment(text: str, option: str, word: str = "") -> str:
    """RFC 3339 in UTC, of such a time or of a duration from now; `word` may stand for another answer."""
    now = datetime.now(UTC)
    seconds = parse_duration(text) if option != "--issued-before" else None
    found: datetime | None = None
    try:
        if text == "now" and option in {"--issued-before", "--begin"}:
            found = now
        else:
            found = datetime.fromisoformat(text) if seconds is None else now + timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        found = None
    if found is None or found.tzinfo is None:
        words = "`now`" if option == "--issued-before" else "90s, 30m, 4h, 7d" + (f" or `{word}`" if word else "")
        message = f"`{text}` must be {words}, or RFC 3339 such as 2026-11-23T10:00:00Z"
        raise click.BadParameter(message, param_hint=option)
    return found.astimezone(UTC).isoformat()


def end(message: str, code: ExitCode) -> NoReturn:
    """One line on stderr, and the exit code."""
    click.echo(f"extauthz: {message}", err=True)
    sys.exit(code)


def say_how_to_go_back(order: str, path: str, words: str = "to undo") -> None:
    """The order that takes back what was done, as it is typed."""
    click.echo(f"{words}: extauthz ctl {order} --reason TEXT --operator NAME --socket {path}")


def camel(name: str) -> str:
    """`token_id` as orders write it."""
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)


def who_of(entry: dict[str, Any]) -> str:
    """Who ordered it: as they called themselves, and as the kernel does."""
    account = f" {entry['account']}" if entry.get("account") else ""
    return f"{entry['operator']} (uid {entry['uid']}{account})"
