"""`extauthz bundle replay`: which past decisions another bundle would have answered otherwise."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import click
from msgspec import Struct, json

from extauthz.bundle import BundleError
from extauthz.bundle.replay import Found, Group, Report, Totals, add_up, hint, report
from extauthz.cli import ExitCode
from extauthz.cli.audit import earliest_of
from extauthz.cli.bundle_report import finding_line
from extauthz.cli.replay_work import Files, Gathering, Plan, Work
from extauthz.journal import JournalError
from extauthz.journal.keys import load_public_key
from extauthz.journal.places import journals, verify_all
from extauthz.journal.pseudonym import PeriodKey, parse_key
from extauthz.sources import load_files

_BYTES_WORTH_A_PROCESS = 16 << 20  # of journal: some 15,000 records, as long as a process takes to start
_KEY = "pseudonym.key"
_BUNDLE = click.Path(exists=True, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class Options(Struct, frozen=True, kw_only=True):
    """What the command line says."""

    live: Path | None
    against: Path
    journals: tuple[Path, ...]
    keys: tuple[Path, ...]
    pseudonym_key: Path | None
    since: str
    until: str
    form: str
    max_changed: int
    max_unknown: int | None
    examples: int
    jobs: int


@click.command(
    epilog="""\b
Examples:
  extauthz bundle replay --against bundle --from /var/lib/extauthz/journal
  extauthz bundle replay --live released.tar.gz --against bundle --from journal --since 7d --max-changed 20
  extauthz bundle replay --against bundle --from pod-0 --from pod-1 --pseudonym-key pseudonym.key --json

