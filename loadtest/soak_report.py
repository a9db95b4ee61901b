"""How soak.json is shown: plots, tables, one page."""

from pathlib import Path
from typing import Any

from loadtest import report, servers


def write(result: dict[str, Any]) -> list[Path]:
    """soak.json, plots and page."""
    looks = result["looks"]
    minutes = [each["at"] / 60 for each in looks]

    def line(title: str, unit: str, *names: str) -> Any:  # noqa: ANN401 - a figure
        series = [report.Series(name, minutes, [each[name] for each in looks]) for name in names]
        return report.lines(title, "minutes", unit, series)

    plots = {
        "memory": line("Memory", "MB", "rss_mb"),
        "descriptors": line("Descriptors and threads", "count", "descriptors", "threads"),
        "journal": line("Journal", "MB", "journal_mb"),
        "latency": line("Latency from when a Check was due", "ms", "p50_ms", "p99_ms"),
    }
    rows = [
        (name, round(found["start"], 2), round(found["start"] * (1 + found["growth"]), 2), found["growth"])
        for name, found in result["trends"].items()
    ]
    tables = [
        report.Table(
            f"From the end of the warm-up to the end, {result['rate']:g} Checks a second, {result['seconds']:g} s",
            ("figure", "first", "last", "growth"),
            rows,
        ),
        report.Table("Measured on", ("", ""), list(result["environment"].items())),
    ]
    return report.write(servers.RESULTS, "soak", result, plots, tables, result["missed"])
