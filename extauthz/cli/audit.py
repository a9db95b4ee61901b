"""`extauthz audit`: verify a journal, show records, and handle the keys of pseudonyms."""

import heapq
import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from msgspec import json

from extauthz.bundle.compare import CHANGES
from extauthz.cli import ExitCode
from extauthz.journal import JournalError, VerifyReport
from extauthz.journal.bounds import MAX_UNSIGNED, MAX_UNSIGNED_SECONDS, Bounds
from extauthz.journal.candidates import read_candidate
from extauthz.journal.chain import Line, parse_line
from extauthz.journal.keys import load_public_key
from extauthz.journal.places import journals, verify_all
from extauthz.journal.pseudonym import PeriodKey, Pseudonyms, advance, parse_key
from extauthz.journal.record import read_decision
from extauthz.journal.report import limits, text, verdict
from extauthz.journal.segments import segment_numbers, segment_path

_DIRECTORY = click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_AGO = re.compile(r"([0-9]{1,6})([smhd])")
_OF_CANDIDATES = frozenset({"decision_id", "change"})  # what one asks for when events of candidates are meant too
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@click.group(name="audit")
def command() -> None:
    """Verify the journal and look into it."""


@command.command(
    name="verify",
    epilog="""\b
Examples:
  extauthz audit verify /var/lib/extauthz/journal --public-key /safe/signing.pub
  extauthz audit verify journal --public-key old.pub --public-key new.pub
  extauthz audit verify journal --checkpoints /backup/stdout.ndjson --format json
  extauthz audit verify /var/lib/extauthz/journal --signed-since 5m    of a server that runs

Exit codes: 0 a key's checkpoints fit, 1 broken or nobody's key is known, 3 the directory or a key cannot be read.
""",
)
@_DIRECTORY
@click.option("--public-key", "keys", multiple=True, type=_FILE, help="Who may have signed (PEM); else signing.pub.")
@click.option("--checkpoints", multiple=True, type=_FILE, help="Checkpoints kept elsewhere, e.g. what a sink got.")
@click.option(
    "--max-unsigned",
    type=click.IntRange(0),
    default=MAX_UNSIGNED,
    show_default=True,
    help="So many records may lie behind the last valid checkpoint,",
)
@click.option(
    "--max-unsigned-seconds",
    type=click.FloatRange(0),
    default=MAX_UNSIGNED_SECONDS,
    show_default=True,
    help="and so much time, as the records tell it.",
)
@click.option(
    "--signed-since", help="The last valid checkpoint is from then or later: RFC 3339, or 90s, 15m, 2h, 7d ago."
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def verify_command(
    directory: Path,
    keys: tuple[Path, ...],
    checkpoints: tuple[Path, ...],
    max_unsigned: int,
    max_unsigned_seconds: float,
    signed_since: str | None,
    form: str,
) -> None:
    """Check every record, link, checkpoint and file of the journal in DIRECTORY, or of those of its workers.

    Finds edited, missing, reordered, replaced and cut records, missing segments, bad signatures, foreign keys and
    records that nobody signed for, and names the segment, line and sequence number of each.

    Anybody who can write the directory can write a consistent journal: only a public key that was kept elsewhere shows
    who wrote this one, and only checkpoints that were kept elsewhere show that its end was not cut off.
    """
    since = earliest_of(signed_since, "--signed-since") if signed_since else ""
    bounds = Bounds(records=max_unsigned, seconds=max_unsigned_seconds, signed_since=since)
    try:
        known = [load_public_key(key) for key in keys]
        reports = verify_all(directory, known, checkpoints, bounds)
    except (JournalError, OSError) as error:
        click.echo(f"extauthz: {error}", err=True)
        sys.exit(ExitCode.CONFIG)
    if form == "json":
        click.echo(json.encode(_machine(reports)))
    else:
        click.echo("\n\n".join(text(report) if len(reports) == 1 else _titled(report) for report in reports))
    sys.exit(ExitCode.OK if all(report.holds for report in reports) else ExitCode.FAILED)


def _machine(reports: list[VerifyReport]) -> dict[str, object]:
    """One journal's report, or those of all workers below `journals`."""
    found = [
        {"ok": report.holds, "verdict": verdict(report), "limits": limits(report), "report": report}
        for report in reports
    ]
    return found[0] if len(found) == 1 else {"ok": all(report.holds for report in reports), "journals": found}


def _titled(report: VerifyReport) -> str:
    return f"{report.directory}\n{text(report)}"


@command.command(
    name="show",
    epilog="""\b
Examples:
  extauthz audit show journal --decision-id 0190b2c4-7d1e-7cc0-8a3e-5a9f7f3b1c11
  extauthz audit show journal --tenant acme --outcome deny --since 1h
  extauthz audit show journal --emergency g-3f9a0c6b1d2e4f58
  extauthz audit show journal --outcome allow --shadow loans-need-strong-authentication --since 7d
  extauthz audit show journal --change deny_to_allow --since 1d
  extauthz audit show journal --reason token_expired --since 2026-11-23T10:00:00Z | jq .event.decision.host
""",
)
@_DIRECTORY
@click.option("--decision-id", help="This decision (x-authz-decision-id), and what a candidate would have decided.")
@click.option("--tenant", help="Decisions about this tenant.")
@click.option("--reason", help="Decisions with this reason code.")
@click.option("--outcome", type=click.Choice(["allow", "deny", "undecided"]), help="Decisions that ended so.")
@click.option("--subject", help="Decisions about this pseudonym (see `extauthz audit pseudonym`).")
@click.option("--emergency", metavar="ID", help="Decisions by this freeze or break glass, and what became of it.")
@click.option("--shadow", metavar="POLICY", help="Decisions that this policy in shadow mode matched.")
@click.option("--change", type=click.Choice(CHANGES), help="What a candidate bundle would have decided otherwise.")
@click.option("--since", help="From this time on: RFC 3339, or so long ago: 90s, 15m, 2h, 7d.")
@click.option("--all", "everything", is_flag=True, help="Also records that are no decisions.")
def show_command(directory: Path, since: str | None, everything: bool, **wanted: str | None) -> None:  # noqa: FBT001 - click passes by name
    """Print the records of the journal in DIRECTORY that match, one line of JSON each; with workers, by time."""
    earliest = earliest_of(since, "--since") if since else ""
    conditions = {name: value for name, value in wanted.items() if value is not None}
    try:
        for line, record in heapq.merge(*map(_records, journals(directory).values()), key=lambda found: found[1].time):
            if record.time >= earliest and _matches(record, conditions, everything=everything):
                click.echo(line)
    except BrokenPipeError:
        raise  # click ends quietly when `head` has seen enough
    except OSError as error:
        click.echo(f"extauthz: {error}", err=True)
        sys.exit(ExitCode.CONFIG)


def _records(directory: Path) -> Iterator[tuple[bytes, Line]]:
    for number in segment_numbers(directory):
        with segment_path(directory, number).open("rb") as file:
            for raw in file:
                line = raw.removesuffix(b"\n")
                record = parse_line(line)
                if record is not None:
                    yield line, record


def _matches(record: Line, conditions: dict[str, str], *, everything: bool) -> bool:
    event = bytes(record.event)
    decision = read_decision(event)
    if decision is None:
        if not _OF_CANDIDATES.isdisjoint(conditions) and (candidate := read_candidate(event)) is not None:
            return all(getattr(candidate, name, None) == value for name, value in conditions.items())
        if conditions.keys() == {"emergency"}:
            return _is_about(record, conditions["emergency"])
        return everything and not conditions
    own = {name: value for name, value in conditions.items() if name != "shadow"}
    shadow = conditions.get("shadow")
    return all(getattr(decision, name, None) == value for name, value in own.items()) and (
        shadow is None or any(match.policy == shadow for match in decision.shadow)
    )


def _is_about(record: Line, emergency: str) -> bool:
    """Whether an event tells how that emergency was opened, approved, refused or ended."""
    event = json.decode(bytes(record.event), type=dict[str, Any])
    found: dict[str, Any] = event.get("lifecycle", {})
    return str(found.get("kind", "")).startswith("emergency_") and found.get("detail", {}).get("id") == emergency


def earliest_of(since: str, option: str) -> str:
    """A time that somebody wrote, as the journal writes it, so that texts compare."""
    ago = _AGO.fullmatch(since)
    try:
        moment = (
            datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])}) if ago else datetime.fromisoformat(since)
        )
    except ValueError:
        msg = f"`{since}` must be RFC 3339 such as 2026-11-23T10:00:00Z, or 90s, 15m, 2h, 7d"
        raise click.BadParameter(msg, param_hint=option) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@command.command(
    name="pseudonym",
    epilog="""\b
Examples:
  extauthz audit pseudonym --key journal/pseudonym.key --tenant acme --period 2026-11 \\
    --issuer https://keycloak.banking.local/realms/banking-system 6f0c2f5e-…
  extauthz audit pseudonym --key pseudonym.key --tenant acme --period 2026-11 --address 203.0.113.9
""",
)
@click.option("--key", "key_file", required=True, type=_FILE, help="The journal's pseudonym key.")
@click.option("--tenant", default="", help="The tenant of the records; none for records without one.")
@click.option("--period", required=True, help="The month of the records, e.g. 2026-11.")
@click.option("--issuer", default="", help="The issuer of the subject.")
@click.option("--address", is_flag=True, help="VALUE is a client address, not a subject.")
@click.argument("value")
def pseudonym_command(key_file: Path, tenant: str, period: str, issuer: str, address: bool, value: str) -> None:  # noqa: FBT001 - click passes by name
    """Print the pseudonym under which VALUE (a subject id or an address) is recorded."""
    key = _advanced(key_file, period)
    names = Pseudonyms(key, b"")
    if address:
        click.echo(names.of("address", value, tenant, period))
    elif not issuer:
        msg = "a subject is unique only within its issuer: give `--issuer`, or `--address` for an address"
        raise click.UsageError(msg)
    else:
        click.echo(names.of_subject(issuer, value, tenant, period))


@command.command(
    name="advance-key",
    epilog="""\b
Examples:
  extauthz audit advance-key pseudonym.key --to 2026-10 > pseudonym.new

Records of earlier months stay verifiable, but nobody can find a person in them again, once every copy of the
old file is gone.
""",
)
@click.argument("key_file", type=_FILE)
@click.option("--to", "period", required=True, help="The first month that stays linkable, e.g. 2026-10.")
def advance_command(key_file: Path, period: str) -> None:
    """Print the key file that KEY_FILE becomes when everything before a month must no longer be linkable.

    Pseudonyms of that month and later stay the same.
    """
    key = _advanced(key_file, period)
    if os.isatty(1):
        click.echo("extauthz: this is a key, keep it secret", err=True)
    click.echo(f"{key.period} {key.key.hex()}")


def _advanced(key_file: Path, period: str) -> PeriodKey:
    try:
        key = parse_key(key_file.read_bytes())
    except OSError as error:
        key = error.strerror or "it cannot be read"
    advanced = advance(key, period) if isinstance(key, PeriodKey) else key
    if isinstance(advanced, str):
        click.echo(f"extauthz: `{key_file}`: {advanced}", err=True)
        sys.exit(ExitCode.CONFIG)
    return advanced
