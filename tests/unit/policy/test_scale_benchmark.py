"""The benchmark of whole bundles judges what it measures. Small numbers here: this is no measurement."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "loadtest" / "scale.py"
SMALL = ("--policies", "200", "--tenants", "20", "--rounds", "1")


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *SMALL, *options], capture_output=True, text=True, check=False)


def test_it_passes_within_its_limits() -> None:
    done = run("--max-ratio", "100", "--max-seconds", "100")
    assert (0, "") == (done.returncode, done.stderr)
    assert "200 policies and 20 tenants loaded in" in done.stdout
    assert "FAILED" not in done.stdout


@pytest.mark.parametrize(
    ("limit", "line"),
    [
        (("--max-ratio", "0.01"), "times as much, at most 0.01 is allowed"),
        (("--max-seconds", "0.0001"), "at most 0.00 s are allowed"),
    ],
)
def test_it_fails_beyond_them_and_says_so(limit: tuple[str, ...], line: str) -> None:
    done = run("--max-ratio", "100", "--max-seconds", "100", *limit)
    assert 1 == done.returncode
    assert [True] == [line in text for text in done.stdout.splitlines() if text.startswith("FAILED: ")]
