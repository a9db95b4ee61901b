"""`extauthz ctl rollback`, `pin`, `promote`, `unpin` and `revisions`: which bundle is in force."""

from typing import Any

import click
import msgspec

from extauthz.cli import ExitCode
from extauthz.cli.control import EXIT_CODES, FORMAT, OPERATOR, REASON, SOCKET, ask, end, say_how_to_go_back, who_of

_DRY_RUN = click.option("--dry-run", is_flag=True, help="Check it, say what would change, and change nothing.")
_SHOWN = 20  # names of a kind of change, in the text


@click.command(
    epilog=f"""\b
Examples:
  extauthz ctl rollback --dry-run --reason INC-4711 --operator "$USER"
  extauthz ctl rollback --reason INC-4711 --operator "$USER"
  extauthz ctl rollback 8f3c2d1 --reason INC-4711 --operator "$USER"
  extauthz ctl rollback --steps 2 --reason INC-4711 --operator "$USER"

\b
In force with the next request, exactly as it was: the kept copy is verified anew and compared with its digest, its
source is not asked. What was gone back from waits, also after a restart; what is newer comes into force as always, and
so does everything after `unpin`. Other servers are not told: ask each of them, or publish.

{EXIT_CODES}""",
)
@click.argument("revision", default="", metavar="[REVISION]")
@click.option("--steps", type=click.IntRange(1, 1000), default=None, help="How many revisions back.  [default: 1]")
@_DRY_RUN
@REASON
@OPERATOR
@SOCKET
@FORMAT
def rollback(
    *, revision: str, steps: int | None, dry_run: bool, reason: str, operator: str, path: str, form: str
) -> None:
    """Go back to the revision before, or to the kept REVISION: name, id or digest, see `extauthz ctl revisions`."""
    if revision and steps is not None:
        raise click.UsageError("name a REVISION or give --steps, not both")  # noqa: EM101, TRY003 - a sentence for the user
    order = {"revision": revision, "steps": steps or 1, "dryRun": dry_run, "reason": reason, "operator": operator}
    done = ask(path, "POST", "/bundle/rollback", order)
    _show(done, "rolled back", form)
    if form == "text" and not dry_run:
        say_how_to_go_back("unpin", path, "to go forward again")


@click.command(
    epilog=f"""\b
Examples:
  extauthz ctl pin --reason CHG-17 --operator "$USER"
  extauthz ctl pin 8f3c2d1 --reason CHG-17 --operator "$USER"

\b
Nothing that the source brings comes into force until `unpin`, also no Emergency or Revocation in it; it is checked, and
waits. A pin survives restarts. The alert ExtauthzBundleHeld fires after a day.

{EXIT_CODES}""",
)
@click.argument("revision", default="", metavar="[REVISION]")
@_DRY_RUN
@REASON
@OPERATOR
@SOCKET
@FORMAT
def pin(*, revision: str, dry_run: bool, reason: str, operator: str, path: str, form: str) -> None:
    """Keep the bundle in force, or the kept REVISION, whatever the source brings."""
    order = {"revision": revision, "dryRun": dry_run, "reason": reason, "operator": operator}
    done = ask(path, "POST", "/bundle/pin", order)
    _show(done, "pinned", form)
    if form == "text" and not dry_run:
        say_how_to_go_back("unpin", path)


