"""How the benchmark of a candidate turns rounds into ratios, and when it fails."""

from loadtest import candidate

ROUNDS = {
    "none": [(100.0, 0.0), (200.0, 0.0), (100.0, 0.0)],
    "again": [(101.0, 0.0), (198.0, 0.0), (100.0, 0.0)],
    "nothing": [(100.0, 0.0), (200.0, 0.0), (100.0, 0.0)],
    "hundredth": [(101.0, 0.01), (202.0, 0.01), (101.0, 0.01)],
    "all": [(130.0, 1.0), (260.0, 1.0), (130.0, 0.9)],
    "refusing": [(135.0, 1.0), (270.0, 0.8), (135.0, 0.9)],
}


def rows(**changed: list[tuple[float, float]]) -> dict:
    found = candidate.summary({"rps_1000 pinned": {**ROUNDS, **changed}})
    return {cell: row | {"rounds": 3} for cell, row in found.items()}


def test_a_ratio_is_that_of_one_round_for_a_neighbour_slows_both() -> None:
    row = rows()["rps_1000 pinned"]
    assert (100.0, 1.3, 1.01) == (row["none_us"], row["all"]["median"], row["hundredth"]["median"])
    assert (1.0, 0.9) == (row["all"]["compared"], row["refusing"]["compared"])
    assert [] == candidate.missed(rows())


def test_what_costs_more_than_its_budget_is_missed_by_name() -> None:
    found = candidate.missed(rows(all=[(150.0, 1.0), (300.0, 1.0), (150.0, 1.0)]))
    assert ["rps_1000 pinned: all costs 1.500 times as much, budget 1.40"] == found
    assert 1 == len(candidate.missed(rows(hundredth=[(104.0, 0.01), (208.0, 0.01), (104.0, 0.01)])))
