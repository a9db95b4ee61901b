"""The table of lint codes is complete, and holds nothing that is never said."""

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
