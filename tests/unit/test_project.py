"""The project as others get it: the wheel, the names, the links at the root, and what a clone needs to set itself up."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import agent_graph

ROOT = Path(__file__).parents[2]
LINKS = ["checkpoints", "nodes", "tools"]

# An absolute path under somebody's home or workspace, which no other machine has.
MACHINE_PATH = re.compile(r"(?<![\w.:/-])/(?:root|farm|work|home/\w+|Users/\w+|tmp/w)(?:/|\b)")
# Where a package came from is the business of whoever installs it, and locks everybody else out when it moves.
LOCK_ADDRESS = re.compile(r"https?://[\w.-]*(?:pypi|pythonhosted|npmjs|debian)\.org|[-]{2}(?:extra-)?index-url|[-]{2}find-links")


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def tracked() -> list[Path]:
    """Files in git, and those that would be: the working tree of somebody else's clone is trusted."""
    listed = run("git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed.returncode:
        pytest.skip("not a git clone: what belongs to the project is not known")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file() and not path.is_symlink()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the files in a wheel, built here and now without a network."""
    out = tmp_path_factory.mktemp("dist")
    built = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out))
    assert built.returncode == 0, built.stdout + built.stderr
    (file,) = out.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        return archive.namelist()


def test_the_wheel_holds_the_package_with_its_data_and_nothing_else(wheel: list[str]) -> None:
    files = [path for path in (ROOT / "agent_graph").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    present = {path.relative_to(ROOT).as_posix() for path in files}
    assert {name for name in wheel if ".dist-info/" not in name} == present
    assert "agent_graph/py.typed" in present


def test_the_wheel_has_one_import_name(wheel: list[str]) -> None:
    assert {name.split("/")[0] for name in wheel if ".dist-info/" not in name} == {"agent_graph"}


def test_the_public_names_change_only_on_purpose() -> None:
    assert sorted(agent_graph.__all__) == [
        "Absent",
        "AgentGraph",
        "AgentGraphError",
        "Answer",
        "Approve",
        "ApproverRule",
        "Blueprint",
        "BudgetExceeded",
        "Edit",
        "FlowRule",
        "GiveUp",
        "Goal",
        "Grant",
        "InvalidPlan",
        "Issue",
        "Judge",
        "Landed",
        "Limits",
        "MCPServers",
        "Match",
        "ModelError",
        "Models",
        "NotAnApprover",
        "NotDone",
        "OrderRule",
        "Plan",
        "Planner",
        "PlanningContext",
        "Policy",
        "Price",
        "Principal",
        "Question",
        "Reject",
        "ReplanningContext",
        "Request",
        "Resolve",
        "Respond",
        "Revision",
        "RoleLimits",
        "RoleModel",
        "Rule",
        "Run",
        "RunBusy",
        "Source",
        "Specialist",
        "Step",
        "StepBudget",
        "StepResult",
        "Time",
        "Tool",
        "ToolContext",
        "Undo",
        "Unknown",
        "UsageError",
        "tool",
    ]


def test_each_public_name_is_there_on_first_use() -> None:
    for name in agent_graph.__all__:
        assert getattr(agent_graph, name) is not None
    assert set(agent_graph.__all__) <= set(dir(agent_graph))


def test_importing_the_package_does_not_load_langgraph() -> None:
    loaded = run(sys.executable, "-c", "import sys, agent_graph; print(*sys.modules)")
    assert loaded.returncode == 0, loaded.stderr
    heavy = {"langgraph", "langchain_core", "langchain_openai", "langsmith", "openai"}
    assert heavy & {name.partition(".")[0] for name in loaded.stdout.split()} == set()


@pytest.mark.parametrize("name", LINKS)
def test_a_link_at_the_root_points_into_the_package(name: str) -> None:
    assert (ROOT / name).is_symlink()
    assert (ROOT / name).readlink() == Path("agent_graph", name)


@pytest.mark.parametrize("name", LINKS)
def test_a_short_name_is_refused_and_the_right_one_named(name: str) -> None:
    refused = run(sys.executable, "-c", f"import {name}")
    assert refused.returncode == 1
    assert f"ImportError: import agent_graph.{name}" in refused.stderr


def test_constraints_are_versions_and_nothing_else() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert lines
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[\w.+!]+", line)] == []


def test_constraints_cover_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [line for line in project["dependencies"] + project["optional-dependencies"]["dev"] if "sys_platform" not in line]
    names = {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for line in wanted}
    held = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()}
    assert names - held == set()


@pytest.mark.needs("git")
@pytest.mark.parametrize("pattern", [MACHINE_PATH, LOCK_ADDRESS], ids=["machine path", "lock address"])
def test_no_file_of_the_project_names_a_machine(pattern: re.Pattern[str]) -> None:
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        name = path.relative_to(ROOT)
        found += [f"{name}:{n}: {line[:200]}" for n, line in enumerate(text.splitlines(), 1) if pattern.search(line)]
    assert found == []


# ── what is not run is said ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A small suite beside our conftest: one test that runs, and two whose program nobody has."""
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = needs(program)\naddopts = --strict-markers\n")
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_plain(): pass\n"
        "@pytest.mark.needs('no-such-program')\n"
        "@pytest.mark.parametrize('n', [1, 2])\n"
        "def test_marked(n): pass\n"
    )
    return tmp_path


def test_a_test_whose_program_is_absent_is_listed_as_not_run(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    ran = run(sys.executable, "-m", "pytest", "-q", cwd=suite)
    assert ran.returncode == 0, ran.stdout
    assert "no-such-program: 2 tests" in ran.stdout
    assert "1 passed, 2 skipped" in ran.stdout


def test_on_ci_an_absent_program_is_a_failure(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    ran = run(sys.executable, "-m", "pytest", "-q", cwd=suite)
    assert ran.returncode == 1, ran.stdout
    assert "no-such-program not found" in ran.stdout
