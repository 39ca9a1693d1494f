"""The harness' own arithmetic, and its processes. Nothing here is about how fast something is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from .measure import Ratio, in_child, on_disk, percentile, process, turns
from .table import BEGIN, END, Line, cells, table, write_into


def test_measures_take_turns() -> None:
    order: list[str] = []
    turns(3, {"a": lambda: order.append("a"), "b": lambda: order.append("b")})
    assert order == ["a", "b", "a", "b", "a", "b"]


def test_a_ratio_is_taken_pass_by_pass_so_that_drift_cancels_out() -> None:
    ours, theirs = [1.0, 2.0, 4.0], [2.0, 4.0, 8.0]  # the machine became four times slower
    assert Ratio.of(ours, theirs).each == (0.5, 0.5, 0.5)


def test_a_ratio_is_the_median_of_the_passes_and_shows_how_far_they_lie_apart() -> None:
    ratio = Ratio.of([1.0, 3.0, 20.0], [10.0, 10.0, 10.0])
    assert ratio.median == 0.3
    assert str(ratio) == "0.30 (0.10–2.00)"


def test_passes_without_a_partner_are_not_compared() -> None:
    with pytest.raises(ValueError, match="zip"):
        Ratio.of([1.0, 2.0], [1.0])


@pytest.mark.parametrize(("share", "value"), [(0.5, 50.0), (0.95, 95.0), (1.0, 100.0)])
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(share: float, value: float) -> None:
    assert percentile([float(n) for n in range(1, 101)], share) == value


def test_a_child_is_a_process_of_its_own() -> None:
    assert in_child(os.getpid) != os.getpid()


def test_a_child_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="No such file"):
        in_child(os.listdir, "/no/such/folder")


def test_a_whole_process_is_timed_with_what_it_computed(tmp_path: Path) -> None:
    busy = process([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], tmp_path)
    assert busy.cpu >= 0.3
    assert busy.wall >= 0.3


def test_a_process_that_fails_is_not_timed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended with 3"):
        process([sys.executable, "-c", "raise SystemExit(3)"], tmp_path)


def test_a_file_counts_with_its_log(tmp_path: Path) -> None:
    for name, size in (("runs.db", 10), ("runs.db-wal", 5), ("other", 100)):
        (tmp_path / name).write_bytes(b"x" * size)
    assert on_disk(tmp_path / "runs.db") == 15


def test_the_table_says_what_is_not_reached() -> None:
    made = table([Line(measured="a", ours="2", reach="≤ 1", reached=False), Line(measured="b", ours="1")])
    assert [[cell.strip() for cell in line.strip("|").split("|")][-1] for line in made.splitlines()[2:]] == ["NO", "–"]


def test_a_figure_that_is_missing_is_shown_as_missing() -> None:
    assert cells([12.4, None, 3.0]) == "12 / – / 3"


def test_the_page_keeps_its_words_when_the_table_is_written(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_into(page, "new\n")
    assert page.read_text() == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"


def test_a_page_without_a_place_for_the_table_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("no markers\n")
    with pytest.raises(ValueError, match="no place"):
        write_into(page, "new\n")
