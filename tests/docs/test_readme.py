"""What the README says is so: its code runs and prints what stands beside it, its commands parse, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from agent_graph.models.roles import Models

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "tools").glob("*.md")),
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_in_the_readme_prints_what_it_says(tmp_path: Path) -> None:
    (code,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    expected = [line.removeprefix("# ") for line in code.splitlines() if line.startswith("# ")]
    assert done.stdout.splitlines() == expected


def test_the_models_in_the_readme_are_read() -> None:
    (document,) = blocks("yaml")
    models = Models.model_validate(yaml.safe_load(document))
    assert models.planner is not None
    assert (models.planner.model, models.planner.max_tokens) == ("openai:gpt-5", 100_000)
    assert (models.executor, models.judge, models.summarizer) != (None, None, None)


def test_the_demo_says_what_the_readme_shows_of_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agent_graph", "demo"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    (shown,) = blocks("text")
    said = plain(done.stdout)
    for line in shown.splitlines():
        words = plain(line)
        if words and not re.search(r"\.\.\.|\$ agent-graph|\d s\b|process A", line):
            assert words in said, line


def plain(text: str) -> str:
    """Without Markdown's stars and with single spaces: the README shortens, it does not change."""
    return re.sub(r"\s+", " ", text.replace("*", "").replace("│", " ")).strip()


@pytest.mark.parametrize("command", sorted({line.split()[1] for line in README.splitlines() if line.startswith("agent-graph ")}))
def test_each_command_in_the_readme_exists(command: str) -> None:
    done = subprocess.run([sys.executable, "-m", "agent_graph", command, "--help"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *(ROOT / "docs" / name for name in ("guarantees.md", "security.md"))], ids=lambda page: page.name
)
def test_every_test_that_is_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    files = set(re.findall(r"`(?:…/)?((?:unit|integration|acceptance|wire|studio|contracts|chaos|security|mcp|docs)/[\w/]+\.py)", text))
    assert files
    assert [name for name in files if not (ROOT / "tests" / name).exists()] == []
    everything = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    names = set(re.findall(r"::(test_\w+)", text))
    assert [name for name in names if f"def {name}(" not in everything] == []


@pytest.mark.parametrize("name", ["langgraph.md", "policy.md", "tools.md", "tools/files.md", "tools/sql.md"])
def test_the_python_in_a_page_prints_what_it_says(tmp_path: Path, name: str) -> None:
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [line.strip().removeprefix("# ") for line in code.splitlines() if line.strip().startswith("# ")]


def test_the_policy_page_s_table_of_calls_gives_what_it_shows(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    for name, text in zip(("policy.yaml", "cases.yaml"), re.findall(r"```yaml\n(.*?)```", page, re.DOTALL), strict=True):
        (tmp_path / name).write_text(text, encoding="utf-8")
    (shown,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    words = shown.splitlines()[0].removeprefix("$ agent-graph ").split()
    done = subprocess.run(
        [sys.executable, "-m", "agent_graph", *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout.splitlines()) == (0, shown.splitlines()[1:])
