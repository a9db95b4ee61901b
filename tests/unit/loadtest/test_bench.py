"""The shape of bench.json, and the fallback client where h2load is not installed."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from loadtest import bench, bench_report, h2load, servers
from loadtest.bench_runs import Cell, Sample
from loadtest.questions import GRPC_HEADERS, framed


def result() -> dict[str, Any]:
    rows = []
    for scenario in ("streams_1", "streams_16", "rps_1000", "varied_16"):
        for pinned in (True, False):
            pairs = [[Sample(45.0 + at, 9000, [0.001]), Sample(100.0, 8000, [0.002])] for at in range(3)]
            rows.append(bench.row(Cell(scenario, pinned), pairs))
    return bench.summary(rows, "loop", 3, 2.0)


def test_bench_json_has_the_pinned_ratios_by_scenario() -> None:
    found = json.loads(json.dumps(result()))
    assert {"streams_1": 0.46, "streams_16": 0.46, "rps_1000": 0.46} == found["cpu_ratio"]
    assert ("loop", 3, True) == (found["transport"], found["rounds"], found["pinned"])
    assert {"streams_1", "streams_16", "rps_1000", "varied_16"} == set(found["cpu_ratio_free"])
    first = found["cells"][0]
    assert [0.45, 0.46, 0.47] == first["ratios"]
    assert (0.45, 0.46, 0.47) == (first["low"], first["median"], first["high"])
    assert 46.0 == first["extauthz"]["cpu_us"]
    assert 1.0 == first["extauthz"]["latency_ms"]["p99"]


def test_without_a_second_core_the_free_ratios_count() -> None:
    rows = [each for each in result()["cells"] if not each["pinned"]]
    found = bench.summary(rows, "stock", 3, 2.0)
    assert not found["pinned"]
    assert {"streams_1", "streams_16", "rps_1000"} == set(found["cpu_ratio"])


def test_the_page_shows_every_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "RESULTS", tmp_path)
    files = {file.name for file in bench_report.write(result())}
    assert {"bench.json", "bench-ratio.png", "bench-cpu.png", "bench.html"} == files
    assert 8 <= (tmp_path / "bench.html").read_text().count("<tr>")


def test_steps_growth_and_memory_are_shown_where_they_were_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "RESULTS", tmp_path)
    steps = {"whole": 60.0, "read_check": 10.0, "parse (upb)": 2.0, "decide": 30.0}
    more = {
        "steps": {"account": steps, "loan": steps},
        "outer": ["read_check", "decide"],
        "growth": [{"what": "policies", "size": 10_000, "us": 61.04, "best_us": 60.0, "ratio": 1.0173}],
        "longest_gc_pause_ms": 0.4,
        "goal": 1.1,
        "memory": {"bank": {"rss_mb": 101.0, "peak_mb": 110.0, "limit_mb": 120.0}},
    }
    files = {file.name for file in bench_report.write(result() | more)}
    assert "bench-steps.png" in files
    page = (tmp_path / "bench.html").read_text()
    for row in (
        "<td>parse (upb)<td>2<td>2",
        "<td>policies<td>10000<td>61<td>1.017",
        "<td>bank<td>101<td>110<td>120",
        "pause of the collector 0.400 ms",
    ):
        assert row in page, row


def test_both_clients_of_a_closed_loop_find_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """h2load where it is installed, and ours, which is used where it is not."""
    with ExitStack() as stack:
        target = servers.start_noop(tmp_path, stack, b"answer")
        for installed in (True, False):
            if installed and not h2load.available():
                continue
            monkeypatch.setattr(h2load, "available", lambda installed=installed: installed)
            shape = h2load.Shape(streams=4, total=200)
            run = h2load.closed_loop(target.address, GRPC_HEADERS, framed(b"question"), shape, tmp_path)
            assert (200, 200 * len(framed(b"answer"))) == (run.answered, run.body_bytes)
            assert 200 == len(run.latencies)
            assert 0 < min(run.latencies) < max(run.latencies) <= run.seconds * 1.5
        assert 0.0 < servers.cpu_seconds(target.pid) < 60.0


def test_answers_that_are_missing_are_an_error(tmp_path: Path) -> None:
    text = "finished in 1.00s, 10.00 req/s\nstatus codes: 9 2xx, 0 3xx, 0 4xx, 0 5xx\ntraffic: 1 (1) total, 1 (1) data"
    (tmp_path / "log").write_text("1\t200\t1000\n")
    with pytest.raises(h2load.LoadError, match="not all of 10 answers"):
        h2load._read(text, tmp_path / "log", 10)
