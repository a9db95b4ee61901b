"""How capacity.json is shown: plots, tables, one page."""

from pathlib import Path
from typing import Any

from loadtest import figures, flood, report, servers


def write(result: dict[str, Any]) -> list[Path]:
    """capacity.json, plots and page."""
    closed, rows = result["closed_loop"], result["overload"]
    streams = [row["streams"] for row in closed]
    factors = [f"{row['factor']:g}x" for row in rows]
    plots = {
        "throughput": report.lines(
            "Closed loops: allowed a second", "streams", "Checks a second",
            [report.Series("allowed", streams, [row["allowed_rps"] for row in closed])],
        ),
        "latency": report.lines(
            "Closed loops: latency", "streams", "ms",
            [report.Series(name, streams, [row["latency_ms"][name] for row in closed]) for name in figures.SHARES],
            log=True,
        ),
        "goodput": report.bars(
            "Overload: allowed, as a share of capacity (red: goal)", "share",
            [report.Series("goodput", factors, [row["goodput_share"] for row in rows])],
            {f"{factor:g}x": goal for factor, goal in result["goals"]["goodput_share"].items()},
        ),
        "overload": report.bars(
            "Overload: latency of the admitted, from when they were due", "ms",
            [report.Series(name, factors, [row["admitted_ms"][name] for row in rows]) for name in ("p50", "p99")],
            dict.fromkeys(factors, result["goals"]["admitted_p99_ms"]),
        ),
    }  # fmt: skip
    tables = [
        report.Table(
            "Overload",
            ("rate", "offered/s", "allowed/s", "share", "p50 ms", "p99 ms", "p99.9 ms", "calm after s", "client CPU"),
            [
                (
                    *(f"{row['factor']:g}x", row["offered_rps"], row["goodput_rps"], row["goodput_share"]),
                    *(row["admitted_ms"][name] for name in ("p50", "p99", "p99.9")),
                    *(row["recovery_seconds"], row["client_cpu_share"]),
                )
                for row in rows
            ],
        ),
        report.Table(
            "Outcomes",
            ("rate", "outcome", "count", "p50 ms", "p99 ms"),
            [
                (f"{row['factor']:g}x", name, each["count"], each["p50"], each["p99"])
                for row in rows
                for name, each in row["outcomes"].items()
            ],
        ),
        flood.table(result["flood"]),
        report.Table("Measured on", ("", ""), list(result["environment"].items())),
    ]
    return report.write(servers.RESULTS, "capacity", result, plots, tables, result["missed"])
