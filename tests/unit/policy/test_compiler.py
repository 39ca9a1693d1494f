"""The plan compiler: each issue of the closed list, what is asked of a person, and what stays as it is."""

from __future__ import annotations

from typing import Any

import pytest

from agent_graph.identity import Digest, RunId, StepId, call_digest
from agent_graph.plan import Plan, Step
from agent_graph.policy.compiler import Rules, compile_plan
from agent_graph.policy.issues import ISSUES
from agent_graph.policy.limits import Limits
from agent_graph.policy.rules import Policy, Rule
from agent_graph.ports import ToolSpec
from agent_graph.verdicts import Report

RUN = RunId("run-1")

LOOK = ToolSpec(
    name="look",
    description="",
    args_schema={"type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": False},
    output_schema={"type": "object", "properties": {"address": {"type": "string"}, "age": {"type": "integer"}}},
    risk="read_only",
    recovery="rerun",
    digest=Digest("of look"),
)
SEND = ToolSpec(
    name="send",
    description="",
    args_schema={
        "type": "object",
        "properties": {"to": {"type": "string"}, "copies": {"type": "array", "items": {"type": "string"}}},
        "required": ["to"],
        "additionalProperties": False,
    },
    output_schema=None,
    risk="external_communication",
    recovery="blind",
    digest=Digest("of send"),
)
PAY = ToolSpec(name="pay", description="", args_schema={"type": "object"}, output_schema={"type": "string"}, risk="money", recovery="blind")
TOOLS = {spec.name: spec for spec in (LOOK, SEND, PAY)}


def rules(policy: Policy | None = None, **limits: Any) -> Rules:
    return Rules(tools=TOOLS, policy=policy or Policy.allow_all(), limits=Limits(**limits))


def look(step_id: str = "look", **more: Any) -> dict[str, Any]:
    return {"id": step_id, "tool": "look", **more}


def send(step_id: str = "send", to: Any = "ann", **more: Any) -> dict[str, Any]:
    return {"id": step_id, "tool": "send", "args": {"to": to}, **more}


def made(*steps: dict[str, Any], params: dict[str, Any] | None = None, **more: Any) -> Plan:
    return Plan.model_validate({"goal": {"text": "tell them", "params": params or {}}, "steps": steps, **more})


def found(plan: Plan, under: Rules | None = None, frozen: dict[str, Step] | None = None) -> Report:
    return compile_plan(plan, under or rules(), RUN, frozen)


def codes(report: Report) -> list[tuple[str, str | None]]:
    return [(issue.code, issue.step_id) for issue in report.issues]


def output(step: str, path: str = "") -> dict[str, str]:
    return {"$ref": f"steps.{step}.output{path}"}


# ── the closed list ───────────────────────────────────────────────────────────────────────────────────────────────────

NEEDS_A = {"depends_on": ["a"]}
DENY = Policy(rules=(Rule(verdict="deny", tools=("look",), reason="not on Sundays"),))