\b
Exit codes: 0 no more decisions change than may, 1 more do, 2 wrong usage,
3 the journal is damaged, a bundle has errors, or nothing in the journal can be told.
""",
)
@click.option("--against", required=True, type=_BUNDLE, help="The bundle that may come: a directory or an archive.")
@click.option("--live", type=_BUNDLE, help="The bundle that decided; records that it does not explain are set apart.")
@click.option(
    "--from",
    "journals",
    required=True,
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A journal, or the directory of those of workers.",
)
@click.option("--public-key", "keys", multiple=True, type=_FILE, help="Who may have signed (PEM); else signing.pub.")
@click.option("--pseudonym-key", type=_FILE, help=f"The journals' pseudonym key; else `{_KEY}` beside each.")
@click.option("--since", default="", help="From this time on: RFC 3339, or so long ago: 90s, 15m, 2h, 7d.")
@click.option("--until", default="", help="Before this time.")
@click.option("--json", "form", flag_value="json", help="Print a report for machines.")
@click.option("--max-changed", type=click.IntRange(0), default=0, show_default=True, help="So many answers may change.")
@click.option(
    "--max-unknown", type=click.IntRange(0), help="So many may be impossible to tell; any number when absent."
)
@click.option(
    "--examples", type=click.IntRange(0), default=3, show_default=True, help="Decisions to show of each group."
)
@click.option("-j", "--jobs", type=click.IntRange(0), default=0, help="Processes; as many as are worth it when absent.")
def replay(**given: object) -> None:
    """Decide what the journals have on record again by another bundle, and show which answers would change.

    Nothing is sent anywhere. The chain of each journal is verified while it is read, and what a record does not tell is
    counted by what is missing, never taken for unchanged.
    """
    options = Options(**(given | {"form": given["form"] or "text"}))  # type: ignore[arg-type] # as click made them
    since = earliest_of(options.since, "--since") if options.since else ""
    until = earliest_of(options.until, "--until") if options.until else "~"
    new, live = _files(options.against), None if options.live is None else _files(options.live)
    try:
        parts = [_read(place, options, new, live, lambda time: since <= time < until) for place in options.journals]
    except BundleError as error:
        for finding in error.findings:
            click.echo(finding_line(finding), err=True)
        sys.exit(ExitCode.CONFIG)
    found = report(add_up(parts, options.examples))
    over = _over(found, options)
    if options.form == "json":
        click.echo(json.encode({"ok": not over, "over": over, "report": _machine(found)}))
    else:
        click.echo("\n".join(_text(found, options, over)))
    if found.unknown == found.decisions:
        what = "none of the decisions can be told" if found.decisions else "no decision of that time is on record"
        _stop(f"{what}: nothing was compared")
    sys.exit(ExitCode.FAILED if over else ExitCode.OK)


def _files(place: Path) -> Files:
    try:
        return load_files(place)
    except BundleError as error:
        for finding in error.findings:
            click.echo(finding_line(finding), err=True)
        sys.exit(ExitCode.CONFIG)


def _read(place: Path, options: Options, new: Files, live: Files | None, wanted: Callable[[str], bool]) -> Totals:
    """What one journal, or one of several workers, tells; a damaged one ends the command."""
    try:
        plan = Plan(new, live, _pseudonym_key(place, options.pseudonym_key), options.examples)
        public = [load_public_key(key) for key in options.keys]
        size = sum(file.stat().st_size for path in journals(place).values() for file in path.glob("segment-*.ndjson"))
    except (JournalError, OSError) as error:
        _stop(str(error))
    work = Work(plan)
    for world in (work.new, work.live):
        if world is not None and world.flaw:
            _stop(world.flaw)
    jobs = options.jobs or max(1, min(os.cpu_count() or 1, size // _BYTES_WORTH_A_PROCESS))
    gathering = Gathering(plan, jobs, work, wanted)
    try:
        reports = verify_all(place, public, each=gathering.take)
        findings = [finding for found in reports for finding in found.findings]
        for finding in findings:
            click.echo(f"extauthz: {place}: {finding}", err=True)
        if findings:
            _stop(f"{place}: the journal is damaged, so nothing in it counts: see `extauthz audit verify`")
        if any(not found.holds for found in reports):
            click.echo(
                f"extauthz: {place}: nobody's key is known: whoever could write it may have written it", err=True
            )
        return gathering.totals()
    except (JournalError, OSError) as error:
        _stop(str(error))
    finally:
        gathering.close()


def _stop(message: str) -> NoReturn:
    click.echo(f"extauthz: {message}", err=True)
    sys.exit(ExitCode.CONFIG)


def _pseudonym_key(place: Path, given: Path | None) -> PeriodKey | None:
    file = given or place / _KEY
    if not file.exists():
        return None
    key = parse_key(file.read_bytes())
    if isinstance(key, str):
        msg = f"pseudonym key `{file}`: {key}"
        raise JournalError(msg)
    return key


def _over(found: Report, options: Options) -> list[str]:
    """What is more than it may be."""
    over = []
    if found.changed > options.max_changed:
        over.append(f"{found.changed} answers change, --max-changed is {options.max_changed}")
    if options.max_unknown is not None and found.unknown > options.max_unknown:
        over.append(f"{found.unknown} cannot be told, --max-unknown is {options.max_unknown}")
    return over


def _machine(found: Report) -> dict[str, object]:
    unknown = [
        {"needs": needs, "hint": hint(needs), "count": each.count, "examples": each.examples}
        for needs, each in found.unknown_by.items()
    ]
    groups = [
        json.decode(json.encode(group)) | {"count": each.count, "examples": each.examples}
        for group, each in found.groups
    ]
    return {
        "decisions": found.decisions,
        "unchanged": found.unchanged,
        "changed": found.changed,
        "changes": found.changes,
        "unknown": found.unknown,
        "unknownBy": unknown,
        "groups": groups,
    }


def _text(found: Report, options: Options, over: list[str]) -> list[str]:
    lines = [
        f"{found.decisions} decisions held against `{options.against}`",
        f"  {found.unchanged} would be the same",
        f"  {found.changed} would be answered otherwise",
        f"  {sum(found.changes.values()) - found.changed} the same for another reason, or by another rule",
        f"  {found.unknown} cannot be told",
    ]
    for group, each in found.groups:
        lines += ["", *_group(group, each)]
    if found.unknown:
        lines += ["", "cannot be told, for want of"]
        for needs, each in found.unknown_by.items():
            lines += [f"  {each.count}  {needs}", f"      {hint(needs)}", *_examples(each)]
    lines += ["", *(over or [f"ok: {found.changed} answers change, --max-changed is {options.max_changed}"])]
    return lines


def _group(group: Group, each: Found) -> list[str]:
    where = " ".join(
        f"{name} {value}" for name, value in (("profile", group.profile), ("tenant", group.tenant)) if value
    )
    return [
        f"{group.change}  {each.count}  {where}",
        f"  was    {_verdict(group.reason, group.policy, group.rule)}",
        f"  would  {_verdict(group.new_reason, group.new_policy, group.new_rule)}",
        *_examples(each),
    ]


def _verdict(reason: str, policy: str, rule: str) -> str:
    return f"{reason} by {policy}/{rule}" if policy else reason


def _examples(each: Found) -> list[str]:
    return [f"      {one.time}  {one.decision_id}  {one.method} {one.host} {one.route}" for one in each.examples]
