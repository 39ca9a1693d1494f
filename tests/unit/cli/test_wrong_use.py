"""Wrong use, in this process: exit 2, what to do on stderr, nothing on stdout. The gravest are also tried on the real program."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agent_graph.cli import main

BLUEPRINT = """
name: scale
goal: scale a service
params:
  service: {description: its name}
  count: {type: integer, minimum: 1}
  mode: {enum: [slow, fast], default: slow}
steps:
  - {id: a, tool: look, args: {name: {$ref: params.service}}}
"""

OPS = """
from agent_graph import tool

@tool(risk="read_only")
def look(name: str) -> str:
    return name
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scale.yaml").write_text(BLUEPRINT)
    (tmp_path / "slow.yaml").write_text("goal: look\nsteps:\n  - {id: s, tool: look, args: {name: a}}\n")
    (tmp_path / "empty.py").write_text("x = 1\n")
    (tmp_path / "ops.py").write_text(OPS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("run", "missing.yaml"), ["missing.yaml: there is no such file"], id="no such file"),
        pytest.param(
            ("run", "Why is it slow?"), ["--planner BLUEPRINT", "--plan FILE", "investigate-metric"], id="a goal and nobody to plan"
        ),
        pytest.param(("run", "scale.yaml", "--tools", "ops.py"), ["service is missing", "count is missing"], id="missing params"),
        pytest.param(
            ("run", "scale.yaml", "--tools", "ops.py", "-p", "count=many", "-p", "mode=warp", "-p", "color=red"),
            ["count", "whole number", "service is missing", "mode", "slow, fast", "no parameter 'color'"],
            id="wrong params, all at once",
        ),
        pytest.param(("run", "scale.yaml", "-p", "count"), ["write -p name=value"], id="param without value"),
        pytest.param(("run", "investigate-metric"), ["series is missing"], id="bundled without its param"),
        pytest.param(("run", "--plan", "scale.yaml"), ["a blueprint, not a plan"], id="blueprint as plan"),
        pytest.param(("run", "slow.yaml"), ["a plan, not a blueprint", "--plan slow.yaml"], id="plan as blueprint"),
        pytest.param(("run", "--plan", "slow.yaml"), ["there is no tool 'look'", "--tools"], id="no tools"),
        pytest.param(("run", "--plan", "slow.yaml", "--tools", "no_such_module"), ["no module 'no_such_module'"], id="no module"),
        pytest.param(("run", "--plan", "slow.yaml", "--tools", "empty.py"), ["defines no tools"], id="module without tools"),
        pytest.param(("run", "--plan", "slow.yaml", "--tools", "ops.py:nothing"), ["has no 'nothing'", "look"], id="no such name"),
        pytest.param(("run", "--plan", "slow.yaml", "--tools", "ops.py", "--id", "seven"), ["is not a UUID"], id="id"),
        pytest.param(("run", "--plan", "slow.yaml", "--planner", "scale.yaml"), ["exclude each other"], id="plan and planner"),
        pytest.param(
            ("run", "--plan", "slow.yaml", "--policy", "none.yaml", "--tools", "ops.py"),
            ["none.yaml: there is no such file"],
            id="no policy",
        ),
        pytest.param(("show", "3f2a"), ["there is no store at"], id="no store"),
        pytest.param(("runs", "--status", "asleep"), ["none of: running, paused"], id="status"),
        pytest.param(("draw", "no-such-run"), ["there is no"], id="draw nothing"),
        pytest.param(("run", "--nonsense"), ["--nonsense", "run --help"], id="unknown option"),
        pytest.param(("fly",), ["fly", "--help"], id="unknown command"),
    ],
)
def test_wrong_use_says_what_to_do(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: list[str]) -> None:
    code = main(words)
    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert [text for text in said if text not in printed.err] == [], printed.err
