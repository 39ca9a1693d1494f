"""docs/clarification.md and docs/streaming.md: their code runs, and prints what stands below it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["clarification.md", "streaming.md"])
def test_the_python_on_the_page_prints_what_it_says(page: str, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [line.strip().removeprefix("# ") for line in code.splitlines() if line.strip().startswith("# ")]


@pytest.mark.parametrize("page", ["clarification.md", "streaming.md"])
def test_the_tests_that_the_page_names_are_there(page: str) -> None:
    named = re.findall(r"`(tests/\S+\.py)`", (DOCS / page).read_text(encoding="utf-8"))
    assert [name for name in named if not (DOCS.parent / name).is_file()] == []
    assert named