CASES: dict[str, list[tuple[str, Plan, Rules | None, str | None, str]]] = {
    # code: (what, plan, rules, step, words in the message)
    "no_steps": [("nothing at all", made(), None, None, "no steps and no answer")],
    "too_many_steps": [("three of two", made(look("a"), look("b"), look("c")), rules(max_steps=2), None, "3 steps; at most 2")],
    "duplicate_step": [("twice a", made(look("a"), look("a")), None, "a", "'a' too")],
    "unknown_tool": [("shout", made({"id": "a", "tool": "shout"}), None, "a", "no tool 'shout'")],
    "tool_not_allowed": [("own list", made(look("a", allowed_tools=["send"])), None, "a", "allows only send")],
    "invalid_arguments": [
        ("missing", made({"id": "a", "tool": "send"}), None, "a", '"to" is a required property'),
        ("wrong type", made(send("a", to=5)), None, "a", "to: 5 is not of type"),
        ("unknown one", made(look("a", args={"nick": "x"})), None, "a", "nick"),
        (
            "by a reference of another type",
            made(look("a"), send("b", to=output("a", ".age"))),
            None,
            "b",
            "gives integer, but string is wanted",
        ),
        ("by a parameter", made(send("a", to={"$ref": "params.who"}), params={"who": 5}), None, "a", "5 is not of type"),
        ("of an ask", made({"id": "a", "ask": "who?", "args": {"x": 1}}), None, "a", "takes no arguments"),
    ],
    "unknown_param": [
        ("in arguments", made(look("a", args={"name": {"$ref": "params.who"}}), params={"n": 1}), None, "a", "params.who"),
        ("in the answer", made(look("a"), answer={"x": {"$ref": "params.who"}}), None, None, "answer.x refers to params.who"),
    ],
    "dangling_reference": [
        ("in arguments", made(look("a", args={"name": output("x")})), None, "a", "args.name refers to 'steps.x.output'"),
        ("in depends_on", made(look("a", depends_on=["x"])), None, "a", "depends_on names 'x'"),
        ("in when", made(look("a", when="steps.x.output == 1")), None, "a", "when (steps.x.output == 1) reads step 'x'"),
        ("in a criterion", made(look("a", success_criteria=["steps.x.output == 1"])), None, "a", "reads step 'x'"),
        ("in the plan's criterion", made(look("a"), success_criteria=["steps.x.output == 1"]), None, None, "success criterion 1"),
        ("in stop_when", made(look("a"), stop_when="steps.x.output == 1"), None, None, "stop_when"),
        ("in the answer", made(look("a"), answer=[output("x")]), None, None, "answer.[0] refers to"),
    ],
    "invalid_reference": [("no JMESPath", made(look("a"), send("b", to=output("a", ".x[["))), None, "b", "Expecting")],
    "unknown_output": [
        (
            "a field that is not there",
            made(look("a"), send("b", to=output("a", ".phone"))),
            None,
            "b",
            "there is no 'phone'; there is address, age",
        )
    ],
    "forward_reference": [
        ("by a reference", made(send("a", to=output("b", ".address")), look("b")), None, "a", "'b', which stands after it"),
        ("by depends_on", made(look("a", depends_on=["b"]), look("b")), None, "a", "stands after it"),
        ("by when", made(look("a", when="steps.b.output.age > 1"), look("b")), None, "a", "stands after it"),
    ],
    "cycle": [
        ("of itself", made(look("a", depends_on=["a"])), None, "a", "a → a"),
        ("of two", made(look("a", depends_on=["b"]), look("b", **NEEDS_A)), None, "a", " → "),
        ("through an expression", made(look("a", when="steps.b.output.age > 1"), look("b", **NEEDS_A)), None, "a", " → "),
    ],
    "invalid_expression": [
        ("no CEL", made(look("a", when="1 +")), None, "a", "it is not CEL"),
        ("steps as a whole", made(look("a", success_criteria=["size(steps) > 1"])), None, "a", "as a whole"),
        ("its own result beforehand", made(look("a", when="steps.a.output.age > 1")), None, "a", "own result before it runs"),
        ("the plan's", made(look("a"), success_criteria=["("]), None, None, "it is not CEL"),
    ],
    "invalid_schema": [
        ("no type", made(look("a", expected_output={"type": "nothing"})), None, "a", "nothing"),
        ("elsewhere", made(look("a", expected_output={"$ref": "https://example.org/s.json"})), None, "a", "outside of the schema"),
    ],
    "invalid_fallback": [
        ("not there", made(look("a", on_failure="step:x")), None, "a", "not in the plan"),
        ("itself", made(look("a", on_failure="step:a")), None, "a", "does not stand after it"),
        ("before it", made(look("b"), look("a", on_failure="step:b")), None, "a", "does not stand after it"),
        ("of two", made(look("a", on_failure="step:c"), look("b", on_failure="step:c"), look("c")), None, "b", "stands in for 'a' already"),
        ("uses its output", made(look("a", on_failure="step:b"), send("b", to=output("a", ".address"))), None, "a", "uses the output"),
        (
            "waits for what waits for it",
            made(look("a", on_failure="step:c"), send("b", to=output("a", ".address")), look("c", depends_on=["b"])),
            None,
            "a",
            "'c' stands in for 'a', and waits for what waits for it",
        ),
    ],
    "denied_by_policy": [("by a rule", made(look("a")), rules(DENY), "a", "not on Sundays")],
    "not_supported": [
        ("a model step", made({"id": "a", "model": "think"}), None, "a", "model steps"),
        ("an agent step", made({"id": "a", "agent": "do"}), None, "a", "agent steps"),
        ("a blueprint step", made({"id": "a", "blueprint": "b"}), None, "a", "blueprint steps"),
        ("a judge", made(look("a", success_criteria=[{"judge": "is it kind?"}])), None, "a", "needs a judge"),
        ("mode auto", made(look("a"), mode="auto"), None, None, "mode 'auto'"),
        ("mode inline", made(answer="x", mode="inline"), None, None, "mode 'inline'"),
    ],
    "risk_understated": [
        ("money", made({"id": "a", "tool": "pay"}, risk_level="write"), None, None, "says write; its tools make it money")
    ],
}
FLAT = [pytest.param(code, *case[1:], id=f"{code}: {case[0]}") for code, cases in CASES.items() for case in cases]


