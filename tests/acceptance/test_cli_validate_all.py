"""``agent-graph validate`` on a plan with one of each compiler issue: all codes come in one go, from the real program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent_graph import AgentGraph, GiveUp, Plan, Policy, ReplanningContext
from agent_graph.policy.issues import ISSUES
from agent_graph.testing import ScriptedPlanner
from agent_graph.tools.registry import load_tools

TOOLS = """
from dataclasses import dataclass

from agent_graph import tool

@dataclass
class Found:
    address: str

@tool(risk="read_only")
def look(name: str = "") -> Found:
    return Found(address="eve@x")

@tool(risk="read_only", trusted_output=True, sensitive=["output.iban"])
def account() -> dict[str, str]:
    return {"iban": "DE99"}

@tool(risk="external_communication", recovery="idempotent")
def send(to: str) -> str:
    return "sent"

@tool(risk="write", recovery="idempotent", scopes=["desk:close"])
def close(n: int) -> int:
    return n

@tool(risk="money")
def pay(n: int) -> int:
    return n

@tool(risk="deletion")
def delete(n: int) -> int:
    return n

@tool(risk="read_only")
def fails() -> str:
    raise OSError("down")
"""

POLICY = {
    "name": "strict",
    "rules": [
        {"verdict": "allow", "risks": ["read_only", "write", "external_communication"]},
        {"verdict": "deny", "risks": ["deletion"]},
    ],
    "order": [{"risks": ["money"], "followed_by": {"tools": ["account"]}}],
}
LIMITS = {"max_steps": 3, "max_replans": 0, "max_calls": 3, "max_attempts": 2, "max_seconds": 100, "max_money": 5}


def ref(text: str) -> dict[str, str]:
    return {"$ref": text}


STEPS: list[dict[str, Any]] = [
    {"id": "first", "tool": "send", "args": {"to": "somebody else"}},  # frozen_step_changed
    {"id": "again", "tool": "send", "args": {"to": "ann"}},  # repeats_effect
    *({"id": f"idle{n}", "tool": "look"} for n in range(14)),  # too_many_steps, unused_output, over_planned, over_budget
    {"id": "idle0", "tool": "look"},  # duplicate_step
    {"id": "nobody", "tool": "shout"},  # unknown_tool
    {"id": "narrow", "tool": "look", "allowed_tools": ["send"]},  # tool_not_allowed
    {"id": "wrong", "tool": "pay", "args": {"n": "x"}},  # invalid_arguments, unknown_price, order_violated
    {"id": "param", "tool": "look", "args": {"name": ref("params.who")}},  # unknown_param
    {"id": "dangling", "tool": "look", "depends_on": ["nowhere"]},  # dangling_reference
    {"id": "path", "tool": "look", "args": {"name": ref("steps.idle1.output.x[[")}},  # invalid_reference
    {"id": "place", "tool": "look", "args": {"name": ref("steps.idle1.output.phone")}},  # unknown_output
    {"id": "early", "tool": "look", "args": {"name": ref("steps.late.output.address")}},  # forward_reference
    {"id": "late", "tool": "look"},
    {"id": "round", "tool": "look", "depends_on": ["round"]},  # cycle
    {"id": "cel", "tool": "look", "when": "1 +"},  # invalid_expression
    {"id": "schema", "tool": "look", "expected_output": {"type": "text"}},  # invalid_schema
    {"id": "fallback", "tool": "look", "on_failure": "step:idle1"},  # invalid_fallback
    {"id": "denied", "tool": "delete", "args": {"n": 1}},  # denied_by_policy
    {"id": "scope", "tool": "close", "args": {"n": 1}},  # missing_scope
    {"id": "flow", "tool": "send", "args": {"to": ref("steps.idle2.output.address")}},  # untrusted_flow
    {"id": "secret", "tool": "account"},
    {"id": "leak", "tool": "send", "args": {"to": ref("steps.secret.output.iban")}},  # sensitive_flow
    {"id": "model", "model": "think"},  # no_model
    {"id": "agent", "agent": "find out", "use_model": "openai:gpt-test"},  # no_tools
    {"id": "special", "model": "think", "executor": "nobody"},  # unknown_executor
    {"id": "nested", "blueprint": "other"},  # invalid_blueprint
    {"id": "coarse", "agent": "send it", "allowed_tools": ["send"], "use_model": "openai:gpt-test"},  # too_coarse
]
PLAN = {
    "goal": "everything that can be wrong",
    "mode": "auto",  # not_supported
    "granularity": "fine",
    "steps": STEPS,
    "risk_level": "read_only",
    "answer": ref("steps.late.output.address"),
    "template": "{{ nothing }}",  # invalid_template
}


@pytest.fixture
def run_with_a_past(tmp_path: Path) -> str:
    """It has sent a mail, failed, and was given a second plan, which failed too; it waits for nobody, and has no replan left."""
    (tmp_path / "ops.py").write_text(TOOLS)
    send = {"id": "first", "tool": "send", "args": {"to": "ann"}}
    made = [
        Plan.model_validate({"goal": "x", "steps": [send, {"id": step, "tool": "fails", "depends_on": ["first"]}]}) for step in ("a", "b")
    ]
    planner = ScriptedPlanner(made[0], made[1], GiveUp("that is all"))
    with AgentGraph(load_tools(str(tmp_path / "ops.py")), planner=planner, policy=Policy.allow_all(), store=tmp_path / "runs.db") as agent:
        run = agent.run("x")
    assert (run.status, run.plan and run.plan.version) == ("failed", 2)
    assert isinstance(planner.contexts[-1], ReplanningContext)
    return run.id


def validate(folder: Path, *words: str) -> tuple[int, dict[str, Any]]:
    (folder / "plan.yaml").write_text(yaml.safe_dump(PLAN, sort_keys=False))
    (folder / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    (folder / "limits.yaml").write_text(yaml.safe_dump(LIMITS))
    options = ["--tools", "ops.py", "--policy", "policy.yaml", "--limits", "limits.yaml", "--json", *words]
    came = subprocess.run(
        [sys.executable, "-m", "agent_graph", "validate", "plan.yaml", *options], cwd=folder, capture_output=True, text=True, check=False
    )
    return came.returncode, json.loads(came.stdout)


def test_one_of_each_is_found_in_one_go(tmp_path: Path, run_with_a_past: str) -> None:
    code, said = validate(tmp_path, "--run", run_with_a_past, "--store", "runs.db")
    found = {issue["code"] for issue in said["issues"]}
    # A plan with steps cannot have the first; only a model says the second; a person may propose again what has failed.
    assert ISSUES.keys() - found == {"no_steps", "judge_remark", "repeats_failure"}
    assert (code, said["valid"]) == (2, False)


def test_a_plan_without_anything_is_the_one_that_is_left(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("goal: nothing\n")
    came = subprocess.run(
        [sys.executable, "-m", "agent_graph", "validate", "empty.yaml", "--json"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert [issue["code"] for issue in json.loads(came.stdout)["issues"]] == ["no_steps"]
