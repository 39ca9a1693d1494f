"""docs/replanning.md: its code runs and prints what stands below it, and its codes are those that the code uses."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from agent_graph.trace.diagnosis import CAUSES

PAGE = (Path(__file__).parents[2] / "docs" / "replanning.md").read_text(encoding="utf-8")


def test_the_python_prints_what_it_says(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [line.strip().removeprefix("# ") for line in code.splitlines() if line.strip().startswith("# ")]


def test_each_code_has_a_cause() -> None:
    rows = re.findall(r"^\| (`\w+`.*?) \|", PAGE, re.MULTILINE)
    codes = {code for row in rows for code in re.findall(r"`(\w+)`", row)} - {"budget_pressure"}  # it never ends a run
    assert codes
    assert codes <= CAUSES.keys()