def test_each_code_of_the_closed_list_is_tried_here() -> None:
    assert CASES.keys() == {code for code in ISSUES if code != "frozen_step_changed"}  # tried below


@pytest.mark.parametrize(("code", "plan", "under", "step", "words"), FLAT)
def test_what_is_wrong_is_found_and_said(code: str, plan: Plan, under: Rules | None, step: str | None, words: str) -> None:
    report = found(plan, under)
    assert [codes(report)[0][0], *{each for each, _ in codes(report)} - {code}] == [code]
    assert report.issues[0].step_id == step
    assert words in report.issues[0].message


def test_a_warning_does_not_keep_a_plan_from_running() -> None:
    report = found(made({"id": "a", "tool": "pay"}, risk_level="read_only"))
    assert (report.valid, [issue.severity for issue in report.issues]) == (True, ["warning"])


def test_everything_that_is_wrong_is_found_at_once() -> None:
    plan = made(
        look("a", depends_on=["b"]),
        look("b", depends_on=["a"]),
        {"id": "c", "tool": "shout"},
        send("d", to=5),
        look("e", args={"name": output("nowhere")}),
    )
    report = found(plan)
    assert codes(report) == [("cycle", "a"), ("unknown_tool", "c"), ("invalid_arguments", "d"), ("dangling_reference", "e")] or codes(
        report
    ) == [
        ("cycle", "b"),
        ("unknown_tool", "c"),
        ("invalid_arguments", "d"),
        ("dangling_reference", "e"),
    ]


def test_the_steps_of_a_circle_are_not_also_said_to_stand_after_each_other() -> None:
    report = found(made(look("a", depends_on=["c"]), look("b", depends_on=["a"]), look("c", depends_on=["b"])))
    assert [code for code, _ in codes(report)] == ["cycle"]


def test_a_good_plan_has_no_issues() -> None:
    plan = made(
        look("who"),
        {"id": "sure", "ask": "Is it them?", "depends_on": ["who"], "success_criteria": ["output == 'yes'"]},
        send("tell", to=output("who", ".address"), when="steps.sure.output == 'yes'", on_failure="step:instead"),
        send("instead", to={"$ref": "params.boss"}),
        params={"boss": "eve"},
        answer={"to": output("who", ".address"), "boss": {"$ref": "params.boss"}},
        success_criteria=["steps.who.output.age > 0 || steps.tell.status == 'succeeded'"],
        stop_when="steps.who.output.age == 0",
    )
    assert found(plan).issues == ()


def test_an_answer_needs_no_steps() -> None:
    assert found(made(answer="42")).valid


