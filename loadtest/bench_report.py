"""How bench.json is shown: plots, tables, one page."""

from pathlib import Path
from typing import Any

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
    plots = {
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
    around = report.Table("Measured on", ("", ""), list(result["environment"].items()))
    return report.write(servers.RESULTS, "bench", result, plots, [table, around])
