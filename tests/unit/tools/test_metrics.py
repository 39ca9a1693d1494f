"""How the metric tools decide, on series made for the question."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_graph.tools.metrics import compare_with_other_days, describe_fleet, describe_series, find_outlier_windows, which_moved
from agent_graph.tools.robust import Usual, compare
from agent_graph.tools.series import read_series
from agent_graph.tools.severity import decide_severity

START = datetime(2024, 3, 1, tzinfo=UTC)
DAY = 288


def wave(index: int) -> float:
    """A daily rhythm with a little noise that never repeats."""
    return 50 + 10 * ((index % DAY) / DAY) + ((index * 7919) % 101) / 100


def written(
    folder: Path,
    name: str = "cpu.csv",
    *,
    days: int = 10,
    changes: Mapping[int, float] | None = None,
    shape: Callable[[int], float] = wave,
    offset_s: int = 0,
    shift_days: int = 0,
    factor: float = 1.0,
) -> str:
    changes = changes or {}
    first = START + timedelta(days=shift_days, seconds=offset_s)
    rows = (f"{(first + timedelta(minutes=5 * i)).isoformat()},{factor * changes.get(i, shape(i))!r}\n" for i in range(days * DAY))
    path = folder / name
    path.write_text("timestamp,value\n" + "".join(rows))
    return str(path)


def at(index: int) -> str:
    return (START + timedelta(minutes=5 * index)).isoformat()


def span(first: int, last: int) -> dict[str, str]:
    return {"start": at(first), "until": at(last + 1)}


# ── what is usual ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_score_is_that_of_iglewicz_and_hoaglin() -> None:
    usual = Usual.of([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (usual.centre, usual.mad) == (3.0, 1.0)
    assert usual.z(100.0) == pytest.approx(0.6745 * 97)


def test_where_half_of_the_values_are_equal_the_mean_deviation_takes_over() -> None:
    usual = Usual.of([5.0] * 9 + [15.0])
    assert usual.mad == 0
    assert usual.z(15.0) == pytest.approx(10 / (1.253314 * 1.0))


def test_equal_values_have_no_score_for_another_one() -> None:
    usual = Usual.of([0.1 + 0.2] * 5)
    assert usual.z(0.3) == 0.0  # rounding is no deviation
    assert usual.z(0.4) is None


# ── windows ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_outliers_within_the_hour_are_one_window_and_later_ones_another(tmp_path: Path) -> None:
    source = written(tmp_path, changes={1000: 200, 1012: 210, 1025: 220})
    found = find_outlier_windows(source)
    assert [(w["start"], w["end"], w["samples"]) for w in found["windows"]] == [(at(1000), at(1012), 2), (at(1025), at(1025), 1)]
    assert len(find_outlier_windows(source, join_minutes=65)["windows"]) == 1
    assert len(find_outlier_windows(source, join_minutes=64)["windows"]) == 2
    assert len(find_outlier_windows(source, join_minutes=0)["windows"]) == 3


def test_a_window_says_direction_extreme_and_when_it_is_over(tmp_path: Path) -> None:
    source = written(tmp_path, changes={500: 0, 501: -30, 1000: 200, 1002: -100, 2000: 300})
    down, both, up = find_outlier_windows(source)["windows"]
    assert (down["direction"], both["direction"], up["direction"]) == ("down", "both", "up")
    assert (down["largest"]["time"], down["largest"]["value"], down["mean"]) == (at(501), -30, -15)
    assert (down["until"], down["seconds"]) == (at(502), 600)
    assert down["largest"]["z"] < -6 < 6 < up["largest"]["z"]


def test_a_window_is_over_when_the_next_sample_comes_early(tmp_path: Path) -> None:
    path = Path(written(tmp_path, changes={1000: 300}))
    early = (datetime.fromisoformat(at(1000)) + timedelta(seconds=60)).isoformat()
    path.write_text(path.read_text() + f"{early},55\n")
    (window,) = find_outlier_windows(str(path))["windows"]
    assert (window["until"], window["seconds"]) == (early, 60)


def test_a_series_that_ends_in_a_window_is_ongoing(tmp_path: Path) -> None:
    last = 10 * DAY - 1
    found = find_outlier_windows(written(tmp_path, changes={100: 300, last - 1: 300, last: 300}))["windows"]
    assert [w["ongoing"] for w in found] == [False, True]


def test_of_too_many_windows_the_gravest_stay_in_order_of_time(tmp_path: Path) -> None:
    changes = {200 * number: 200.0 + (number * 37) % 100 for number in range(1, 13)}
    found = find_outlier_windows(written(tmp_path, changes=changes), max_windows=3)
    kept = sorted(sorted(changes, key=lambda index: -changes[index])[:3])
    assert [w["start"] for w in found["windows"]] == [at(index) for index in kept]
    assert (found["left_out"], found["outliers"]) == (9, 12)


def test_the_method_and_its_source_are_part_of_the_answer(tmp_path: Path) -> None:
    assert "Iglewicz" in find_outlier_windows(written(tmp_path))["method"]
    flat = find_outlier_windows(written(tmp_path, "flat.csv", shape=lambda _: 5.0, changes={100: 6.0}))
    assert "MAD is 0" in flat["method"]
    assert [w["start"] for w in flat["windows"]] == [at(100)]


def test_a_constant_series_has_no_outliers(tmp_path: Path) -> None:
    found = find_outlier_windows(written(tmp_path, shape=lambda _: 0.1))
    assert (found["windows"], found["largest"]["z"]) == ([], 0.0)


def test_too_few_samples_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    path.write_text("time,value\n" + "".join(f"{at(index)},1\n" for index in range(11)))
    with pytest.raises(ValueError, match="11 samples are too few"):
        find_outlier_windows(str(path))


@settings(max_examples=15, deadline=None)
@given(shift=st.integers(-400, 400))
def test_shifting_by_days_shifts_the_answer(tmp_path_factory: pytest.TempPathFactory, shift: int) -> None:
    folder = tmp_path_factory.mktemp("shift")
    changes = {900: 200.0, 903: 210.0, 1800: 0.0}
    plain = everything(written(folder, "a.csv", changes=changes))
    moved = everything(written(folder, "b.csv", changes=changes, shift_days=shift))
    assert moved == later(plain, shift)


def everything(source: str) -> Any:
    found = find_outlier_windows(source)["windows"]
    compared = compare_with_other_days(source, found)["windows"]
    return [found, [{**one, "series": ""} for one in compared]]


def later(value: Any, days: int) -> Any:
    match value:
        case dict():
            return {key: later(item, days) for key, item in value.items()}
        case list():
            return [later(item, days) for item in value]
        case str() if value.startswith("20"):
            return (datetime.fromisoformat(value) + timedelta(days=days)).isoformat()
        case _:
            return value


@settings(max_examples=15, deadline=None)
@given(factor=st.floats(1e-6, 1e6))
def test_scaling_the_values_changes_no_finding(tmp_path_factory: pytest.TempPathFactory, factor: float) -> None:
    folder = tmp_path_factory.mktemp("scale")
    changes = {900: 200.0, 903: 210.0, 1800: 0.0}
    plain_windows, plain_compared = everything(written(folder, "a.csv", changes=changes))
    windows, compared = everything(written(folder, "b.csv", changes=changes, factor=factor))
    for before, after in zip(plain_windows, windows, strict=True):
        assert {**before, "largest": 0, "mean": 0} == {**after, "largest": 0, "mean": 0}
        assert after["largest"]["z"] == pytest.approx(before["largest"]["z"], abs=2e-3)
    for before, after in zip(plain_compared, compared, strict=True):
        assert (after["verdict"], after["direction"], after["days"]) == (before["verdict"], before["direction"], before["days"])
        assert after["z"] == pytest.approx(before["z"], rel=1e-4)


# ── the same hours of other days ──────────────────────────────────────────────────────────────────────────────────────


def test_what_happens_every_day_is_not_unusual_for_its_hour(tmp_path: Path) -> None:
    nightly = {day * DAY + 36 + k: 200.0 + day for day in range(10) for k in range(3)}
    source = written(tmp_path, changes=nightly)
    first = find_outlier_windows(source)["windows"][4]
    assert first["largest"]["z"] > 6
    (compared,) = compare_with_other_days(source, [first])["windows"]
    assert (compared["verdict"], compared["days"]) == ("not moved", 9)


def test_what_happens_once_is(tmp_path: Path) -> None:
    (compared,) = compare_with_other_days(written(tmp_path, changes={1000: 200, 1001: 200}), [span(1000, 1001)])["windows"]
    assert (compared["verdict"], compared["direction"], compared["samples"], compared["days"]) == ("moved", "up", 2, 9)
    assert compared["mean"] == 200
    assert compared["ratio"] == pytest.approx(200 / compared["usual"], rel=1e-4)


def test_a_change_where_there_never_was_one_has_no_score_but_moved(tmp_path: Path) -> None:
    source = written(tmp_path, shape=lambda _: 5.0, changes={1000: 6.0})
    (changed, quiet) = compare_with_other_days(source, [span(1000, 1000), span(1100, 1100)])["windows"]
    assert (changed["verdict"], changed["z"], changed["why"]) == ("moved", None, "the other days do not differ, this one does")
    assert (quiet["verdict"], quiet["z"], quiet["direction"]) == ("not moved", 0.0, "level")


def test_too_few_days_or_samples_are_said_not_guessed(tmp_path: Path) -> None:
    short = written(tmp_path, days=3, changes={300: 200.0})
    (few,) = compare_with_other_days(short, [span(300, 300)])["windows"]
    assert (few["verdict"], few["why"], few["z"]) == ("cannot say", "only 2 other days with samples at these hours", None)
    (none,) = compare_with_other_days(short, [{"start": "2023-01-01T00:00:00Z", "until": "2023-01-01T01:00:00Z"}])["windows"]
    assert none["why"] == "less than half of the window has samples"


def test_a_window_of_days_is_not_compared_with_itself(tmp_path: Path) -> None:
    source = written(tmp_path, days=20, changes=dict.fromkeys(range(10 * DAY, 13 * DAY), 200.0))
    (compared,) = compare_with_other_days(source, [span(10 * DAY, 13 * DAY - 1)])["windows"]
    assert compared["verdict"] == "moved"
    assert compared["days"] == 9 + 6  # two days on either side overlap it, and at the ends half of it must have samples
    assert compared["usual"] < 150


def test_the_hour_is_that_of_the_local_clock_over_a_change_to_summer_time(tmp_path: Path) -> None:
    def nine_to_ten_in_berlin(index: int) -> float:
        local = datetime.fromtimestamp((START + timedelta(days=23, minutes=5 * index)).timestamp(), ZoneInfo("Europe/Berlin"))
        return 100.0 + index % 7 if local.hour == 9 else 10.0 + index % 5

    source = written(tmp_path, days=16, shift_days=23, shape=nine_to_ten_in_berlin)
    windows = [{"start": "2024-04-03T09:00:00", "until": "2024-04-03T10:00:00"}]
    (local,) = compare_with_other_days(source, windows, timezone="Europe/Berlin")["windows"]
    assert local["usual"] == pytest.approx(103, abs=1)
    assert local["spread"] < 1


def test_a_window_that_holds_no_time_is_refused(tmp_path: Path) -> None:
    source = written(tmp_path)
    with pytest.raises(ValueError, match="until must lie after start"):
        compare_with_other_days(source, [{"start": at(5), "until": at(5)}])
    with pytest.raises(ValueError, match="'noon' is not a time; write ISO 8601"):
        compare_with_other_days(source, [{"start": "noon", "until": at(5)}])


# ── which moved ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_series_that_are_offset_or_coarser_are_aligned_by_interval(tmp_path: Path) -> None:
    burst = dict.fromkeys(range(1000, 1006), 300.0)
    offset = written(tmp_path, "offset.csv", changes=burst, offset_s=-120)
    still = written(tmp_path, "still.csv", offset_s=140)
    hourly = tmp_path / "hourly.csv"
    hours = [f"{(START + timedelta(hours=h)).isoformat()},{500 if h == 1000 // 12 else 50 + h % 3}\n" for h in range(240)]
    hourly.write_text("time,value\n" + "".join(hours))
    (found,) = which_moved([offset, still, str(hourly)], [span(1001, 1001)])["windows"]
    assert set(found["moved"]) == {offset, str(hourly)}
    assert (found["not_moved"], found["cannot_say"]) == ([still], [])
    assert {one["series"]: one["samples"] for one in found["series"]} == {offset: 2, still: 2, str(hourly): 1}


def test_each_series_is_in_exactly_one_list_and_the_largest_z_comes_first(tmp_path: Path) -> None:
    sources = [written(tmp_path, f"{k}.csv", changes={1000: 50 + 40.0 * k}) for k in range(3)]
    sources.append(written(tmp_path, "short.csv", days=2))
    (found,) = which_moved([*sources, sources[0]], [span(1000, 1000)])["windows"]
    assert sorted(found["moved"] + found["not_moved"] + found["cannot_say"]) == sorted(sources)
    assert found["cannot_say"] == [sources[3]]
    assert found["series"][0]["series"] == sources[2]


def test_no_other_series_and_no_windows_are_no_error(tmp_path: Path) -> None:
    assert which_moved([], [span(1, 2)])["windows"] == [
        {"start": at(1), "until": at(3), "moved": [], "not_moved": [], "cannot_say": [], "series": [], "left_out": 0}
    ]
    assert which_moved([written(tmp_path)], [])["windows"] == []


def test_the_largest_answer_fits_into_the_ledger(tmp_path: Path) -> None:
    sources = [written(tmp_path, f"series_{number:03}_of_a_large_fleet.csv", days=4) for number in range(50)]
    answer = which_moved(sources, [span(10 * number, 10 * number) for number in range(20)])
    assert len(json.dumps(answer)) < 256 * 1024
    assert (len(answer["windows"][0]["series"]), answer["windows"][0]["left_out"]) == (15, 35)
    properties = which_moved.spec.args_schema["properties"]
    assert (properties["sources"]["maxItems"], properties["windows"]["maxItems"]) == (50, 20)


# ── describing ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_series_is_described_without_its_samples(tmp_path: Path) -> None:
    found = describe_series(written(tmp_path, changes={1000: 500.0}))
    assert (found["samples"], found["interval_s"], found["start"], found["end"]) == (10 * DAY, 300, at(0), at(10 * DAY - 1))
    assert (found["max"], found["largest"]["time"], found["largest"]["value"]) == (500, at(1000), 500)
    assert len(json.dumps(found)) < 1000


def test_the_fleet_of_an_own_file_is_what_is_given(tmp_path: Path) -> None:
    own, other, elsewhere = (
        written(tmp_path, f"{name}.csv", shift_days=shift) for name, shift in (("own", 0), ("other", 0), ("elsewhere", 50))
    )
    assert describe_fleet(own) == {"sources": [], "series": [], "notes": []}
    found = describe_fleet(own, [other, own, elsewhere, other])
    assert found["sources"] == [other, elsewhere]
    assert found["notes"] == [
        f"{own} is the series in question and was left out of its own fleet",
        f"{elsewhere} has no time in common with {own}",
    ]


def test_the_fleet_of_a_bundled_series_is_what_was_measured_beside_it() -> None:
    found = describe_fleet("elb_request_count_8c0756")
    assert found["sources"] == ["ec2_cpu_utilization_825cc2", "ec2_network_in_257a54", "rds_cpu_utilization_e47b3b"]
    assert describe_fleet("ec2_request_latency_system_failure")["sources"] == []


def test_a_fleet_with_an_unreadable_series_names_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing\.csv"):
        describe_fleet(written(tmp_path), [str(tmp_path / "missing.csv")])


# ── severity ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("verdict", "seconds", "moved", "ongoing", "severity"),
    [
        ("not moved", 99999, ["a"], True, "low"),
        ("moved", 3599, [], False, "medium"),
        ("cannot say", 60, [], False, "medium"),
        ("moved", 3600, [], False, "high"),
        ("moved", 60, ["a", "b"], False, "high"),
        ("moved", 60, [], True, "high"),
        ("moved", 3600, ["a"], False, "critical"),
        ("moved", 3600, ["a"], True, "critical"),
    ],
)
def test_severity_follows_its_rule(verdict: Any, seconds: float, moved: list[str], ongoing: bool, severity: str) -> None:
    found = decide_severity(
        [{"start": "t", "until": "u", "seconds": seconds, "ongoing": ongoing}],
        [{"start": "t", "verdict": verdict}],
        [{"start": "t", "moved": moved}],
    )
    assert found["severity"] == found["windows"][0]["severity"] == severity
    assert found["windows"][0]["why"]


def test_without_findings_there_is_only_information() -> None:
    assert decide_severity([], [], [])["severity"] == "info"


def test_the_gravest_window_decides() -> None:
    windows: Any = [{"start": str(k), "until": "u", "seconds": 60.0, "ongoing": k == 1} for k in range(3)]
    compared: Any = [{"start": str(k), "verdict": "moved"} for k in range(3)]
    moved: Any = [{"start": str(k), "moved": []} for k in range(3)]
    assert [one["severity"] for one in decide_severity(windows, compared, moved)["windows"]] == ["medium", "high", "medium"]
    assert decide_severity(windows, compared, moved)["severity"] == "high"


def test_findings_about_other_windows_are_refused() -> None:
    windows: Any = [{"start": "a", "until": "b", "seconds": 60.0, "ongoing": False}]
    with pytest.raises(ValueError, match=r"compared is about other windows \(none\)"):
        decide_severity(windows, [], [{"start": "a", "moved": []}])


def test_comparing_reads_only_the_days_that_it_may(tmp_path: Path) -> None:
    series = read_series(written(tmp_path, days=30))
    middle = datetime.fromisoformat(at(15 * DAY)).timestamp()
    assert compare(series, middle, middle + 600, threshold=6, days=3)["days"] == 6
