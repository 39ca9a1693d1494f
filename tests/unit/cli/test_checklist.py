"""Which steps of a large plan are shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent_graph.cli.checklist import Style, rows, summary, window
from agent_graph.trace.checklist import Checklist, Item, Standing

ANY: st.SearchStrategy[Standing] = st.sampled_from(("waiting", "running", "asks", "succeeded", "failed", "skipped", "in_doubt"))


def checklist(standings: list[Standing]) -> Checklist:
    return Checklist({f"s{i}": Item(id=f"s{i}", what="look", standing=one) for i, one in enumerate(standings)}, version=1)


def lines(of: Checklist, width: int = 80, most: int = 10_000) -> list[str]:
    return [row.plain for row in rows(of, Style(width=width, most=most))]


def test_a_small_plan_is_shown_whole_in_its_order() -> None:
    assert [line.split()[:2] for line in lines(checklist(["succeeded", "running", "waiting"]))] == [["✓", "s0"], ["▶", "s1"], ["·", "s2"]]


def test_of_a_large_plan_what_runs_is_shown_and_the_rest_counted() -> None:
    done: list[Standing] = ["succeeded"] * 500
    running: list[Standing] = ["running"] * 3
    waiting: list[Standing] = ["waiting"] * 497
    of = checklist([*done, *running, *waiting])
    shown = lines(of, most=20)
    assert len(shown) <= 20
    assert sum("▶" in line for line in shown) == 3
    assert any("succeeded" in line for line in shown)
    assert summary(of) == "500 succeeded, 3 running side by side, 497 to go"


@given(st.lists(ANY, max_size=200), st.integers(4, 40), st.integers(20, 120))
def test_a_plan_of_any_size_fits(standings: list[Standing], most: int, width: int) -> None:
    of = checklist(standings)
    items = list(of.items.values())
    assert len(window(items, most)) <= most
    assert all(row.cell_len <= width for row in rows(of, Style(width=width, most=most)))
    if "running" in standings and standings.count("running") <= most // 2:
        assert sum(item.standing == "running" for item in window(items, most)) == standings.count("running")


def test_a_name_that_looks_like_markup_stays_a_name() -> None:
    of = Checklist({"a": Item(id="a", what="[red]look[/red]", description="[link=x]")}, version=1)
    assert "[red]look[/red]" in lines(of)[0]
    assert "[link=x]" in lines(of)[0]


def test_what_is_cut_off_is_counted_and_says_how_to_see_it() -> None:
    of = Checklist({"a": Item(id="a", what="look", description="word " * 40)}, version=1)
    row, legend = lines(of)
    assert row.endswith("…+149")
    assert "characters more; all of it: agent-graph show" in legend


def test_wide_letters_are_cut_at_the_column_and_counted() -> None:
    of = Checklist({"a": Item(id="a", what="日本語", description="日本語" * 40)}, version=1)
    row = lines(of)[0]
    hidden = int(row.rpartition("…+")[2])
    assert row.count("日") + row.count("本") + row.count("語") == 3 + 120 - hidden


def test_what_fits_has_no_legend() -> None:
    assert len(lines(checklist(["succeeded", "waiting"]))) == 2
