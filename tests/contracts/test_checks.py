"""Every check has a test for each side, a source, and reasons that exist; the page of checks is current."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from extauthz.model.reasons import Reason

DOCS = Path(__file__).parents[2] / "docs"
CODES = {reason.code for reason in Reason}


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("checks", DOCS / "checks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CHECKS = _load()


def test_every_check_has_a_test_that_passes_and_one_that_refuses() -> None:
    assert [] == CHECKS.missing()


def test_a_group_that_is_absent_is_in_no_code() -> None:
    """Whoever builds one of these checks takes `absent` off its group and names a test for each side."""
    assert set() == CHECKS.absent() & CHECKS.ids_in_code()


def test_no_id_is_listed_twice_and_none_is_left_out_of_a_row() -> None:
    listed = [check["id"] for group in CHECKS.load() for check in group["checks"]]
    assert sorted(set(listed)) == sorted(listed)
    for kind in {check.partition("-")[0] for check in listed}:
        numbers = sorted(int(check.partition("-")[2]) for check in listed if check.startswith(f"{kind}-"))
        assert [*range(1, len(numbers) + 1)] == numbers, kind


def test_every_reason_of_a_check_exists() -> None:
    unknown = {
        (check["id"], code) for check in CHECKS.checks().values() for code in check["reasons"] if code not in CODES
    }
    assert set() == unknown


def test_every_check_but_the_threats_says_where_it_is_written() -> None:
    unsourced = [name for name, check in CHECKS.checks().items() if not name.startswith("T-") and not check["source"]]
    assert [] == unsourced


def test_every_id_that_a_refusal_names_is_a_check() -> None:
    assert set() == CHECKS.ids_in_code() - CHECKS.checks().keys()


def test_every_id_that_a_test_carries_is_a_check() -> None:
    assert set() == CHECKS.tests().keys() - CHECKS.checks().keys()


@pytest.mark.parametrize("check", sorted(CHECKS.reasons_in_code()))
def test_a_check_lists_the_reasons_that_the_code_gives_with_it(check: str) -> None:
    assert set() == CHECKS.reasons_in_code()[check] - set(CHECKS.checks()[check]["reasons"])


def test_the_page_of_checks_is_current() -> None:
    """`make generate` writes it."""
    assert (DOCS / "reference" / "checks.md").read_text(encoding="utf-8").endswith(CHECKS.page())


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("test_jwt_09_x", {"JWT-09"}),
        ("test_rs_01_rs_03_x", {"RS-01", "RS-03"}),
        ("test_t26_t36_x", {"T-26", "T-36"}),
        ("test_t01_to_t03_x", {"T-01", "T-02", "T-03"}),
        ("test_mtls06_x", {"MTLS-06"}),
        ("test_x_of_2048", set()),
        ("test_first_10_of_100", set()),
        ("test_point_12", set()),
    ],
)
def test_ids_are_read_off_the_names_of_tests(name: str, ids: set[str]) -> None:
    assert ids == CHECKS.ids_of(name)
