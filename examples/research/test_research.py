"""The research, as somebody would run it, and the check of quotes by itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from research.library import tools

DOCUMENTS = Path(__file__).parents[2] / "docs" / "adr"
REAL = "0006-worker-processes-for-calls-that-must-end.md"


def test_notes_wait_for_a_yes_and_the_answer_marks_what_nothing_shows(example: Callable[[str], Any], tmp_path: Path) -> None:
    research = example("research")
    assert "> Python cannot stop a thread." in research.begin()
    assert list((tmp_path / "notes").iterdir()) == []

    done = research(research.run, "--approve", code=0)
    assert REAL in (tmp_path / "notes" / "workers.md").read_text(encoding="utf-8")
    assert "What was given up: Arguments and outputs cross a pipe.\n" in done
    assert "Most projects do it this way. [unsupported]" in done
    assert "it holds. 3 of 3 parts" in done


@pytest.mark.parametrize(
    ("document", "quote", "found"),
    [
        (REAL, "Python cannot stop a thread.", True),
        (REAL, "be left behind in its thread, may still do what it was asked to do", False),
        (REAL, "left behind in its thread, may still do what it was asked to do", True),
        (REAL, "Python can stop a thread.", False),
        ("../../README.md", "agent-graph", False),
        ("none.md", "", False),
    ],
)
def test_a_quote_is_looked_up_word_for_word_in_a_document_of_the_folder(document: str, quote: str, found: bool, tmp_path: Path) -> None:
    check = next(each for each in tools(DOCUMENTS, tmp_path) if each.name == "check_quotes")
    assert check([{"document": document, "quote": quote}]) == [{"document": document, "quote": quote, "found": found}]
