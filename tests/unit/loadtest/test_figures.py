"""The arithmetic of the load tests."""

import pytest

from loadtest.figures import breaches, latency_ms, paired, percentile, trend


def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed() -> None:
    ranked = list(range(1, 1001))
    assert [500, 990, 999, 1000] == [percentile(ranked, share) for share in (0.5, 0.99, 0.999, 1.0)]
    assert 7 == percentile([7], 0.999)
    assert 0.0 == percentile([], 0.99)


def test_latencies_are_in_milliseconds_and_the_longest_is_shown() -> None:
    assert {"p50": 2.0, "p90": 3.0, "p99": 3.0, "p99.9": 3.0, "max": 3.0} == latency_ms([0.003, 0.001, 0.002])
    assert 0.0 == latency_ms([])["max"]


def test_ratios_are_of_one_round_each_so_that_a_slow_minute_does_not_count() -> None:
    """Round two was twice as slow for both: its ratio is that of the others."""
    found = paired([40, 80, 42], [100, 200, 100])
    assert (0.4, 0.4, 0.42) == (found.median, found.low, found.high)
    assert 0.0 == found.noise
    with pytest.raises(ValueError, match="shorter"):
        paired([1, 2], [1])


def test_the_noise_of_ratios_is_a_share_of_their_median() -> None:
    assert 0.0741 == paired([90, 100, 105], [100, 100, 100]).noise


def test_a_trend_is_not_tilted_by_outliers() -> None:
    x = list(range(100))
    y = [50.0 + 0.1 * at for at in x]
    y[10] = y[90] = 5000.0
    found = trend(x, y)
    assert 50.0 == pytest.approx(found.start)
    assert 0.1 == pytest.approx(found.slope)
    assert 9.9 / 50.0 == pytest.approx(found.growth)


def test_a_flat_line_and_no_line_do_not_grow() -> None:
    assert 0.0 == trend([1, 2, 3], [5, 5, 5]).growth
    assert (5.0, 0.0, 0.0) == trend([1], [5.0])
    assert (0.0, 0.0, 0.0) == trend([], [])


def test_a_limit_is_missed_only_beyond_its_tolerance() -> None:
    limits, found = {"a": 0.5, "b": 0.4}, {"a": 0.54, "b": 0.45}
    assert ["b is 0.450, at most 0.400 (and 10% for noise) is allowed"] == breaches(found, limits, {"a": 0.1, "b": 0.1})
    assert 2 == len(breaches(found, limits, {}))
