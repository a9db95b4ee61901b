"""Percentiles, medians of paired ratios and trends. Pure functions; latencies in seconds, results in milliseconds."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
_NORMAL = 1.4826  # the median absolute deviation of a normal distribution is its standard deviation divided by this


def percentile(ranked: Sequence[float], share: float) -> float:
    """Nearest rank of an ascending sequence: the smallest value that `share` of all do not exceed; 0 for none."""
    if not ranked:
        return 0.0
    rank = -int(-share * len(ranked) // 1)  # rounded up
    return ranked[min(len(ranked), max(1, rank)) - 1]


def latency_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Percentiles and maximum, in milliseconds."""
    ranked = sorted(seconds)
    found = {name: percentile(ranked, share) for name, share in SHARES.items()} | {"max": ranked[-1] if ranked else 0.0}
    return {name: round(value * 1000, 3) for name, value in found.items()}


class Ratio(NamedTuple):
    """The median of ratios of one round each, their range, and their relative noise."""

    median: float
    low: float
    high: float
    noise: float  # a robust standard deviation of one round, as a share of the median


def paired(mine: Sequence[float], base: Sequence[float]) -> Ratio:
    """Compare round by round: neighbours of a shared machine slow both of a pair alike."""
    ratios = sorted(a / b for a, b in zip(mine, base, strict=True))
    middle = median(ratios)
    spread = _NORMAL * median(abs(each - middle) for each in ratios)
    return Ratio(round(middle, 4), round(ratios[0], 4), round(ratios[-1], 4), round(spread / middle, 4))


class Trend(NamedTuple):
    """A straight line through measurements."""

    start: float  # its value at the first measurement
    slope: float  # per unit of x
    growth: float  # from the first to the last, as a share of `start`


def trend(x: Sequence[float], y: Sequence[float]) -> Trend:
    """Theil and Sen: the median of the slopes of all pairs, so that outliers do not tilt it."""
    slopes = [(y[b] - y[a]) / (x[b] - x[a]) for a in range(len(x)) for b in range(a + 1, len(x)) if x[b] > x[a]]
    if not slopes:
        return Trend(y[0] if y else 0.0, 0.0, 0.0)
    slope = median(slopes)
    start = median(value - slope * (at - x[0]) for at, value in zip(x, y, strict=True))
    growth = slope * (x[-1] - x[0]) / start if start else 0.0
    return Trend(start, slope, growth)


def breaches(found: Mapping[str, float], limits: Mapping[str, float], tolerance: Mapping[str, float]) -> list[str]:
    """One line for each figure that is above its limit by more than the tolerance, a share of the limit."""
    return [
        f"{name} is {found[name]:.3f}, at most {limit:.3f} (and {tolerance.get(name, 0.0):.0%} for noise) is allowed"
        for name, limit in limits.items()
        if found[name] > limit * (1 + tolerance.get(name, 0.0))
    ]
