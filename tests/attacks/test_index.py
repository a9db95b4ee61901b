"""Every one of the 74 threats has a test by its number, or a sentence that says where it is met instead."""

import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
NOT_BY_A_TEST_OF_OURS = {
    63: "HTTP/2 floods are met by grpcio's own limits: the transport sets stream, metadata, ping and age limits, which its contract tests read back.",
}


def test_every_threat_has_a_test_or_a_sentence():
    named = set()
    for file in TESTS.rglob("test_*.py"):
        for name in re.findall(r"def (test_\w+)", file.read_text(encoding="utf-8")):
            numbers = [int(n) for n in re.findall(r"(?<=_)t(\d\d)(?=_)", name)]
            named |= set(range(numbers[0], numbers[1] + 1)) if "_to_" in name and len(numbers) == 2 else set(numbers)
    missing = set(range(1, 75)) - named - set(NOT_BY_A_TEST_OF_OURS)
    assert set() == missing