# ── risk ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("tools", "risk"),
    [(["look"], "read_only"), (["look", "send"], "external_communication"), (["pay", "send"], "money"), ([], "read_only")],
)
def test_the_risk_of_a_plan_is_the_highest_of_its_steps(tools: list[str], risk: str) -> None:
    steps = [{"id": name, "tool": name, "args": {"to": "x"} if name == "send" else {}} for name in tools]
    assert found(made(*steps, answer="x")).risk == risk


# ── who is asked ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_known_arguments_that_the_policy_asks_about_are_shown_with_the_plan() -> None:
    report = found(made(look(), send()), rules(Policy.default()))
    (call,) = report.calls
    assert (call.step_id, call.tool, call.args, call.risk) == ("send", "send", {"to": "ann"}, "external_communication")
    assert call.digest == call_digest(RUN, StepId("send"), "send", "of send", {"to": "ann"})
    assert report.review == call.reason


def test_a_parameter_counts_as_known_and_is_shown_as_its_value() -> None:
    plan = made(
        {"id": "send", "tool": "send", "args": {"to": {"$ref": "params.who"}, "copies": [{"$ref": "params.who"}]}}, params={"who": "eve"}
    )
    (call,) = found(plan, rules(Policy.default())).calls
    assert call.args == {"to": "eve", "copies": ["eve"]}


def test_arguments_that_come_from_a_step_are_asked_later() -> None:
    report = found(made(look(), send(to=output("look", ".address"))), rules(Policy.default()))
    assert (report.calls, report.review) == ((), "")


@pytest.mark.parametrize(
    ("policy", "steps", "why"),
    [
        (Policy(name="p", rules=Policy.allow_all().rules, review_plans=True), [look()], "policy 'p' has each plan reviewed"),
        (Policy.allow_all(), [look("a", approval="required"), look("b", approval="required")], "approval is required for a, b"),
        (Policy.default(), [look()], ""),
        (Policy.default(), [send("a"), send("b")], "send is external_communication, and policy 'default' allows only what it names"),
        (Policy(rules=(Rule(verdict="ask", reason="why not"),)), [look()], "why not"),
    ],
    ids=["the policy reviews", "the step requires", "nothing", "a call, once for two", "a rule's reason"],
)
def test_why_a_person_sees_the_plan(policy: Policy, steps: list[dict[str, Any]], why: str) -> None:
    assert found(made(*steps), rules(policy)).review == why


def test_a_call_whose_approval_is_required_is_shown_although_the_policy_allows_it() -> None:
    report = found(made(send(approval="required")))
    assert [(call.step_id, call.reason) for call in report.calls] == [("send", "step send requires approval")]


def test_what_the_policy_denies_is_not_offered_for_approval() -> None:
    policy = Policy(rules=(Rule(verdict="deny", tools=("send",)), Rule(verdict="ask")))
    report = found(made(send(approval="required")), rules(policy))
    assert (report.calls, codes(report)) == ((), [("denied_by_policy", "send")])


# ── a later version ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("now", [[look("b")], [look("a", args={"name": "x"}), look("b")]], ids=["left out", "changed"])
def test_a_step_that_has_ended_cannot_change(now: list[dict[str, Any]]) -> None:
    before = made(look("a"), look("b"))
    report = found(made(*now, version=2), frozen={"a": before.by_id["a"]})
    assert codes(report) == [("frozen_step_changed", "a")]


def test_a_step_that_has_ended_is_not_asked_about_again() -> None:
    plan = made(send("a", approval="required"), send("b"))
    report = found(plan, rules(Policy.default()), frozen={"a": plan.by_id["a"]})
    assert [call.step_id for call in report.calls] == ["b"]
    assert "requires" not in report.review


def test_a_rule_that_came_after_a_step_had_ended_does_not_invalidate_it() -> None:
    plan = made(look("a"))
    assert found(plan, rules(DENY), frozen={"a": plan.by_id["a"]}).valid
