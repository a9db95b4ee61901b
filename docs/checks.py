"""The page of all checks: what `checks.yaml` says about each, and the tests that carry its id.

A test carries an id in its name: `test_jwt_09_…`, `test_t26_t36_…`, `test_t01_to_t13_…` for all of a range.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"
CODE = HERE.parent / "extauthz"
_GROUPS = "EX|JWT|KEY|INT|MTLS|DP|ST|SI|SG|RS|TR|OR|T"
_IN_A_NAME = re.compile(rf"(?<![a-z0-9])({_GROUPS.lower()})_?(\d\d)(?![0-9])")
_RANGE = re.compile(rf"({_GROUPS.lower()})_?(\d\d)_to_({_GROUPS.lower()})_?(\d\d)(?![0-9])")
_IN_CODE = re.compile(rf'"((?:{_GROUPS})-\d\d)"')
_PAIR = re.compile(rf'Reason\.([A-Z_]+),\s*(?:check=)?"((?:{_GROUPS})-\d\d)"')

_INTRODUCTION = """# Checks

What requests are held against, by the id that the journal keeps with a refusal (`check`) and that `extauthz check`
prints. The first check that fails ends the request. The last column lists the tests that carry the id in their names,
at least one for each side.
"""


@cache
def load() -> list[dict[str, Any]]:
    """The groups of the data file, as written."""
    groups: list[dict[str, Any]] = yaml.safe_load((HERE / "checks.yaml").read_text(encoding="utf-8"))
    return groups


def checks() -> dict[str, dict[str, Any]]:
    """Every check by id."""
    return {check["id"]: check for group in load() for check in group["checks"]}


def absent() -> set[str]:
    """The ids of checks that are not built."""
    return {check["id"] for group in load() if "absent" in group for check in group["checks"]}


def ids_of(test: str) -> set[str]:
    """The ids that the name of a test carries."""
    found = {f"{kind.upper()}-{number}" for kind, number in _IN_A_NAME.findall(test)}
    for kind, first, _, last in _RANGE.findall(test):
        found |= {f"{kind.upper()}-{number:02}" for number in range(int(first), int(last) + 1)}
    return found


@cache
def tests() -> dict[str, dict[str, str]]:
    """By id: the name of each test that carries it, and its file."""
    found: dict[str, dict[str, str]] = {}
    for file in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for check in ids_of(node.name):
                    found.setdefault(check, {})[node.name] = file.relative_to(TESTS).as_posix()
    return found


def ids_in_code() -> set[str]:
    """The ids that refusals name."""
    return {check for text in _code() for check in _IN_CODE.findall(text)}


def reasons_in_code() -> dict[str, set[str]]:
    """By id: the reasons that the code gives with it, where both stand side by side."""
    found: dict[str, set[str]] = {}
    for text in _code():
        for reason, check in _PAIR.findall(text):
            found.setdefault(check, set()).add(reason.lower())
    return found


def missing() -> list[str]:
    """What the data file still lacks: a line for each side of a check that no test shows."""
    by_id = tests()
    gaps = []
    for check in checks().values():
        carried = by_id.get(check["id"], {})
        if "elsewhere" in check or check["id"] in absent():
            continue
        if "passes" not in check:
            gaps += [] if carried else [f"{check['id']}: no test carries it"]
            continue
        for side in ("passes", "refuses"):
            if check[side] not in carried:
                gaps.append(f"{check['id']}: {side}: no test `{check[side]}` that carries the id")
        if check["passes"] == check["refuses"]:
            gaps.append(f"{check['id']}: one test cannot show both sides")
    return gaps


def page() -> str:
    """The page."""
    by_id = tests()
    parts = [_INTRODUCTION]
    for group in load():
        parts.append(f"\n## {group['group']}\n")
        if "absent" in group:
            parts.append(f"{group['absent']}\n")
        sourced = any("source" in check for check in group["checks"])
        head = ["id", "requirement", "source", "reason", "tests"] if sourced else ["id", "met here", "reason", "tests"]
        parts += [_row(head), _row(["---"] * len(head))]
        parts += [_row(list(_cells(check, by_id.get(check["id"], {}), sourced=sourced))) for check in group["checks"]]
    return "\n".join(parts) + "\n"


def _cells(check: dict[str, Any], carried: dict[str, str], *, sourced: bool) -> Iterator[str]:
    yield check["id"]
    yield check["requires"]
    if sourced:
        yield check["source"]
    yield ", ".join(f"[`{reason}`](reasons.md)" for reason in check["reasons"]) or "–"  # noqa: RUF001 - a dash
    listed = [f"`{name.removeprefix('test_')}`" for name in sorted(carried)]
    yield "<br>".join([*([check["elsewhere"]] if "elsewhere" in check else []), *listed]) or "none"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


@cache
def _code() -> tuple[str, ...]:
    files = (file for file in sorted(CODE.rglob("*.py")) if "generated" not in file.parts)
    return tuple(file.read_text(encoding="utf-8") for file in files)
