"""docs/issues.md is the list of what can be wrong with a plan; it and the code say the same."""

from __future__ import annotations

import re
from pathlib import Path

from agent_graph.policy.issues import ISSUES

PAGE = Path(__file__).parents[2] / "docs" / "issues.md"
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", re.MULTILINE)


def test_the_page_has_each_code_with_its_meaning_in_the_order_of_the_code() -> None:
    assert [(code, meaning) for code, meaning, _ in ROW.findall(PAGE.read_text(encoding="utf-8"))] == list(ISSUES.items())


def test_each_code_comes_with_an_example_of_what_to_do() -> None:
    assert [code for code, _, fix in ROW.findall(PAGE.read_text(encoding="utf-8")) if len(fix) < 10] == []
