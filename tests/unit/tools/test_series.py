"""What is read from files in the field, and what is said about it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_graph.tools import series as module
from agent_graph.tools.columns import time_in
from agent_graph.tools.series import Series, all_bundled, bundled, duration, read_series

EPOCH = 1_397_088_000.0  # 2014-04-10T00:00:00Z


def written(folder: Path, text: str, name: str = "cpu.csv") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def database(folder: Path, *statements: str, rows: list[tuple[Any, ...]] | None = None) -> str:
    path = folder / "metrics.db"
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        for row in rows or []:
            connection.execute(f"INSERT INTO cpu VALUES ({', '.join('?' * len(row))})", row)
        connection.commit()
    return str(path)


def points(series: Series) -> list[tuple[float, float]]:
    return list(zip(series.times, series.values, strict=True))


# ── times ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "raw",
    [
        "2014-04-10 00:00:00",
        "2014-04-10T00:00:00",
        "2014-04-10T00:00:00Z",
        "2014-04-10T02:00:00+02:00",
        "2014-04-10 00:00:00.000000",
        "2014-04-10 00:00:00 UTC",
        "2014-04-10",
        "20140410",
        "1397088000",
        "1397088000.0",
        "1397088000000",
        "1397088000000000",
        "1397088000000000000",
        1_397_088_000,
        1.397088e9,
    ],
)
def test_one_instant_is_read_in_every_usual_spelling(raw: Any) -> None:
    assert time_in(raw, UTC) == EPOCH


@pytest.mark.parametrize("raw", ["", "n/a", "10/04/2014", "-1", "0", "99999999999999999999999", "nan", "2014-13-01", "0001-01-01", None])
def test_what_is_no_time_is_not_guessed(raw: Any) -> None:
    assert time_in(raw, UTC) is None


def test_times_without_a_zone_are_in_the_given_one_and_others_keep_theirs(tmp_path: Path) -> None:
    source = written(tmp_path, "timestamp,value\n2014-04-10 02:00,1\n2014-04-10T00:05:00Z,2\n")
    assert list(read_series(source, timezone="Europe/Berlin").times) == [EPOCH, EPOCH + 300]


def test_an_unknown_zone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="timezone 'Mars/Base' is not known; use an IANA name"):
        read_series(written(tmp_path, "t,v\n"), timezone="Mars/Base")


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_wrong_with_the_rows_is_handled_and_said(tmp_path: Path) -> None:
    lines = [
        "timestamp,value",
        "2014-04-10 00:10,3",
        "2014-04-10 00:00,1",
        "2014-04-10 00:05,2",
        "2014-04-10 00:05,9",
        "2014-04-10 00:05,4",
    ]
    lines += ["2014-04-10 00:15,nan", "2014-04-10 00:20,", "2014-04-10 00:25,inf", "when?,5", "2014-04-10 01:00,7", "2014-04-10 01:05"]
    found = read_series(written(tmp_path, "\n".join(lines)))
    assert points(found) == [(EPOCH, 1.0), (EPOCH + 300, 4.0), (EPOCH + 600, 3.0), (EPOCH + 3600, 7.0)]
    assert found.quality == {
        "rows": 11,
        "unreadable_times": 1,
        "unreadable_values": 4,
        "duplicates": 3,
        "unsorted": 1,
        "gaps": 1,
        "longest_gap_s": 3000.0,
        "notes": [
            "1 row without a readable time left out, for example 'when?'",
            "4 rows without a number left out, for example 'nan'",
            "3 rows shared a time with another one (most: 3 at 2014-04-10T00:05:00+00:00); the median of each was kept",
            "1 row out of order; sorted by time",
            "1 gap, the longest of 50 min after 2014-04-10T00:10:00+00:00 (usual step 5 min)",
        ],
    }


def test_clean_rows_have_nothing_to_note(tmp_path: Path) -> None:
    assert read_series(written(tmp_path, "timestamp,value\n2014-04-10,1\n2014-04-11,2\n2014-04-12,3\n")).quality["notes"] == []


@given(st.permutations(range(20)))
def test_the_order_of_rows_does_not_matter(tmp_path_factory: pytest.TempPathFactory, order: list[int]) -> None:
    source = written(tmp_path_factory.mktemp("order"), "time,value\n" + "".join(f"{EPOCH + 60 * number},{number}\n" for number in order))
    assert points(read_series(source)) == [(EPOCH + 60 * number, float(number)) for number in range(20)]


# ── columns ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        "timestamp,value\n1397088000,5\n",
        "\ufeffTimestamp,Value\r\n1397088000,5\r\n",
        "time;cpu_percent\n1397088000;5\n",
        "host\ttime\tvalue\nweb1\t1397088000\t5\n",
        'value,"time"\n5,"1397088000"\n',
        "when,cpu\n2014-04-10T00:00Z,5\n",
        "1397088000,5\n",
        "\ntimestamp,value\n\n1397088000,5\n\n",
    ],
)
def test_columns_are_found(tmp_path: Path, text: str) -> None:
    assert points(read_series(written(tmp_path, text))) == [(EPOCH, 5.0)]


def test_a_file_without_a_header_says_how_its_columns_are_called(tmp_path: Path) -> None:
    assert "columns are called column1, column2" in read_series(written(tmp_path, "1397088000,5\n")).quality["notes"][0]


def test_one_of_several_value_columns_is_named_in_the_source_or_beside_it(tmp_path: Path) -> None:
    source = written(tmp_path, "time,cpu,net\n1397088000,5,6\n")
    assert list(read_series(f"{source}::net").values) == [6.0]
    assert list(read_series(source, value_column="cpu").values) == [5.0]
    assert read_series(f"{source}::net").source == f"{source}::net"


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("", {}, "the file is empty"),
        ("timestamp,value\n", {}, "none of 0 rows has a readable time"),
        ("timestamp,value\n10/04/2014,5\n", {}, "seen as time: '10/04/2014'"),
        ("timestamp,value\n1397088000,high\n", {}, "seen as value: 'high'"),
        ("time,cpu,net\n1397088000,5,6\n", {}, "Say it with value_column, or FILE::COLUMN: cpu, net"),
        ("a,b\nx,5\n", {}, "no column looks like a time; say which with time_column: a, b"),
        ("time,value\n1397088000,5\n", {"value_column": "cpu"}, "there is no column 'cpu' (value_column); there are time, value"),
        ("time\n1397088000\n", {}, "none is left"),
        ('time,value\n"1397088000,5\n', {}, "not readable as CSV"),
    ],
)
def test_a_file_that_cannot_be_read_says_what_to_do(tmp_path: Path, text: str, options: dict[str, str], said: str) -> None:
    source = written(tmp_path, text)
    with pytest.raises(ValueError) as caught:
        read_series(source, **options)
    assert said in str(caught.value)
    assert source in str(caught.value)


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cpu.csv"
    path.write_bytes(b"time,value\n\xff\xfe\n")
    with pytest.raises(ValueError, match="neither UTF-8 text nor a SQLite file"):
        read_series(str(path))


def test_too_many_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SAMPLES", 3)
    with pytest.raises(ValueError, match="more than 3 rows; aggregate it first"):
        read_series(written(tmp_path, "time,value\n" + "".join(f"{EPOCH + number},1\n" for number in range(5))))


# ── where from ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_table_is_read_by_name(tmp_path: Path) -> None:
    rows = [(EPOCH + 60, 2.0, 20), (EPOCH, 1.0, 10), (None, 3.0, 30), (EPOCH + 120, None, 40)]
    source = database(tmp_path, "CREATE TABLE cpu (at REAL, value REAL, net)", "CREATE TABLE other (x)", rows=rows)
    found = read_series(f"{source}::cpu")
    assert points(found) == [(EPOCH, 1.0), (EPOCH + 60, 2.0)]
    assert (found.quality["unreadable_times"], found.quality["unreadable_values"]) == (1, 1)
    assert list(read_series(f"{source}::cpu::net").values) == [10.0, 20.0, 40.0]


def test_the_only_table_needs_no_name_and_a_view_is_a_table(tmp_path: Path) -> None:
    source = database(tmp_path, 'CREATE TABLE cpu ("time of day" TEXT, "the value" REAL)', rows=[("2014-04-10", 1.0)])
    assert list(read_series(source, time_column="time of day").values) == [1.0]
    database(tmp_path, 'CREATE VIEW v AS SELECT "time of day" AS time, "the value" * 2 AS value FROM cpu')
    assert list(read_series(f"{source}::v").values) == [2.0]


@pytest.mark.parametrize(
    ("suffix", "said"),
    [
        ("", "it has more than one table"),
        ("::gpu", "there is no table 'gpu'"),
        ("::cpu::x::y", "too many parts"),
        ("::cpu::load", "no column 'load'"),
    ],
)
def test_a_table_that_is_not_there_says_which_are(tmp_path: Path, suffix: str, said: str) -> None:
    source = database(tmp_path, "CREATE TABLE cpu (time, value)", "CREATE TABLE net (time, value)", rows=[(EPOCH, 1)])
    with pytest.raises(ValueError, match=said):
        read_series(source + suffix)


def test_a_table_name_is_not_sql(tmp_path: Path) -> None:
    source = database(tmp_path, 'CREATE TABLE "a""; DROP TABLE cpu" (time, value)', "CREATE TABLE cpu (time, value)")
    with pytest.raises(ValueError, match="none of 0 rows"):
        read_series(f'{source}::a"; DROP TABLE cpu')
    with closing(sqlite3.connect(source)) as connection:
        assert connection.execute("SELECT count(*) FROM cpu").fetchone() == (0,)


def test_a_bare_name_is_a_bundled_series_unless_such_a_file_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(read_series("rds_cpu_utilization_e47b3b").values) == 4032
    written(tmp_path, "time,value\n1397088000,5\n", "rds_cpu_utilization_e47b3b")
    assert list(read_series("rds_cpu_utilization_e47b3b").values) == [5.0]


def test_an_unknown_source_says_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"cpu\.csv: there is no such file in .*, or one of ec2_cpu_utilization_825cc2"):
        read_series("cpu.csv")


def test_bundled_names_cannot_leave_their_folder() -> None:
    assert bundled("../__init__") is None
    assert bundled("nothing_of_the_kind") is None
    assert len(all_bundled()) == 5


def test_a_series_is_read_once_until_its_file_changes(tmp_path: Path) -> None:
    source = written(tmp_path, "time,value\n1397088000,5\n")
    first = read_series(source)
    assert read_series(source) is first
    written(tmp_path, "time,value\n1397088000,6\n")
    os.utime(source, ns=(1, 1))
    assert list(read_series(source).values) == [6.0]


def test_a_database_that_changes_in_its_log_is_read_again(tmp_path: Path) -> None:
    source = database(tmp_path, "PRAGMA journal_mode = wal", "CREATE TABLE cpu (time, value)", rows=[(EPOCH, 1)])
    with closing(sqlite3.connect(source)) as writer:
        assert len(read_series(source).values) == 1
        writer.execute("INSERT INTO cpu VALUES (?, 2)", [EPOCH + 60])
        writer.commit()
        assert len(read_series(source).values) == 2


def test_what_is_held_is_bounded() -> None:
    held = module._Cache(most=2, samples=5)
    small, large = (read_of(number) for number in (2, 4))
    held.put(("a",), small)
    held.put(("b",), small)
    held.put(("c",), small)
    assert held.get(("a",)) is None
    held.put(("d",), large)
    assert [held.get((key,)) for key in "bcd"] == [None, None, large]


# ── means ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_of(count: int, *, step: float = 300.0, offset: float = 0.0) -> Series:
    times = [EPOCH + offset + step * number for number in range(count)]
    quality = {
        "rows": count,
        "unreadable_times": 0,
        "unreadable_values": 0,
        "duplicates": 0,
        "unsorted": 0,
        "gaps": 0,
        "longest_gap_s": 0.0,
        "notes": [],
    }
    return Series(source="s", times=times, values=[float(n) for n in range(count)], step=step, zone=UTC, quality=quality)  # type: ignore[arg-type]


def test_a_mean_counts_each_sample_for_its_part_of_the_window() -> None:
    series = read_of(4)
    assert series.mean(EPOCH, EPOCH + 600) == (0.5, 2, 600.0)
    assert series.mean(EPOCH + 150, EPOCH + 600) == ((150 * 0 + 300 * 1) / 450, 2, 450.0)


def test_a_window_narrower_than_the_interval_reads_the_sample_that_stands_there() -> None:
    assert read_of(4, step=3600).mean(EPOCH + 4000, EPOCH + 4060) == (1.0, 1, 60.0)


def test_where_nothing_was_measured_there_is_no_mean() -> None:
    series = read_of(2)
    assert series.mean(EPOCH - 600, EPOCH) is None
    assert series.mean(EPOCH + 600, EPOCH + 1200) is None
    assert series.mean(EPOCH + 300, EPOCH + 1200) == (1.0, 1, 300.0)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(39_000, "10 h 50 min"), (600, "10 min"), (90, "1 min 30 s"), (86_400, "1 d"), (0.25, "0.25 s"), (90_061, "1 d 1 h")],
)
def test_durations_are_told_by_their_two_largest_units(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_times_are_told_in_the_zone_of_the_series() -> None:
    assert read_of(1).iso(EPOCH) == datetime(2014, 4, 10, tzinfo=UTC).isoformat()
