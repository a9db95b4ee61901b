"""What counts as flat."""

from typing import Any

import pytest
from msgspec.structs import replace

from loadtest import soak
from loadtest.soak import Look

STEADY = Look(
    at=0.0,
    rss_mb=100.0,
    descriptors=20,
    threads=10,
    journal_mb=50.0,
    records=1000.0,
    journal_bytes_per_record=1050.0,
    p50_ms=1.0,
    p99_ms=3.0,
    answered=500,
    wrong=0,
    wrong_by_kind={},
)


def looks(**grown: float) -> list[Look]:
    """Sixty looks; the named figures rise to these values, in a line."""
    found = []
    for number in range(60):
        values: dict[str, Any] = {
            name: getattr(STEADY, name) + (last - getattr(STEADY, name)) * number / 59 for name, last in grown.items()
        }
        found.append(replace(STEADY, at=30.0 * (number + 1), **values))
    return found


def test_a_server_that_stays_as_it_is_is_flat() -> None:
    assert [] == soak.judge(looks())


def test_what_happens_while_caches_fill_does_not_count() -> None:
    warming = [replace(each, rss_mb=60.0 + number) for number, each in enumerate(looks()[:14])]
    assert [] == soak.judge([*warming, *looks()[14:]])


def test_one_bad_moment_is_no_trend() -> None:
    found = looks()
    found[40] = replace(found[40], rss_mb=119.0, p50_ms=80.0)
    assert [] == soak.judge(found)


@pytest.mark.parametrize(
    ("grown", "said"),
    [
        ({"rss_mb": 115.0}, "rss_mb grows by"),
        ({"descriptors": 60}, "descriptors grows by"),
        ({"threads": 14}, "threads grows by"),
        ({"p50_ms": 3.0}, "p50_ms grows by"),
        ({"journal_bytes_per_record": 1300.0}, "journal_bytes_per_record grows by"),
        ({"journal_mb": 80.0}, "the journal took up to 80 MB"),
    ],
)
def test_what_grows_is_said(grown: dict[str, float], said: str) -> None:
    (line,) = soak.judge(looks(**grown))
    assert said in line


def test_wrong_answers_are_said_by_kind() -> None:
    found = looks()
    for at, kinds in ((3, {"late": 1}), (50, {"late": 2, "503 overloaded": 4})):
        found[at] = replace(found[at], wrong=sum(kinds.values()), wrong_by_kind=kinds)
    assert ["7 of 30000 answers were not the expected ones: {'late': 3, '503 overloaded': 4}"] == soak.judge(found)


def test_a_small_absolute_growth_is_none() -> None:
    """Three descriptors of twenty are 15 %, but no leak over half an hour."""
    assert [] == soak.judge(looks(descriptors=23, p50_ms=1.4))


def test_too_few_looks_prove_nothing() -> None:
    assert ["too short to judge: at least four looks are needed"] == soak.judge(looks()[:3])
