"""The bundled blueprint: it loads, its tools and references exist, and followed by hand it finds the truth."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import jmespath
import pytest

from agent_graph import examples
from agent_graph.documents import read_document
from agent_graph.errors import UsageError
from agent_graph.plan import Blueprint, Reference, Step, is_reference, references
from agent_graph.policy.expressions import evaluate, steps_read
from agent_graph.policy.schemas import below, mismatches
from agent_graph.tools.registry import ToolRegistry
from agent_graph.tools.tool import ToolContext

BLUEPRINT = read_document(examples.blueprint_path("investigate-metric"), Blueprint)


def resolved(value: Any, results: dict[str, Any], params: dict[str, Any]) -> Any:
    if is_reference(value):
        reference = Reference.parse(value["$ref"])
        if reference.param is not None:
            return params[reference.param]
        assert reference.step is not None
        output = results.get(reference.step)
        return output if reference.path is None or output is None else jmespath.search(reference.path, output)
    if isinstance(value, dict):
        return {key: resolved(item, results, params) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [resolved(item, results, params) for item in value]
    return value


def followed(tools: ToolRegistry, **given: Any) -> tuple[dict[str, Any], Any]:
    """Each step as the executor would run it: arguments by reference and schema, outputs as JSON, criteria over them."""
    params = {name: param.default for name, param in BLUEPRINT.params.items()} | given
    results: dict[str, Any] = {}

    def context(step: Step) -> dict[str, Any]:
        steps = {name: {"output": output, "status": "succeeded"} for name, output in results.items()}
        return {"steps": steps, "params": params, "goal": BLUEPRINT.goal, "output": results.get(step.id)}

    for step in BLUEPRINT.steps:
        if step.when is not None and not evaluate(step.when, context(step)):
            continue
        assert step.tool is not None
        one = tools[step.tool]
        args = resolved(step.args, results, params)
        assert mismatches(one.spec.args_schema, args) == []
        assert one.dump is not None
        output = one.dump(one.call(ToolContext(idempotency_key=step.id), args))
        assert one.spec.output_schema is not None
        assert mismatches(one.spec.output_schema, output) == []
        assert mismatches(step.expected_output or {}, output) == []
        results[step.id] = output
        for criterion in step.success_criteria:
            assert evaluate(str(criterion), context(step)) is True, f"{step.id}: {criterion}"
    for criterion in BLUEPRINT.success_criteria:
        assert evaluate(str(criterion), {**context(BLUEPRINT.steps[-1]), "output": None}) is True
    return results, resolved(BLUEPRINT.answer, results, params)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToolRegistry:
    monkeypatch.setenv("AGENT_GRAPH_DESK", str(tmp_path / "tickets.db"))
    return ToolRegistry(examples.tools())


# ── the package ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_bundled_blueprints_are_found_by_name() -> None:
    assert set(examples.blueprints()) >= {"investigate-metric"}
    for name, path in examples.blueprints().items():
        assert read_document(path, Blueprint).name == name
        assert examples.blueprint_path(name) == path


def test_an_unknown_blueprint_says_which_there_are() -> None:
    with pytest.raises(UsageError, match=r"no bundled blueprint 'other'; there is .*investigate-metric"):
        examples.blueprint_path("other")


def test_bundled_data_is_found_by_name() -> None:
    path = examples.data_path("ec2_cpu_utilization_825cc2")
    assert path is not None
    assert path.is_file()
    assert examples.data_path("other") is None


def test_the_licence_travels_with_the_data() -> None:
    assert (
        "MIT"
        in (Path(str(examples.__file__)).parent / "data" / "LICENSE.txt").read_text()
        + (Path(str(examples.__file__)).parent / "data" / "README.md").read_text()
    )
    assert (Path(str(examples.__file__)).parent / "data" / "LICENSE.txt").is_file()


def test_importing_the_package_loads_no_tool() -> None:
    heavy = "[name for name in ('jinja2', 'langgraph', 'langchain_core', 'cel', 'agent_graph.tools.metrics') if name in sys.modules]"
    code = f"import sys, agent_graph.examples as e; e.blueprints(); print({heavy})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_desk_is_where_the_environment_says(tools: ToolRegistry, tmp_path: Path) -> None:
    tools["open_ticket"].call(ToolContext(idempotency_key="k"), {"title": "t", "body": "b", "severity": "low"})
    assert (tmp_path / "tickets.db").is_file()


# ── the blueprint as a document ───────────────────────────────────────────────────────────────────────────────────────


def test_every_tool_that_it_names_is_there(tools: ToolRegistry) -> None:
    assert {step.tool for step in BLUEPRINT.steps} <= tools.keys()
    assert all(one.spec.description for one in tools.values())


def test_every_reference_and_criterion_names_a_step_or_param_that_is_there(tools: ToolRegistry) -> None:
    known: dict[str, Any] = {step.id: tools[str(step.tool)].spec.output_schema for step in BLUEPRINT.steps}
    every = [(step.id, text) for step in BLUEPRINT.steps for _, text in references(step.args)]
    every += [("answer", text) for _, text in references(BLUEPRINT.answer)]
    for where, text in every:
        reference = Reference.parse(text)
        if reference.param is not None:
            assert reference.param in BLUEPRINT.params, where
        else:
            assert reference.step in known, where
            assert isinstance(below(known[reference.step], reference.path or "@"), dict), f"{where}: {text}"
    for step in BLUEPRINT.steps:
        for criterion in (step.when or "true", *step.success_criteria):
            assert steps_read(str(criterion)) <= known.keys()


def test_the_series_is_the_only_param_that_must_be_given() -> None:
    assert BLUEPRINT.params_schema()["required"] == ["series"]


def test_steps_that_need_nothing_of_each_other_may_run_side_by_side() -> None:
    needs = {step.id: step.needs for step in BLUEPRINT.steps}
    assert not needs["series"]
    assert not needs["fleet"]
    assert "others" not in needs["compare"]
    assert "compare" not in needs["others"]


def test_only_the_ticket_is_a_write(tools: ToolRegistry) -> None:
    assert [step.id for step in BLUEPRINT.steps if tools[str(step.tool)].spec.changes] == ["ticket"]


# ── the blueprint, followed ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_collapse_of_the_cpu_is_investigated_truly(tools: ToolRegistry) -> None:
    results, answer = followed(tools, series="ec2_cpu_utilization_825cc2")
    assert [(w["start"][5:16], w["end"][5:16]) for w in results["find"]["windows"]] == [
        ("04-15T16:54", "04-15T16:59"),
        ("04-16T03:29", "04-16T14:14"),
    ]
    assert [w["moved"] for w in results["others"]["windows"]] == [["ec2_network_in_257a54"], []]
    assert [w["severity"] for w in results["severity"]["windows"]] == ["high", "high"]
    assert (answer["severity"], answer["ticket"]) == ("high", "INC-0001")
    assert results["confirm"]["body"] == answer["report"]


def test_its_report_says_what_someone_on_call_must_know(tools: ToolRegistry) -> None:
    report = followed(tools, series="ec2_cpu_utilization_825cc2")[1]["report"]
    dip, fall = report.split("## 1. ")[1].split("## How")[0].split("## 2. ")
    assert dip.startswith("Fell, 2014-04-15 16:54 to 16:59: high")
    assert "**Moved too:** ec2_network_in_257a54 went up" in dip
    assert "**Did not move:** elb_request_count_8c0756 (z -0.8), rds_cpu_utilization_e47b3b (z -0.3)." in dip
    assert fall.startswith("Fell, 2014-04-16 03:29 to 14:14: high")
    assert "130 outliers over 10 h 50 min" in fall
    assert "Moved too" not in fall
    assert "Did not move:** ec2_network_in_257a54 (z -1.1)" in fall
    assert "Iglewicz" in report
    assert "2 gaps" in report
    assert "\n\n\n" not in report


def test_the_failing_server_is_investigated_without_a_fleet(tools: ToolRegistry) -> None:
    results, answer = followed(tools, series="ec2_request_latency_system_failure")
    assert len(results["find"]["windows"]) == 3
    assert "No other series was given" in answer["report"]
    assert "It was not over when the data ended" in answer["report"]
    assert "12 rows shared a time" in answer["report"]


def test_without_a_finding_there_is_a_report_and_no_ticket(tools: ToolRegistry, tmp_path: Path) -> None:
    results, answer = followed(tools, series="rds_cpu_utilization_e47b3b", threshold=50)
    assert (answer["severity"], answer["ticket"]) == ("info", None)
    assert answer["report"].startswith("# rds_cpu_utilization_e47b3b: nothing unusual\n")
    assert "ticket" not in results
    assert not (tmp_path / "tickets.db").exists()


def test_it_works_on_files_of_ones_own(tools: ToolRegistry, tmp_path: Path) -> None:
    def rows(value: Any) -> str:
        return "".join(f"{1_700_000_000 + 600 * index},{value(index)}\n" for index in range(144 * 6))

    (tmp_path / "cpu.csv").write_text("epoch,load\n" + rows(lambda i: 90 if 500 <= i < 510 else 20 + i % 7))
    (tmp_path / "net.csv").write_text("epoch,bytes\n" + rows(lambda i: 9e6 if 500 <= i < 510 else 1000 + i % 11))
    (tmp_path / "db_[1].csv").write_text("epoch,ms\n" + rows(lambda i: 5 + i % 3))
    own, fleet = str(tmp_path / "cpu.csv"), [str(tmp_path / "net.csv"), str(tmp_path / "db_[1].csv")]
    results, answer = followed(tools, series=own, fleet=fleet, timezone="Europe/Berlin")
    (found,) = results["others"]["windows"]
    assert (found["moved"], found["not_moved"]) == ([fleet[0]], [fleet[1]])
    assert answer["severity"] == "critical"  # over an hour, and another one moved
    assert "all times Europe/Berlin" in answer["report"]
    assert r"db\_\[1\].csv" in answer["report"]
    assert results["ticket"]["title"] == f"{own}: 1 finding, severity critical"