@click.command(
    epilog=f"""\b
Examples:
  extauthz ctl promote --dry-run --reason CHG-17 --operator "$USER"
  extauthz ctl promote --reason CHG-17 --operator "$USER"
  extauthz ctl promote --force --reason 'CHG-17: the 12 refusals are meant' --operator "$USER"

\b
What comes into force is exactly what was compared, verified by `bundle.trust`. `bundle.candidate.gate` says what must
have been seen; `--force` overrides it, and is on record with what it overrode. `extauthz ctl rollback` goes back. Other
servers are not told: publish the candidate as the bundle.

{EXIT_CODES}""",
)
@click.option("--force", is_flag=True, help="Also when the gate does not let it pass.")
@_DRY_RUN
@REASON
@OPERATOR
@SOCKET
@FORMAT
def promote(*, force: bool, dry_run: bool, reason: str, operator: str, path: str, form: str) -> None:
    """Put the candidate in force, if it has been compared for long enough and the gate lets it pass."""
    order = {"force": force, "dryRun": dry_run, "reason": reason, "operator": operator}
    done = ask(path, "POST", "/bundle/promote", order)
    _show(done, "promoted", form)
    if form == "text":
        click.echo(f"compared: {done.get('basis', 'nothing')}")
        for line in done.get("overridden", ()):
            click.echo(f"overridden: {line}")
        if not dry_run:
            say_how_to_go_back("rollback", path)


@click.command(
    epilog=f"""\b
Examples:
  extauthz ctl unpin --reason 'INC-4711 closed' --operator "$USER"

{EXIT_CODES}""",
)
@REASON
@OPERATOR
@SOCKET
@FORMAT
def unpin(*, reason: str, operator: str, path: str, form: str) -> None:
    """End a pin or a rollback: what waits comes into force, and the source is followed again."""
    done = ask(path, "POST", "/bundle/unpin", {"reason": reason, "operator": operator})
    _show(done, "unpinned", form)
    if warning := done.get("warning"):
        end(warning, ExitCode.FAILED)


@click.command(
    epilog=f"""\b
Examples:
  extauthz ctl revisions
  extauthz ctl revisions --format json | jq -r '.history[] | [.at, .what, .revision, .operator, .reason] | @tsv'

{EXIT_CODES}""",
)
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many of each, newest first."
)
@SOCKET
@FORMAT
def revisions(*, limit: int, path: str, form: str) -> None:
    """List the revisions that are kept, and what happened to the one in force: when, by whom and why."""
    page = ask(path, "GET", f"/bundle/revisions?limit={limit}")
    if form == "json":
        click.echo(msgspec.json.encode(page))
        return
    for found in page["revisions"]:
        click.echo(_describe(found))
    click.echo("")
    for past in page["history"]:
        before = f" (was {past['before']})" if past.get("before") else ""
        who = f", by {who_of(past)}: {past['reason']}" if past.get("operator") else ", by the source"
        forced = ", forced" if past.get("forced") else ""
        click.echo(f"{past['at']}  {past['what']} {past['revision']}{before}{forced}{who}")


def _show(done: dict[str, Any], word: str, form: str) -> None:
    """What was done, or would be, for people or programs."""
    if form == "json":
        click.echo(msgspec.json.encode(done))
        return
    said = f"would be {word}" if done.get("dryRun") else word
    before, after = done.get("before"), done.get("after")
    if before is not None and after is not None:
        click.echo(f"{said}: {before['revision']} -> {after['revision']} (digest {after['digest']})")
    if done.get("waiting"):
        click.echo(f"waits: {done['waiting']}")
    if done.get("dryRun"):
        _show_changes(done.get("changes"))


def _show_changes(changes: dict[str, Any] | None) -> None:
    if changes is None:
        click.echo("what would change cannot be told: the bundle in force is not kept")
        return
    words = {
        "added": "policies added",
        "removed": "policies removed",
        "changed": "policies changed",
        "documents": "other documents",
        "files": "data and keys",
    }
    for field, word in words.items():
        names = changes[field]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        click.echo(f"{word}: {', '.join(names[:_SHOWN]) or 'none'}{more}")


def _describe(found: dict[str, Any]) -> str:
    """One line on a revision."""
    key = f", key {found['key']}" if found.get("key") else ""
    when = f"came into force {found['activated']}" if found.get("activated") else "never in force"
    return (
        f"{found['revision']}  {found['state']}: sequence {found['sequence']}, {when}{key}, "
        f"id {found['id']}, digest {found['digest']}"
    )
