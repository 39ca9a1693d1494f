"""Models, mode and nested plans as they are named on the command line and kept with the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph
from agent_graph.cli.recipe import Recipe, load_blueprints, load_models, recipe_here
from agent_graph.cli.resume import planner_of, remembered
from agent_graph.cli.run import read_wanted, rules_of, thinks
from agent_graph.errors import InvalidDocument, UsageError
from agent_graph.identity import RunId
from agent_graph.plan import Goal, Plan, Step
from agent_graph.records import RunRecord
from agent_graph.tools.registry import ToolRegistry

NESTED = 'name: {0}\ngoal: {1}\nsteps:\n  - {{id: a, ask: "Which?"}}\n'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("AGENT_GRAPH_MODEL", "AGENT_GRAPH_JUDGE_MODEL", "AGENT_GRAPH_PLANNER_MODEL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "models.yaml").write_text("planner: openai:strong\n")
    (tmp_path / "one.yaml").write_text(NESTED.format("inner", "one"))
    (tmp_path / "two.yaml").write_text(NESTED.format("inner", "two"))
    return tmp_path


def recipe(**more: Any) -> Recipe:
    return recipe_here([], None, **more)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mode": "quick"}, "--mode is 'quick'; it is one of inline, single_shot, iterative, auto"),
        ({"granularity": "2"}, "--granularity is '2'"),
    ],
)
def test_what_is_none_of_the_allowed_is_refused_with_what_is(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        recipe(**given)


def test_files_are_kept_by_their_whole_path(here: Path) -> None:
    made = recipe(models="models.yaml", blueprints=["one.yaml"])
    assert (made.models, made.blueprints) == (str(here / "models.yaml"), (str(here / "one.yaml"),))


def test_what_the_environment_says_of_models_is_kept_and_no_key_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_GRAPH_MODEL", "openai:m")
    monkeypatch.setenv("AGENT_GRAPH_SEAL_KEY", "secret")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    made = recipe()
    assert made.environment == {"AGENT_GRAPH_MODEL": "openai:m"}
    monkeypatch.delenv("AGENT_GRAPH_MODEL")
    planner = load_models(made).planner
    assert planner is not None
    assert planner.model == "openai:m"


def test_what_the_environment_says_now_comes_before_what_it_said_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_GRAPH_JUDGE_MODEL", "openai:then")
    made = recipe(models="models.yaml")
    monkeypatch.setenv("AGENT_GRAPH_JUDGE_MODEL", "openai:now")
    models = load_models(made)
    assert models.judge is not None
    assert models.planner is not None
    assert (models.planner.model, models.judge.model) == ("openai:strong", "openai:now")


def test_two_nested_plans_of_one_name_are_refused() -> None:
    assert list(load_blueprints(recipe(blueprints=["one.yaml", "one.yaml"]))) == ["inner"]
    with pytest.raises(UsageError, match=r"two\.yaml: another blueprint is called 'inner'"):
        load_blueprints(recipe(blueprints=["one.yaml", "two.yaml"]))


@pytest.mark.parametrize("given", [{"models": "nowhere.yaml"}, {"blueprints": ["nowhere.yaml"]}, {"models": "one.yaml"}])
def test_a_file_that_is_none_is_refused_by_its_name(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidDocument, match=r"(nowhere|one)\.yaml"):
        rules_of(recipe(**given), ToolRegistry([]))


@pytest.mark.parametrize(("mode", "roles", "is_enough"), [(None, "planner", True), (None, "executor", False), ("inline", "executor", True)])
def test_who_plans_for_a_goal_in_words(here: Path, mode: str | None, roles: str, is_enough: bool) -> None:
    (here / "models.yaml").write_text(f"{roles}: openai:m\n")
    assert thinks(recipe(models="models.yaml", mode=mode)) is is_enough


@pytest.mark.parametrize("goal", ["Why is it slow?", "deploy"])
def test_with_a_model_a_goal_in_words_needs_no_planner_to_be_named(goal: str) -> None:
    wanted = read_wanted(goal, None, None, [], thinks=True)
    assert (wanted.source, wanted.named, wanted.goal) == (None, "", goal)


def test_the_name_of_a_bundled_blueprint_stays_one() -> None:
    wanted = read_wanted("investigate-metric", None, None, ["series=x.csv"], thinks=True)
    assert wanted.source is not None


def test_a_chain_plans_for_a_goal() -> None:
    assert read_wanted("report", None, "chain", ["metric=cpu"]).params == {"metric": "cpu"}
    with pytest.raises(UsageError, match="say what is wanted"):
        read_wanted(None, None, "chain", [])


def test_what_is_given_at_a_resume_takes_the_place_of_what_is_kept() -> None:
    kept = recipe(models="models.yaml", mode="iterative", granularity="fine", blueprints=["one.yaml"])
    record = RunRecord(
        id="r",  # type: ignore[arg-type]
        thread_id="r",
        checkpoint_ns="",
        goal=Goal(text="g"),
        status="paused",
        plan_version=0,
        planner="",
        policy="",
        metadata=kept.metadata(),
        created=0.0,
        updated=0.0,
    )
    assert remembered(record, None, recipe(), None) == kept
    changed = remembered(record, None, recipe(mode="single_shot", blueprints=["two.yaml"]), None)
    assert (changed.models, changed.mode, changed.granularity) == (kept.models, "single_shot", "fine")
    assert [Path(each).name for each in changed.blueprints] == ["two.yaml"]


def test_a_plan_that_is_fixed_stays_so_whatever_models_this_process_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a no at its gate would have a model plan something that nobody asked for."""
    monkeypatch.setenv("AGENT_GRAPH_MODEL", "openai:gpt-4.1")
    with AgentGraph(store=tmp_path / "runs.db") as agent:
        run = agent.run(plan=Plan(goal="ask", steps=(Step(id="a", ask="well?"),)))
        assert planner_of(recipe(), run, agent.store.runs.get(RunId(run.id))) == run.plan
