"""What `extauthz check` and `bundle explain` are given: files, JSON, times. A wrong one ends the command."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import click

from extauthz.cli import ExitCode


def seconds(text: str) -> int:
    """Whole seconds since the epoch; without offset in UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"`{text}` must be a time such as 2026-01-31T12:00:00Z") from None  # noqa: EM102, TRY003
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def read_token(text: str) -> str:
    """Command lines are seen by everybody on the machine, so a file may hold the token."""
    return read_text(Path(text[1:])).strip() if text.startswith("@") else text


def json_object(text: str, name: str) -> dict[str, object]:
    """A JSON object; `name` says where it came from."""
    try:
        value = json.loads(text)
    except ValueError as error:
        wrong(f"{name}: not JSON: {error}")
    if not isinstance(value, dict):
        wrong(f"{name}: must be a JSON object")
    return value


def read_text(file: Path) -> str:
    """A text file."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        wrong(f"{file}: cannot be read: {(error.strerror or str(error)).lower()}")
    except UnicodeDecodeError:
        wrong(f"{file}: is not UTF-8")


def wrong(message: str) -> NoReturn:
    """End the command: an input is wrong."""
    click.echo(f"extauthz: {message}", err=True)
    sys.exit(ExitCode.CONFIG)
