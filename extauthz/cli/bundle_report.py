"""How `extauthz bundle` shows findings, test results and contents."""

from collections.abc import Sequence

import click

from extauthz.bundle import Finding, TestResult


def finding_line(finding: Finding) -> str:
    """One line, the severity in colour, the code at the end."""
    style = {"fg": "red"} if finding.severity == "error" else {"fg": "yellow"}
    severity = click.style(finding.severity, **style)  # type: ignore[arg-type]  # colours are texts
    return f"{severity}  {finding}  [{finding.code}]"


def print_results(results: Sequence[TestResult], *, verbose: bool) -> None:
    """A line for each case that fails, or with `verbose` for each, and why."""
    shown = [result for result in results if verbose or not result.passed]
    width = max((len(result.case) for result in shown), default=0)
    for result in shown:
        mark = click.style("pass", fg="green") if result.passed else click.style("FAIL", fg="red")
        click.echo(f"{mark}  {result.case:<{width}}  {result.outcome} {result.reason}  ({result.file}:{result.line})")
        for difference in result.differences:
            click.echo(f"      {difference}")
        if result.differences and (result.check or result.detail):
            click.echo("      because: " + " ".join(part for part in (result.check, result.detail) if part))


def describe(about: dict[str, object]) -> list[str]:
    """Names and values as indented lines."""
    lines = []
    for name, value in about.items():
        if isinstance(value, dict):
            lines += [f"{name}:", *(f"  {key}: {count}" for key, count in value.items())]
        elif isinstance(value, list):
            lines.append(f"{name}:")
            for item in value:
                rest = ", ".join(f"{key} {_words(part)}" for key, part in item.items() if key != "name")
                lines.append(f"  {item['name']}: {rest}")
        else:
            lines.append(f"{name}: {value}")
    return lines


def _words(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)
