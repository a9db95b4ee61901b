"""Test results as a JUnit report, one suite for each PolicyTest."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from extauthz.bundle import TestResult

Timed = tuple[TestResult, float]  # and seconds


def write_junit(path: Path, results: Sequence[Timed]) -> None:
    """Write the report. Raises OSError."""
    root = ET.Element("testsuites", {"name": "extauthz bundle", **_counts(results)})
    for test, group in groupby(results, key=lambda each: each[0].test):
        listed = list(group)
        suite = ET.SubElement(root, "testsuite", {"name": _xml(test), **_counts(listed)})
        for result, seconds in listed:
            case = ET.SubElement(
                suite,
                "testcase",
                classname=_xml(test),
                name=_xml(result.case),
                file=_xml(result.file),
                line=str(result.line),
                time=f"{seconds:.6f}",
            )
            if not result.passed:
                failure = ET.SubElement(case, "failure", message=_xml("; ".join(result.differences)))
                said = f"{result.outcome} {result.reason} {_xml(result.detail)}"
                failure.text = f"{_xml(result.file)}:{result.line}: {said}"
    ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _counts(results: Sequence[Timed]) -> dict[str, str]:
    failures = sum(not result.passed for result, _ in results)
    seconds = sum(seconds for _, seconds in results)
    return {"tests": str(len(results)), "failures": str(failures), "errors": "0", "time": f"{seconds:.6f}"}


def _xml(text: str) -> str:
    """XML 1.0 has no control characters, not even escaped."""
    return "".join(char if char.isprintable() else " " for char in text)
