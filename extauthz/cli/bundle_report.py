"""How `extauthz bundle` shows findings, test results and contents."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import click

from extauthz.bundle import Coverage, Finding, TestResult


def finding_line(finding: Finding) -> str:
    """One line, the severity in colour, the code at the end."""
    style = {"fg": "red"} if finding.severity == "error" else {"fg": "yellow"}
    severity = click.style(finding.severity, **style)  # type: ignore[arg-type]  # colours are texts
    return f"{severity}  {finding}  [{finding.code}]"


def print_results(results: Sequence[TestResult], cover: Coverage, *, verbose: bool) -> None:
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
    if verbose:
        for policy, rule in cover.missing:
            click.echo(f"no case matches rule `{rule}` of policy `{policy}`")


def write_junit(path: Path, results: Sequence[TestResult]) -> None:
    """A JUnit report. Raises OSError."""
    failures = sum(not result.passed for result in results)
    suite = ET.Element("testsuite", name="extauthz bundle", tests=str(len(results)), failures=str(failures))
    for result in results:
        case = ET.SubElement(
            suite, "testcase", classname=_xml(result.test), name=_xml(result.case), file=_xml(result.file)
        )
        if not result.passed:
            failure = ET.SubElement(case, "failure", message=_xml("; ".join(result.differences)))
            failure.text = f"{_xml(result.file)}:{result.line}: {result.outcome} {result.reason} {_xml(result.detail)}"
    ET.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def _xml(text: str) -> str:
    """XML 1.0 has no control characters, not even escaped."""
    return "".join(char if char.isprintable() else " " for char in text)


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
