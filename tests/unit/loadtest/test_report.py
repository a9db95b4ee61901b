"""Results: JSON, PNG and a page that needs nothing else."""

import json
import re
from pathlib import Path

from loadtest import report


def test_json_plots_and_a_page_that_carries_them_are_written(tmp_path: Path) -> None:
    bars = report.bars("ratio", "ratio", [report.Series("pinned", ["a", "b"], [0.5, 0.4])], {"a": 0.55})
    lines = report.lines("latency", "s", "ms", [report.Series("p99", [0, 1, 2], [1.0, 2.0, 1.5])], log=True)
    table = report.Table("Figures", ("name", "value", "kept"), [("<a>", 0.51234, True), ("b", None, False)])
    files = report.write(tmp_path, "bench", {"x": 1}, {"ratio": bars, "latency": lines}, [table], ["too <slow>"])
    assert ["bench.json", "bench-ratio.png", "bench-latency.png", "bench.html"] == [file.name for file in files]
    assert {"x": 1} == json.loads(files[0].read_text())
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files[1:3])
    page = files[3].read_text()
    assert 2 == page.count("data:image/png;base64,")
    assert "too &lt;slow&gt;" in page
    assert "&lt;a&gt;<td>0.5123<td><span class=good>yes" in page
    assert not re.search(r"(src|href)=\"?(http|/|\w+\.)", page), "the page must need nothing else"


def test_a_page_without_misses_says_so(tmp_path: Path) -> None:
    *_, page = report.write(tmp_path, "gate", {}, {}, [], [])
    assert "every limit was kept" in page.read_text()


def test_figures_say_where_they_were_measured() -> None:
    found = report.environment()
    assert {"time", "processor", "cores", "kernel", "python", "grpcio", "extauthz"} <= found.keys()
    assert all(value not in {"", None} for value in found.values())
