"""How the benchmark of a candidate turns rounds into ratios, and when it fails."""

from typing import Any

from loadtest import candidate
from loadtest.candidate import Run

ROUNDS = {
    "again": [Run(101.0, 100.0, 0.0), Run(198.0, 200.0, 0.0), Run(100.0, 100.0, 0.0)],
    "hundredth": [Run(101.0, 100.0, 0.01), Run(202.0, 200.0, 0.01), Run(101.0, 100.0, 0.01)],
    "all": [Run(130.0, 100.0, 1.0), Run(260.0, 200.0, 1.0), Run(130.0, 100.0, 0.9)],
    "refusing": [Run(135.0, 100.0, 1.0), Run(270.0, 200.0, 0.8), Run(135.0, 100.0, 0.9)],
}


def rows(**changed: list[Run]) -> dict[str, Any]:
    found = candidate.summary({"rps_1000 pinned": {**ROUNDS, **changed}})
    return {cell: row | {"rounds": 3} for cell, row in found.items()}


def test_a_ratio_is_that_of_two_runs_next_to_each_other_for_a_neighbour_slows_both() -> None:
    row = rows()["rps_1000 pinned"]
    assert (100.0, 1.3, 1.01) == (row["none_us"], row["all"]["median"], row["hundredth"]["median"])
    assert (1.0, 0.9) == (row["all"]["compared"], row["refusing"]["compared"])
    assert [] == candidate.missed(rows())


def test_what_costs_more_than_its_budget_is_missed_by_name() -> None:
    found = candidate.missed(rows(all=[Run(150.0, 100.0, 1.0), Run(300.0, 200.0, 1.0), Run(150.0, 100.0, 1.0)]))
    assert ["rps_1000 pinned: all costs 1.500 times as much, budget 1.40"] == found
    dear = [Run(107.0, 100.0, 0.01), Run(214.0, 200.0, 0.01), Run(107.0, 100.0, 0.01)]
    assert 1 == len(candidate.missed(rows(hundredth=dear)))


def test_what_the_machine_cannot_tell_is_said_with_the_verdict() -> None:
    """The noise is that of two servers without a candidate, where that is more than the ratio's own."""
    said = candidate.verdicts(rows())
    assert "hundredth 1.010 +- 0.017 (1.0% compared), budget 1.02" in said[1]
    assert "two runs without a candidate 1.000" in said[1]


def test_a_busy_machine_settles_nothing() -> None:
    wild = [Run(90.0, 100.0, 1.0), Run(260.0, 200.0, 1.0), Run(190.0, 100.0, 1.0)]
    assert "not settled" in candidate.missed(rows(all=wild))[0]


def test_a_ratio_for_which_little_was_compared_is_none() -> None:
    few = [Run(110.0, 100.0, 0.5), Run(220.0, 200.0, 0.5), Run(110.0, 100.0, 0.5)]
    assert ["rps_1000 pinned: only 50.0% of the Checks were compared"] == candidate.missed(rows(all=few))
