"""The chaos suite in small: several hundred processes killed, at every boundary of a small plan and at random. ``make chaos`` is the whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "guarantees.md"

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="a process per drive is only affordable where it can be forked"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All verdicts of one small run of the suite. In a process of its own: pytest's has threads, which a fork would leave behind."""
    out = tmp_path_factory.mktemp("chaos") / "measured.json"
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "chaos", "--small", "--kills", "80", "--lanes", "2", "--json", str(out)],
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.exists(), ran.stdout + ran.stderr
    measured = json.loads(out.read_text(encoding="utf-8"))
    assert isinstance(measured, dict)
    return measured


def breaches(measured: dict[str, Any], what: str) -> list[Any]:
    return [verdict["breaches"] for verdict in measured["ours"] if verdict[what]]


def kills(measured: dict[str, Any], mix: str) -> list[Any]:
    return [kill for verdict in measured["ours"] if verdict["case"]["mix"] == mix for kill in verdict["kills"]]


def test_hundreds_of_processes_were_killed_and_many_of_them_after_an_intent(measured: dict[str, Any]) -> None:
    assert measured["totals"]["kills"] > 500
    assert measured["totals"]["after an intent"] > 100
    assert measured["totals"]["kills"] - measured["totals"]["at boundaries"] >= 80


def test_no_effect_is_doubled(measured: dict[str, Any]) -> None:
    assert breaches(measured, "duplicates") == []


def test_no_effect_is_lost(measured: dict[str, Any]) -> None:
    assert breaches(measured, "lost") == []


def test_no_run_gets_stuck(measured: dict[str, Any]) -> None:
    assert breaches(measured, "stuck") == []


def test_only_a_blind_effect_asks_a_person_what_happened(measured: dict[str, Any]) -> None:
    assert {kind for verdict in measured["ours"] for kind in verdict["parked_kinds"]} == {"blind"}


def test_nothing_else_is_out_of_order(measured: dict[str, Any]) -> None:
    """An effect without an intent on record, a success on record without its effect, a kill in the wrong window, a broken control."""
    assert measured["violations"] == []


@pytest.mark.parametrize("mix", ["rerun", "idempotent", "keyed", "probeable", "blind"])
def test_each_window_of_a_call_was_hit(measured: dict[str, Any], mix: str) -> None:
    hit = Counter(kill["window"][0] for kill in kills(measured, mix))
    wanted = set("134578") if mix == "rerun" else set("1234578")  # a read has no intent
    assert wanted - hit.keys() == set()


@pytest.mark.parametrize("mix", ["idempotent", "keyed", "probeable", "blind"])
def test_a_process_dies_at_both_sides_of_the_commit_of_an_intent(measured: dict[str, Any], mix: str) -> None:
    """The seams are found at SQLite's commits; were they not there any more, nothing would be killed at them."""
    seams = {kill["seam"] for kill in kills(measured, mix) if kill["seam"]}
    assert {side for seam in seams if "intent" in seam for side in ("before", "after") if seam.endswith(side)} == {"before", "after"}
    assert {"checkpoint.before", "checkpoint.after"} <= seams


@pytest.mark.parametrize("fault", ["no intents", "no probe", "new keys", "no effects", "no answers", "no lease"])
def test_the_suite_finds_what_is_broken_on_purpose(measured: dict[str, Any], fault: str) -> None:
    found = [number for broken, _, number in measured["proofs"] if broken == fault]
    assert found
    assert min(found) > 0


@pytest.mark.parametrize("door", ["python", "command line"])
@pytest.mark.parametrize("processes", [2, 5])
def test_of_several_processes_that_resume_one_run_one_drives(measured: dict[str, Any], processes: int, door: str) -> None:
    those = [race for race in measured["races"] if not race["fault"] and (race["processes"], race["door"]) == (processes, door)]
    assert {(race["drove"], race["refused"], race["duplicates"]) for race in those} == {(1, processes - 1, 0)}


def test_the_docs_show_what_was_measured_and_how() -> None:
    _, _, report = PAGE.read_text(encoding="utf-8").partition("## Measured by killing processes")
    _, begin, table = report.partition("<!-- chaos: begin -->")
    assert "make chaos" in report
    assert begin
    assert "| duplicates |" in table.partition("<!-- chaos: end -->")[0]
