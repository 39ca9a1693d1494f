"""What the metric tools find on real incidents, held to the labels of the benchmark that the data comes from."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent_graph.tools.metrics import compare_with_other_days, describe_fleet, describe_series, find_outlier_windows, which_moved
from agent_graph.tools.series import all_bundled, bundled

LABELS: dict[str, list[list[str]]] = json.loads((Path(__file__).parents[2] / "data" / "nab" / "anomaly_windows.json").read_text())
CPU, NETWORK, BALANCER, DATABASE = (
    "ec2_cpu_utilization_825cc2",
    "ec2_network_in_257a54",
    "elb_request_count_8c0756",
    "rds_cpu_utilization_e47b3b",
)
LATENCY = "ec2_request_latency_system_failure"
FLEET = [NETWORK, BALANCER, DATABASE]


def when(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def in_a_label(series: str, start: str, end: str) -> bool:
    return any(when(first) <= when(start) and when(end) <= when(last) for first, last in LABELS[f"{series}.csv"])


def bounds(source: str) -> list[tuple[str, str]]:
    return [(w["start"][:16], w["end"][:16]) for w in find_outlier_windows(source)["windows"]]


def test_the_dip_and_the_long_fall_are_two_findings() -> None:
    dip, fall = find_outlier_windows(CPU)["windows"]
    assert (dip["start"], dip["end"]) == ("2014-04-15T16:54:00+00:00", "2014-04-15T16:59:00+00:00")
    assert (fall["start"], fall["end"]) == ("2014-04-16T03:29:00+00:00", "2014-04-16T14:14:00+00:00")
    assert (dip["direction"], fall["direction"]) == ("down", "down")
    assert abs(dip["largest"]["z"]) == pytest.approx(10.8, abs=0.05)
    assert abs(fall["largest"]["z"]) == pytest.approx(21.2, abs=0.05)
    assert find_outlier_windows(CPU)["median"] == pytest.approx(92, abs=1)
    assert fall["mean"] == pytest.approx(26, abs=1)


def test_the_findings_meet_the_label_of_the_host() -> None:
    dip, fall = find_outlier_windows(CPU)["windows"]
    assert in_a_label(CPU, dip["start"], dip["end"])
    assert in_a_label(CPU, fall["start"], fall["start"])  # the fall outlasts its label


def test_both_findings_are_unusual_for_their_hours() -> None:
    compared = compare_with_other_days(CPU, find_outlier_windows(CPU)["windows"])["windows"]
    assert [(one["verdict"], one["direction"], one["days"]) for one in compared] == [("moved", "down", 13)] * 2


def test_the_network_moved_in_the_dip_and_not_in_the_fall_and_the_others_in_neither() -> None:
    dip, fall = which_moved(FLEET, find_outlier_windows(CPU)["windows"])["windows"]
    assert dip["moved"] == [NETWORK]
    assert set(dip["not_moved"]) == {BALANCER, DATABASE}
    assert fall["moved"] == []
    assert set(fall["not_moved"]) == set(FLEET)
    network = {one["series"]: one for one in dip["series"]}[NETWORK]
    assert network["z"] > 1000
    assert network["direction"] == "up"
    calm = {one["series"]: one for one in fall["series"]}
    assert calm[NETWORK]["z"] == pytest.approx(-1, abs=0.2)
    assert abs(calm[DATABASE]["z"]) < 1


@pytest.mark.parametrize("series", [CPU, *FLEET, LATENCY])
def test_the_largest_deviation_of_each_series_lies_in_one_of_its_labels(series: str) -> None:
    largest = describe_series(series)["largest"]
    assert in_a_label(series, largest["time"], largest["time"])
    assert find_outlier_windows(series)["largest"] == largest


def test_the_failing_server_has_exactly_its_three_known_findings() -> None:
    found = [("2014-03-14T09:06", "2014-03-14T09:06"), ("2014-03-18T22:36", "2014-03-18T22:41"), ("2014-03-21T03:01", "2014-03-21T03:41")]
    assert bounds(LATENCY) == found
    assert all(in_a_label(LATENCY, start + ":00+00:00", end + ":00+00:00") for start, end in found)
    assert [w["ongoing"] for w in find_outlier_windows(LATENCY)["windows"]] == [False, False, True]


def test_the_repeated_rows_and_the_gap_before_them_are_said() -> None:
    quality = describe_series(LATENCY)["quality"]
    assert (quality["rows"], quality["duplicates"], quality["longest_gap_s"]) == (4032, 12, 64 * 60)
    assert any("12 at 2014-03-09T03:00:00" in note for note in quality["notes"])


def test_the_fleet_is_what_was_measured_in_the_same_weeks() -> None:
    assert describe_fleet(CPU)["sources"] == FLEET
    assert describe_fleet(LATENCY)["sources"] == []


def rewritten(folder: Path, name: str, *, days: int = 0, factor: float = 1.0) -> str:
    source = bundled(name)
    assert source is not None
    lines = source.read_text().splitlines()
    rows = (line.split(",") for line in lines[1:])
    moved = (f"{datetime.fromisoformat(at) + timedelta(days=days)},{float(value) * factor!r}" for at, value in rows)
    path = folder / f"{name}.csv"
    path.write_text("\n".join([lines[0], *moved]))
    return str(path)


def investigated(cpu: str, fleet: list[str]) -> list[Any]:
    windows = find_outlier_windows(cpu)["windows"]
    moved = which_moved(fleet, windows)["windows"]
    return [
        (when(w["start"]), when(w["end"]), w["direction"], round(w["largest"]["z"], 2), sorted(Path(s).stem for s in m["moved"]))
        for w, m in zip(windows, moved, strict=True)
    ]


@pytest.mark.parametrize("days", [-365, -1, 1, 30])
def test_shifting_all_times_by_days_shifts_the_answer(tmp_path: Path, days: int) -> None:
    shifted = investigated(rewritten(tmp_path, CPU, days=days), [rewritten(tmp_path, name, days=days) for name in FLEET])
    delta = timedelta(days=days)
    assert shifted == [(start + delta, end + delta, *rest) for start, end, *rest in investigated(CPU, FLEET)]


@pytest.mark.parametrize("factor", [1e-3, 0.37, 1024.0])
def test_scaling_the_values_leaves_the_answer(tmp_path: Path, factor: float) -> None:
    scaled = investigated(rewritten(tmp_path, CPU, factor=factor), [rewritten(tmp_path, name, factor=factor) for name in FLEET])
    assert scaled == investigated(CPU, FLEET)


def test_the_labels_are_not_shipped() -> None:
    package = Path(__file__).parents[3] / "agent_graph"
    assert not list(package.rglob("anomaly_windows*"))
    assert [f"{name}.csv" in LABELS for name in all_bundled()] == [True] * 5
