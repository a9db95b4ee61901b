"""How capacity.json is shown: plots, tables, one page."""

from pathlib import Path
from typing import Any

from loadtest import figures, flood, report, servers


def write(result: dict[str, Any]) -> list[Path]:
    """capacity.json, plots and page."""
    closed, rows = result["closed_loop"], result["overload"]
    streams, goals = [row["streams"] for row in closed], result["goals"]["goodput_share"]
    factors = [_name(row) for row in rows]
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
            "Overload: decided, as a share of capacity (red: goal)", "share",
            [report.Series("goodput", factors, [row["goodput_share"] for row in rows])],
            {_name(row): goals[row["factor"]] for row in rows if row["factor"] in goals},
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
            ("rate", "offered/s", "decided/s", "share", "p50 ms", "p99 ms", "p99.9 ms", "calm after s", "client CPU"),
            [
                (
                    *(_name(row), row["offered_rps"], row["goodput_rps"], row["goodput_share"]),
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
                (_name(row), name, each["count"], each["p50"], each["p99"])
                for row in rows
                for name, each in row["outcomes"].items()
            ],
        ),
        flood.table(result["flood"]),
        report.Table("Measured on", ("", ""), list(result["environment"].items())),
    ]
    return report.write(servers.RESULTS, "capacity", result, plots, tables, result["missed"])


def _name(row: dict[str, Any]) -> str:
    return f"{row['kind']} {row['factor']:g}x"
