"""Findings in the formats of pipelines: SARIF 2.1.0 for code scanning, workflow commands for GitHub Actions."""

from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from extauthz.bundle import Finding
from extauthz.model.codes import CODES

SARIF_VERSION: Final = "2.1.0"
_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(directory: Path, findings: Sequence[Finding]) -> dict[str, Any]:
    """One run of the linter (OASIS SARIF 2.1.0, section 3.14); paths are as the directory was given."""
    codes = sorted({finding.code for finding in findings})
    driver = {
        "name": "extauthz bundle lint",
        "version": version("extauthz"),
        "rules": [{"id": code, "shortDescription": {"text": CODES[code]}} for code in codes],
    }
    results = [
        {
            "ruleId": finding.code,
            "ruleIndex": codes.index(finding.code),
            "level": finding.severity,
            "message": {"text": _message(finding)},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": _uri(directory, finding)},
                        "region": {"startLine": max(finding.line, 1)},
                    }
                }
            ],
        }
        for finding in findings
    ]
    return {
        "$schema": _SCHEMA,
        "version": SARIF_VERSION,
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }


def github(directory: Path, findings: Iterable[Finding]) -> list[str]:
    """Workflow commands, which GitHub Actions turn into annotations of the changed lines."""
    return [
        f"::{finding.severity} file={_property(_uri(directory, finding))},line={max(finding.line, 1)},"
        f"title={_property(finding.code)}::{_data(_message(finding))}"
        for finding in findings
    ]


def _message(finding: Finding) -> str:
    return f"{finding.field}: {finding.message}" if finding.field else finding.message


def _uri(directory: Path, finding: Finding) -> str:
    return (directory / finding.file).as_posix() if finding.file else directory.as_posix()


def _data(text: str) -> str:
    """What is text in a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """What is a property's value in a workflow command."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
