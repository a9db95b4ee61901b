"""How bench.json is shown: plots, tables, one page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from loadtest import report, servers


def write(result: dict[str, Any]) -> list[Path]:
    """bench.json, plots and page."""
    rows, scenarios = result["cells"], list(dict.fromkeys(each["scenario"] for each in result["cells"]))
    groups = [
        report.Series(name, scenarios, [each["median"] for each in rows if each["pinned"] == pinned])
        for name, pinned in (("pinned", True), ("free", False))
        if any(each["pinned"] == pinned for each in rows)
    ]
    cost = [
        report.Series(name, scenarios, [each[name]["cpu_us"] for each in rows if each["pinned"] == result["pinned"]])
        for name in ("extauthz", "noop")
    ]
    plots: dict[str, Figure] = {
        "ratio": report.bars("CPU of a Check, no-op stock server = 1 (red: budget)", "ratio", groups, result["budget"]),
        "cpu": report.bars("CPU of one request", "microseconds", cost),
    }
    table = report.Table(
        f"CPU for one Check, transport {result['transport']}, {result['rounds']} rounds",
        ("scenario", "pinned", "ratio", "lowest", "highest", "budget", "extauthz us", "no-op us", "p50 ms", "p99 ms"),
        [
            (
                *(each["scenario"], each["pinned"], each["median"], each["low"], each["high"]),
                *(result["budget"].get(each["scenario"]), each["extauthz"]["cpu_us"], each["noop"]["cpu_us"]),
                *(each["extauthz"]["latency_ms"]["p50"], each["extauthz"]["latency_ms"]["p99"]),
            )
            for each in rows
        ],
    )
    tables = [table, *_steps(result, plots), *_growth(result), *_memory(result)]
    around = report.Table("Measured on", ("", ""), list(result["environment"].items()))
    return report.write(servers.RESULTS, "bench", result, plots, [*tables, around])


def _steps(result: dict[str, Any], plots: dict[str, Figure]) -> list[report.Table]:
    """Where the time goes, by kind of Check."""
    cases: dict[str, dict[str, float]] = result.get("steps", {})
    if not cases:
        return []
    names = list(next(iter(cases.values())))
    outer = result["outer"]
    series = [report.Series(case, outer, [found[name] for name in outer]) for case, found in cases.items()]
    plots["steps"] = report.stacked("Where the microseconds of a Check go (in process)", "microseconds", series)
    rows: list[Sequence[report.Cell]] = [(name, *(round(found[name], 2) for found in cases.values())) for name in names]
    return [report.Table("Steps, microseconds (in process, best of several rounds)", ("step", *cases), rows)]


def _growth(result: dict[str, Any]) -> list[report.Table]:
    rows = [(row["what"], row["size"], round(row["us"], 1), round(row["ratio"], 3)) for row in result.get("growth", [])]
    if not rows:
        return []
    title = f"Growth (goal: below {result['goal']:g}); longest pause of the collector"
    pause = f"{title} {result['longest_gc_pause_ms']:.3f} ms"
    return [report.Table(pause, ("what", "size", "us a Check", "ratio"), rows)]


def _memory(result: dict[str, Any]) -> list[report.Table]:
    rows = [
        (name, each["rss_mb"], each["peak_mb"], each["limit_mb"]) for name, each in result.get("memory", {}).items()
    ]
    head = ("worker", "resident MB", "at most MB", "limit MB")
    return [report.Table("Memory: the example bank; 10,000 policies and 100,000 tokens", head, rows)] if rows else []
