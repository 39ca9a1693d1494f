"""The plot: every measured point is on it, and dearer is higher."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET

from .plot import COLOURS, LABEL, svg

SVG = "{http://www.w3.org/2000/svg}"


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314  # our own


def test_each_point_is_drawn_inside_and_a_dearer_one_higher() -> None:
    drawn = parsed(svg({"ours": {10: 2000.0, 100: 400.0, 5000: 120.0}, "LangGraph": {10: 1450.0, 1000: 1600.0}}))
    points = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in drawn.iter(f"{SVG}circle") if dot.attrib["fill"] == COLOURS[0]]
    assert len(list(drawn.iter(f"{SVG}circle"))) == 5
    assert points == sorted(points)
    assert [down for _, down in points] == sorted(down for _, down in points)  # downwards is cheaper
    assert all(0 < across < 720 and 0 < down < 420 for across, down in points)


def test_each_system_is_named() -> None:
    drawn = parsed(svg({"ours": {10: 1.0, 100: 2.0}, "LangGraph loop": {10: 3.0, 100: 4.0}}))
    assert {"ours", "LangGraph loop"} <= {text.text for text in drawn.iter(f"{SVG}text")}


def test_the_names_of_curves_that_end_together_do_not_cover_each_other() -> None:
    drawn = parsed(svg({"one": {10: 100.0, 100: 200.0}, "two": {10: 100.0, 100: 201.0}, "three": {10: 1000.0, 100: 202.0}}))
    heights = sorted(float(text.attrib["y"]) for text in drawn.iter(f"{SVG}text") if text.text in ("one", "two", "three"))
    assert min(below - above for above, below in itertools.pairwise(heights)) >= LABEL
