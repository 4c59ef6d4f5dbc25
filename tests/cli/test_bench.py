"""`platformd bench`: short runs work, say what they found, and leave nothing. What was measured is not judged."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from platformd.cli.bench import floors, report, traffic
from tests.cli.commands import program

RUNS: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "thaw": (("--thaws", "3"), {"thaws", "warm_p50", "warm_p95", "thaw_p50", "thaw_p95"}),
    "cold-start": (("--wakes", "3", "--sleeping", "20"), {"wakes", "sleeping", "among_one", "among_many"}),
    "herd": (("--clients", "20"), {"clients", "tiny_c", "http_server"}),
    "api": (
        ("--stored", "100", "--seconds", "1"),
        {"stored", "seconds", "connections", "get_status", "create"},
    ),
    "sse": (
        ("--readers", "5", "--rate", "50", "--seconds", "2"),
        {"readers", "rate", "seconds", "lines", "fewest", "p50", "p99", "worst", "core", "user", "system"},
    ),
    "fleet": (("--apps", "5", "--sleeping", "30"), {"apps", "sleeping", "asleep", "at_once", "awake"}),
}


def bench(*arguments: str, **environ: str) -> Any:
    before = set(Path("/tmp").glob("platformd-bench-*"))
    done = program("bench", *arguments, "--json", **environ)
    assert done.returncode == 0, done.stderr
    assert set(Path("/tmp").glob("platformd-bench-*")) <= before
    return json.loads(done.stdout)


def judged(found: Any, name: str, figures: set[str]) -> None:
    assert set(found) == {"bench", "machine", "results", "figures", "notes"}
    assert found["bench"] == name
    assert set(found["figures"]) == figures
    assert found["results"]
    for row in found["results"]:
        assert set(row) == {"what", "measured", "goal", "met"}
        assert (row["met"] is None) == (row["goal"] == "")
    assert set(found["machine"]) == {"cpus", "kernel", "python", "load"}


@pytest.mark.parametrize("name", RUNS)
def test_a_short_run(name: str) -> None:
    arguments, figures = RUNS[name]
    found = bench(name, *arguments)
    judged(found, name, figures)
    match name:
        case "herd":
            for each in ("tiny_c", "http_server"):
                assert found["figures"][each]["answered"] == [20, 20, 20]
                assert found["figures"][each]["starts"] == [1, 1, 1]
        case "api":
            for each, status in (("get_status", "200"), ("create", "201")):
                load = found["figures"][each]["fast"]
                assert set(load["statuses"]) == {status}
                assert load["answers"] > 10
                assert 0 < load["p50"] <= load["p99"] <= load["worst"]
        case "sse":
            assert found["figures"]["fewest"] > 10
            assert found["figures"]["lines"] >= 5 * found["figures"]["fewest"]
            assert 0 < found["figures"]["p50"] <= found["figures"]["p99"] <= found["figures"]["worst"]
        case "fleet":
            assert found["figures"]["at_once"]["statuses"] == [{"200": 5}] * 3


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not there")
def test_a_short_run_under_load() -> None:
    found = bench("warm", "--seconds", "1", "--rounds", "1")
    judged(found, "warm", {"connections", "seconds", "rounds", "rates", "p99", "failed"})
    assert found["figures"]["failed"]["gateway"] == 0
    assert {"gateway", "direct"} <= set(found["figures"]["rates"])


def test_the_table_for_people() -> None:
    done = program("bench", "cold-start", "--wakes", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == ["WHAT", "MEASURED", "GOAL", "VERDICT"]
    assert "wake among 1 sleeping, p50" in done.stdout
    assert "CPUs, Linux" in done.stdout


def test_without_a_compiler_it_says_so(tmp_path: Path) -> None:
    done = program("bench", "cold-start", PATH=str(tmp_path))
    assert done.returncode == 1
    assert "no C compiler" in done.stderr


def test_without_wrk_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(floors.CannotMeasure, match="wrk-of-nowhere is not there; install wrk"):
        floors.tool("wrk-of-nowhere", "wrk")


def test_a_server_that_does_not_start_is_no_floor(tmp_path: Path) -> None:
    measured = floors.Floors(tmp_path)
    measured.server = tmp_path / "not-there"
    with pytest.raises(floors.CannotMeasure, match="No such file"):
        measured.one_by_one(1, 0)


def test_floors_give_a_time_for_each(tmp_path: Path) -> None:
    measured = floors.Floors(tmp_path)
    assert stat.S_IMODE(measured.server.stat().st_mode) == 0o755
    times = measured.one_by_one(5, 1)
    assert len(times) == 5
    assert all(0 < took < 10 for took in times)
    assert 0 < measured.all_at_once(10) < 10


def test_a_burst_counts_what_never_came() -> None:
    found = traffic.burst("http://127.0.0.1:1", ["a", "b"])
    assert found.statuses == {0: 2}


@pytest.mark.parametrize(("percent", "expected"), [(50, 2), (99, 4), (25, 1), (100, 4), (0, 1)])
def test_percentiles_are_values_that_were_measured(percent: float, expected: float) -> None:
    assert report.percentile([4, 1, 3, 2], percent) == expected


def test_a_report_as_a_document() -> None:
    made = report.Report("x", figures={"n": 1}, notes=["so"])
    made.add("what", "1 ms", "2 ms", True)
    made.add("other", "3")
    assert made.document()["results"] == [
        {"what": "what", "measured": "1 ms", "goal": "2 ms", "met": True},
        {"what": "other", "measured": "3", "goal": "", "met": None},
    ]
