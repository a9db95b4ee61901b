"""The table of lint codes is complete, and holds nothing that is never said."""

import ast
import re
from pathlib import Path

from extauthz.model.codes import CODES, ERRORS, WARNINGS

CODE = Path(__file__).parents[2] / "extauthz"


def test_every_code_is_used_and_none_is_an_error_and_a_warning() -> None:
    texts = [
        file.read_text() for file in CODE.rglob("*.py") if file.name != "codes.py" and "generated" not in file.parts
    ]
    used = {code for code in CODES for text in texts if f'"{code}"' in text}
    assert set(CODES) - {"invalid"} == used - {"invalid"}  # the default stands at the field
    assert set() == set(ERRORS) & set(WARNINGS)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in CODES)


def test_every_warning_has_a_code_of_its_own() -> None:
    """Without one it would be `invalid`, which is an error's."""
    bare = []
    for file in CODE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())) if "generated" not in file.parts else ():
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in {"Problem", "Flaw", "Finding"}:
                continue
            named = {each.arg for each in node.keywords}
            severities = [*node.args, *(each.value for each in node.keywords if each.arg == "severity")]
            is_warning = any(isinstance(each, ast.Constant) and each.value == "warning" for each in severities)
            given = 3 if getattr(node.func, "id", "") == "Problem" else 2
            if is_warning and "code" not in named and len(node.args) <= given:
                bare.append(f"{file.relative_to(CODE)}:{node.lineno}")
    assert [] == bare
