"""Results as JSON, plots as PNG, and one HTML page that carries both and needs nothing else."""

import base64
import json
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl

mpl.use("Agg")  # no display
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

_STYLE = """:root{color-scheme:light dark;--line:#8884;--good:#1a7f37;--bad:#cf222e}
body{font:14px/1.5 system-ui,sans-serif;margin:0 auto;max-width:64rem;padding:1rem}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}img{background:#fff;max-width:100%}
table{border-collapse:collapse;margin:.5rem 0}th,td{border-bottom:1px solid var(--line);padding:.2rem .7rem}
th,td{text-align:right}
th:first-child,td:first-child{text-align:left}.good{color:var(--good)}.bad{color:var(--bad)}"""
Cell = str | float | int | bool | None


class Table(NamedTuple):
    """A table of the page."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


class Series(NamedTuple):
    """One line or one group of bars."""

    name: str
    x: Sequence[Any]
    y: Sequence[float]


def environment() -> dict[str, Cell]:
    """On what it was measured: a figure without it means nothing."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "grpcio": version("grpcio"),
        "extauthz": version("extauthz"),
    }


def bars(title: str, unit: str, groups: Sequence[Series], limits: Mapping[str, float] | None = None) -> Figure:
    """Groups of bars over the same names; `limits` draws a line across the bars of a name."""
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    width = 0.8 / len(groups)
    for place, group in enumerate(groups):
        at = [index + place * width for index in range(len(group.x))]
        axes.bar_label(axes.bar(at, group.y, width, label=group.name), fmt="%.3g", fontsize=8)
    names = [str(name) for name in groups[0].x]
    axes.set_xticks([index + 0.4 - width / 2 for index in range(len(names))], names)
    for name, limit in (limits or {}).items():
        if name in names:
            axes.hlines(limit, names.index(name) - width / 2, names.index(name) + 0.8 - width / 2, "red")
    axes.set(title=title, ylabel=unit)
    axes.legend(fontsize=8)
    return figure


def stacked(title: str, unit: str, bars_of: Sequence[Series]) -> Figure:
    """A horizontal bar for each series, made of its parts."""
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    left = [0.0] * len(bars_of)
    for place, part in enumerate(bars_of[0].x):
        values = [series.y[place] for series in bars_of]
        axes.barh([series.name for series in bars_of], values, left=left, label=str(part), color=f"C{place % 10}")
        left = [start + value for start, value in zip(left, values, strict=True)]
    axes.set(title=title, xlabel=unit)
    axes.legend(fontsize=6, ncols=2, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def lines(title: str, x: str, y: str, series: Sequence[Series], *, log: bool = False) -> Figure:
    """Lines over a common axis; `log` makes the vertical one logarithmic."""
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for each in series:
        axes.plot(each.x, each.y, marker="." if len(each.x) < 100 else "", label=each.name)  # noqa: PLR2004 - legible
    axes.set(title=title, xlabel=x, ylabel=y, yscale="log" if log else "linear")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def write(
    directory: Path,
    name: str,
    result: Mapping[str, Any],
    figures: Mapping[str, Figure],
    tables: Sequence[Table],
    verdict: Sequence[str] | None = None,
) -> list[Path]:
    """`name`.json, a PNG a figure and `name`.html; `verdict` lists what was missed, empty when nothing was."""
    directory.mkdir(parents=True, exist_ok=True)
    files = [directory / f"{name}.json"]
    files[0].write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    body = []
    if verdict is not None:
        body += [f"<p class=bad>{escape(line)}" for line in verdict] or ["<p class=good>every limit was kept"]
    for title, figure in figures.items():
        file = directory / f"{name}-{title}.png"
        figure.savefig(file, dpi=110)
        plt.close(figure)
        files.append(file)
        picture = base64.b64encode(file.read_bytes()).decode()
        body.append(f'<p><img alt="{escape(title)}" src="data:image/png;base64,{picture}">')
    body += [_table(table) for table in tables]
    raw = escape(json.dumps(result, indent=1))
    page = directory / f"{name}.html"
    page.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>extauthz: {escape(name)}</title>"
        f"<style>{_STYLE}</style><h1>extauthz: {escape(name)}</h1>{''.join(body)}"
        f"<details><summary>{escape(name)}.json</summary><pre>{raw}</pre></details></html>\n",
        encoding="utf-8",
    )
    files.append(page)
    return files


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}" for cell in table.head)
    rows = "".join("<tr>" + "".join(f"<td>{_cell(cell)}" for cell in row) for row in table.rows)
    return f"<h2>{escape(table.title)}</h2><table><tr>{head}{rows}</table>"


def _cell(value: Cell) -> str:
    if isinstance(value, bool):
        return "<span class=good>yes</span>" if value else "<span class=bad>no</span>"
    if value is None:
        return ""
    return escape(f"{value:.4g}" if isinstance(value, float) else str(value))


def say(text: str) -> None:
    """Progress, with the time, at once."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
    sys.stdout.flush()


def say_files(files: Sequence[Path]) -> None:
    """Where the results are."""
    for file in files:
        say(f"wrote {file}")
