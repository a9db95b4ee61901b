"""How `extauthz check` and `bundle explain` show a decision at a terminal."""

from collections.abc import Iterable, Sequence

import click

from extauthz.cli.check_report import Report
from extauthz.cli.check_steps import Step
from extauthz.policy import RuleTrace

_COLOURS = {"allow": "green", "deny": "red", "undecided": "yellow"}
_BRANCH_MARKS = {"true": "+", "false": "-", "error": "!", "not reached": " "}
_STEP_MARKS = {"passed": "+", "ended here": "!", "not asked for": " ", "not reached": " "}
_MARKS = {"match": "+", "no match": "-", "error": "!", "scope missing": "-"}


def print_text(found: Report, *, explain: bool) -> None:
    """The report for a terminal; with `explain` every step, and what conditions read."""
    click.secho(f"{found.outcome.upper()}  {found.reason}  HTTP {found.status}", fg=_COLOURS[found.outcome], bold=True)
    click.echo(found.explanation)
    for note in found.notes:
        click.echo(f"note: {note}")
    click.echo()
    _print_facts(
        (
            ("profile", found.profile or "none"),
            ("subject", found.subject or "anonymous"),
            ("roles", ", ".join(found.roles)),
            ("sender", ", ".join(found.sender_proofs)),
            ("tenant", found.tenant),
            ("policy", f"{found.policy}/{found.rule}" if found.policy else ""),
            ("route", found.route),
            ("check", found.check),
            ("freeze", found.emergency if found.emergency_kind == "freeze" else ""),
            ("glass", found.emergency if found.emergency_kind == "break_glass" else ""),
            ("drill", found.emergency if found.emergency_kind == "drill" else ""),
            ("shadow", ", ".join(found.shadow)),
            ("errors", ", ".join(found.condition_errors)),
            ("revision", f"{found.revision} ({found.digest[:12]})"),
            ("as of", found.now),
        )
    )
    _print_pairs("headers set for the upstream", found.upstream_headers)
    _print_list("headers removed", found.removed_headers)
    _print_pairs("query parameters set", found.set_query)
    _print_list("query parameters removed", found.removed_query)
    _print_pairs("headers to the client", found.client_headers)
    if found.body:
        _print_lines("body to the client", [found.body])
    if explain:
        _print_steps(found.steps)
    if found.rules:
        others = f" ({found.other_rules} more speak about something else)" if explain and found.other_rules else ""
        click.echo(f"\nrules that were tried{others}")
        for trace in found.rules:
            _print_rule(trace, explain=explain)


def _print_steps(steps: Iterable[Step]) -> None:
    click.echo("\nsteps")
    for step in steps:
        detail = (
            f": {step.detail}" if step.detail else "" if step.result in {"passed", "ended here"} else f": {step.result}"
        )
        click.echo(_plain(f"  {_STEP_MARKS[step.result]} {step.title}{detail}"))


def _print_rule(trace: RuleTrace, *, explain: bool) -> None:
    mode = " in shadow" if trace.mode == "shadow" else ""
    click.echo(f"  {_MARKS[trace.result]} {trace.policy}/{trace.rule} ({trace.effect}{mode}): {trace.result}")
    for part in trace.parts:
        wanted = f", wanted {part.wanted}" if explain and part.wanted and part.field != "condition" else ""
        click.echo(_plain(f"      {_MARKS[part.result]} {part.field}: {part.result}, found {part.seen}{wanted}"))
    for branch in trace.branches if explain else ():
        said = branch.result
        if branch.values:
            said += ", found " + "; ".join(f"{name} = {seen}" for name, seen in branch.values)
        click.echo(_plain(f"          {_BRANCH_MARKS[branch.result]} {' '.join(branch.text.split())}: {said}"))


def _print_facts(facts: Iterable[tuple[str, str]]) -> None:
    for name, value in facts:
        if value:
            click.echo(f"{name + ':':10}{_plain(value)}")


def _print_pairs(title: str, pairs: Iterable[tuple[str, str]]) -> None:
    _print_lines(title, [f"{name}: {value}" for name, value in pairs])


def _print_lines(title: str, lines: Sequence[str]) -> None:
    if lines:
        click.echo(f"\n{title}")
        for line in lines:
            click.echo(f"  {_plain(line)}")


def _print_list(title: str, names: Sequence[str]) -> None:
    if names:
        click.echo(f"\n{title}")
        click.echo(click.wrap_text(_plain(", ".join(names)), 110, "  ", "  "))


def _plain(text: str) -> str:
    """Claims and headers may hold what a terminal would obey."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
