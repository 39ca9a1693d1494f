"""docs/models.md: its code runs and prints what stands below it, its YAML is read, and its table has every field and default."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from agent_graph.documents import Document
from agent_graph.models.roles import ROLES, Models, RoleModel

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


def test_the_python_on_the_page_prints_what_it_says(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [line.removeprefix("# ") for line in code.splitlines() if line.startswith("# ")]


def test_the_yaml_on_the_page_is_a_configuration() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    found = Document(text, "models.yaml").read(Models)
    assert found.planner is not None
    assert isinstance(found.planner.fallback, RoleModel)
    assert set(found.specialists) == {"writer"}


def test_every_role_and_field_stands_in_a_table_with_its_default() -> None:
    rows = {name: row for row in PAGE.splitlines() if row.startswith("| `") for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert set(ROLES) | RoleModel.model_fields.keys() == rows.keys()
    for name, field in RoleModel.model_fields.items():
        if isinstance(field.default, int | float):
            assert rows[name].endswith(f"| {field.default:g} |")
