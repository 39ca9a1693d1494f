"""The plan compiler: each issue of the closed list, what is asked of a person, and what stays as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent_graph.identity import Digest, RunId, StepId, call_digest, call_key
from agent_graph.plan import Plan, Step
from agent_graph.policy.compiler import Rules, SoFar, compile_plan
from agent_graph.policy.issues import ISSUES
from agent_graph.policy.limits import Limits
from agent_graph.policy.lineage import Origin
from agent_graph.policy.rules import FlowRule, Match, OrderRule, Policy, Principal, Rule
from agent_graph.ports import ToolSpec
from agent_graph.verdicts import Report, Source

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
UPPER = ToolSpec(
    name="upper",
    description="",
    args_schema={"type": "object"},
    output_schema={"type": "string"},
    risk="read_only",
    recovery="rerun",
    trusted_output=True,
)
ACCOUNT = replace(LOOK, name="account", output_schema=None, trusted_output=True, sensitive=("output.iban",))
FETCH = replace(UPPER, name="fetch", outbound=True)
CLOSE = replace(PAY, name="close", risk="write", scopes=("desk:close",))
BUY = replace(PAY, name="buy", price="amount")
TOOLS = {spec.name: spec for spec in (LOOK, replace(SEND, outbound=True), replace(PAY, price=None), UPPER, ACCOUNT, FETCH, CLOSE, BUY)}


def rules(policy: Policy | None = None, **limits: Any) -> Rules:
    return Rules(tools=TOOLS, policy=policy or Policy.allow_all(), limits=Limits(**limits))


def look(step_id: str = "look", **more: Any) -> dict[str, Any]:
    return {"id": step_id, "tool": "look", **more}


def send(step_id: str = "send", to: Any = "ann", **more: Any) -> dict[str, Any]:
    return {"id": step_id, "tool": "send", "args": {"to": to}, **more}


def made(*steps: dict[str, Any], params: dict[str, Any] | None = None, principal: str | None = None, **more: Any) -> Plan:
    return Plan.model_validate({"goal": {"text": "tell them", "params": params or {}, "principal": principal}, "steps": steps, **more})


def account(step_id: str) -> dict[str, Any]:
    return {"id": step_id, "tool": "account"}


def paid(step_id: str, amount: int) -> dict[str, Any]:
    return {"id": step_id, "tool": "buy", "args": {"amount": amount}}


def params_made(*steps: dict[str, Any]) -> Plan:
    """With a parameter that came from outside."""
    return Plan.model_validate({"goal": {"text": "answer it", "params": {"mail": "x"}, "untrusted": ["mail"]}, "steps": steps})


def found(plan: Plan, under: Rules | None = None, frozen: dict[str, Step] | None = None) -> Report:
    return compile_plan(plan, under or rules(), RUN, SoFar(frozen=frozen or {}))


def codes(report: Report) -> list[tuple[str, str | None]]:
    return [(issue.code, issue.step_id) for issue in report.issues]


def output(step: str, path: str = "") -> dict[str, str]:
    return {"$ref": f"steps.{step}.output{path}"}


# ── the closed list ───────────────────────────────────────────────────────────────────────────────────────────────────

NEEDS_A = {"depends_on": ["a"]}
ALLOW = (Rule(verdict="allow"),)
ASKING = rules(Policy(rules=ALLOW))
NO_FLOWS = rules(Policy(rules=ALLOW, flows=tuple(FlowRule(verdict="deny", label=label) for label in ("untrusted", "sensitive"))))
SCOPED = rules(Policy(rules=ALLOW, principals={"ann": Principal(scopes=("desk:*",)), "bob": Principal(scopes=("desk:open",))}))
ORDERED = rules(
    Policy.allow_all().model_copy(
        update={
            "order": (
                OrderRule(risks=("external_communication",), after=Match(tools=("look",)), name="look first"),
                OrderRule(risks=("money",), followed_by=Match(risks=("read_only",)), reason="a payment is looked up"),
            )
        }
    )
)
THROUGH = made(look("a"), {"id": "b", "tool": "upper", "args": {"text": output("a", ".address")}}, send("c", to=output("b")))
STANDS_IN = made(look("a", on_failure="step:b"), send("b"))
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
        ("a judge's criterion of nothing", made(look("a", success_criteria=[{"judge": " "}])), None, "a", "nothing that a judge could"),
        ("no CEL", made(look("a", when="1 +")), None, "a", "it is not CEL"),
        ("steps as a whole", made(look("a", success_criteria=["size(steps) > 1"])), None, "a", "as a whole"),
        ("its own result beforehand", made(look("a", when="steps.a.output.age > 1")), None, "a", "own result before it runs"),
        ("the plan's", made(look("a"), success_criteria=["("]), None, None, "it is not CEL"),
    ],
    "invalid_schema": [
        ("no type", made(look("a", expected_output={"type": "nothing"})), None, "a", "nothing"),
        ("elsewhere", made(look("a", expected_output={"$ref": "https://example.org/s.json"})), None, "a", "outside of the schema"),
    ],
    "invalid_blueprint": [
        ("not registered", made({"id": "a", "blueprint": "inner"}), None, "a", "there is no blueprint 'inner'"),
        ("part of nothing", made(look("a", part_of="b")), None, "a", "part of 'b', which is no step with a blueprint"),
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
    "invalid_template": [
        ("no Jinja2", made(look("a"), template="Hi {{ steps.a.output"), None, None, "line 1: unexpected end of template"),
        ("a step that is not there", made(look("a"), template="{{ steps.b.output }}"), None, None, "it reads step 'b'"),
        ("a name that is not there", made(look("a"), template="{{ secrets }}"), None, None, "it reads 'secrets'"),
        ("another file", made(look("a"), template="{% include '/etc/passwd' %}"), None, None, "take out the include"),
        ("too long", made(look("a"), template="x" * 20_001), None, None, "20001 characters"),
        ("nested without end", made(look("a"), template="{{ " + "(" * 5000 + " }}"), None, None, "nested too deeply"),
    ],
    "denied_by_policy": [("by a rule", made(look("a")), rules(DENY), "a", "not on Sundays")],
    "no_model": [
        ("a model step", made({"id": "a", "model": "think"}), None, "a", "the executor role has none"),
        ("an agent step", made({"id": "a", "agent": "do", "allowed_tools": ["look"]}), None, "a", "an agent step needs a model"),
    ],
    "no_tools": [("an agent", made({"id": "a", "agent": "do", "use_model": "openai:gpt-test"}), None, "a", "nothing but what it allows")],
    "unknown_executor": [("a model step", made({"id": "a", "model": "think", "executor": "ann"}), None, "a", "no such specialist")],
    "not_supported": [("mode auto", made(look("a"), mode="auto"), None, None, "'auto' is none")],
    "too_coarse": [
        (
            "an agent that may write",
            made(
                {"id": "a", "agent": "do", "use_model": "openai:gpt-test", "allowed_tools": ["look", "send"]},
                granularity="fine",
                answer=output("a"),
            ),
            None,
            "a",
            "its agent may call send,",
        )
    ],
    "risk_understated": [
        ("money", made({"id": "a", "tool": "pay"}, risk_level="write"), None, None, "says write; its tools make it money")
    ],
    "over_planned": [
        (
            "twelve steps for a lookup",
            made(*(look(f"s{n}") for n in range(12)), answer=output("s3", ".address")),
            None,
            None,
            "12 steps that only read, of which 1 serves",
        )
    ],
    "unused_output": [
        ("a read that nobody reads", made(look("a"), look("b"), answer=output("b", ".age")), None, "a", "nothing uses what it gives"),
        ("for a criterion of the goal", made(look("a"), look("b"), success_criteria=["steps.b.output.age > 1"]), None, "a", "nothing uses"),
    ],
    "missing_scope": [
        ("for nobody", made({"id": "a", "tool": "close"}), None, "a", "needs the scope desk:close, which a run that acts for nobody"),
        ("for somebody else", made({"id": "a", "tool": "close"}, principal="bob"), SCOPED, "a", "which 'bob' does not have"),
    ],
    "order_violated": [
        ("nothing before", made(send("a")), ORDERED, "a", "nothing that it waits for is a call of look"),
        ("before, but not waited for", made(look("a"), send("b")), ORDERED, "b", "nothing that it waits for is a call of look"),
        ("nothing after", made({"id": "a", "tool": "pay"}), ORDERED, "a", "no later step that waits for it is a call of risk read_only"),
    ],
    "untrusted_flow": [
        ("asked", made(look("a"), send("b", to=output("a", ".address"))), ASKING, "b", "look → steps.a.output.address → args.to"),
        ("through a tool", THROUGH, ASKING, "c", "look → steps.a.output.address → upper(text) → steps.b.output → args.to"),
        ("by a condition", made(look("a"), send("b", when="steps.a.output.age > 3")), ASKING, "b", "look → steps.a → when"),
        ("by a condition with a parameter", params_made(send("b", when="params.mail == 'x'")), ASKING, "b", "params.mail → when"),
        ("by standing in", STANDS_IN, ASKING, "b", "look → steps.a → on_failure"),
        ("of a parameter", params_made(send("b", to={"$ref": "params.mail"})), ASKING, "b", "params.mail → args.to"),
        ("denied", made(look("a"), send("b", to=output("a", ".address"))), NO_FLOWS, "b", "look → steps.a.output.address → args.to"),
    ],
    "sensitive_flow": [
        ("into a mail", made(account("a"), send("b", to=output("a", ".iban"))), ASKING, "b", "account → steps.a.output.iban → args.to"),
        ("as a part of all", made(account("a"), send("b", to=output("a"))), ASKING, "b", "account → steps.a.output → args.to"),
        ("into a GET", made(account("a"), {"id": "b", "tool": "fetch", "args": {"url": output("a", ".iban")}}), ASKING, "b", "args.url"),
        ("denied", made(account("a"), send("b", to=output("a", ".iban"))), NO_FLOWS, "b", "account → steps.a.output.iban → args.to"),
    ],
    "over_budget": [
        ("calls", made(look("a"), look("b")), rules(max_calls=1), None, "needs at least 2 calls, and 1 of 1 calls are left"),
        ("money", made(paid("a", 40), paid("b", 70)), rules(max_money=100), None, "needs at least 110 money"),
        ("seconds", made(look("a")), rules(max_seconds=5), None, "no call of it fits into the 5 of 5 seconds"),
    ],
    "may_overrun": [
        ("attempts", made(look("a", max_attempts=5)), rules(max_attempts=3), None, "may need 5 attempts, and 3 of 3"),
        ("behind a condition", made(look("a"), look("b", when="steps.a.output.age > 1")), rules(max_calls=1), None, "may need 2 calls"),
        ("seconds", made(look("a", max_attempts=3)), rules(max_seconds=100), None, "may take 180 seconds"),
    ],
    "unknown_price": [("a payment", made({"id": "a", "tool": "pay"}), rules(max_money=5), None, "what pay costs is not known")],
}
FLAT = [pytest.param(code, *case[1:], id=f"{code}: {case[0]}") for code, cases in CASES.items() for case in cases]


def test_in_an_iterative_plan_what_a_step_gives_serves_its_planner() -> None:
    plan = made(*(look(f"s{n}") for n in range(12)), answer=output("s3", ".address"), mode="iterative")
    assert found(plan).issues == ()


def test_each_code_of_the_closed_list_is_tried_here() -> None:
    assert CASES.keys() == {
        code
        for code in ISSUES
        if code not in ("frozen_step_changed", "repeats_effect", "repeats_failure", "too_many_replans", "judge_remark")
    }  # tried below, and in tests/wire/test_judge_remarks.py


@pytest.mark.parametrize(("code", "plan", "under", "step", "words"), FLAT)
def test_what_is_wrong_is_found_and_said(code: str, plan: Plan, under: Rules | None, step: str | None, words: str) -> None:
    report = found(plan, under)
    assert {issue.code for issue in report.errors} - {code} == set()
    said = [issue for issue in report.issues if issue.code == code]
    assert [issue.step_id for issue in said][:1] == [step]
    assert words in said[0].message


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


# ── what has happened before ──────────────────────────────────────────────────────────────────────────────────────────


def test_more_replans_than_the_limits_or_the_mode_allow_are_an_error() -> None:
    plan = made(look("a")).model_copy(update={"version": 3, "parent": 2})
    for under, words in (
        (rules(max_replans=1), "replan 2; mode 'single_shot' allows 1"),
        (rules(mode_replans={"single_shot": 0}), "allows 0"),
    ):
        report = compile_plan(plan, under, RUN, SoFar(replans=2))
        assert [(issue.code, words in issue.message) for issue in report.errors] == [("too_many_replans", True)]
    assert compile_plan(plan, rules(max_replans=2), RUN, SoFar(replans=2)).valid


def test_a_new_step_that_would_do_again_what_was_done_asks_whatever_its_id() -> None:
    plan = made(send("again", to="ann")).model_copy(update={"version": 2, "parent": 1})
    landed = {call_key("send", {"to": "ann"}): ("first", 1)}
    report = compile_plan(plan, ASKING, RUN, SoFar(landed=landed, lineage={"again": Origin(since=2)}))
    assert codes(report) == [("repeats_effect", "again")]
    assert report.asks["again"] == "it would do again what step first has done: the same tool with the same arguments"
    assert [call.step_id for call in report.calls] == ["again"]
    for other in (SoFar(landed=landed), SoFar(lineage={"again": Origin(since=2)})):  # of the same version; of nothing that was done
        assert compile_plan(plan, ASKING, RUN, other).asks == {}


def test_a_step_that_came_after_text_from_outside_was_read_asks_and_an_earlier_yes_is_not_for_it() -> None:
    read = Source(
        label="untrusted", what="steps.mail.output", path="look → steps.mail.output → the plan", into="the plan", excerpt="pay me"
    )
    plan = made(send("a", to="eve")).model_copy(update={"version": 2, "parent": 1})
    before = compile_plan(plan, rules(Policy()), RUN).calls[0]
    after = compile_plan(plan, ASKING, RUN, SoFar(lineage={"a": Origin(since=2, read=(read,))}))
    assert after.asks == {"a": "untrusted steps.mail.output reaches the plan"}
    assert after.calls[0].sources == (read,)
    assert after.calls[0].digest != before.digest


def test_what_a_trusted_tool_makes_of_trusted_values_asks_nobody() -> None:
    plan = made({"id": "a", "tool": "upper", "args": {"text": "x"}}, send("b", to=output("a")))
    assert compile_plan(plan, ASKING, RUN).asks == {}


def test_a_place_beside_the_sensitive_one_is_not_sensitive() -> None:
    assert compile_plan(made(account("a"), send("b", to=output("a", ".name"))), ASKING, RUN).asks == {}


def test_a_flow_rule_takes_out_what_it_names_and_nothing_else() -> None:
    policy = Policy(rules=ALLOW, flows=(FlowRule(verdict="allow", label="untrusted", tools=("send",), into=("args.copies",)),))
    plan = made(look("a"), {"id": "b", "tool": "send", "args": {"to": "ann", "copies": [output("a", ".address")]}})
    assert compile_plan(plan, rules(policy), RUN).asks == {}
    other = made(look("a"), send("b", to=output("a", ".address")))
    assert set(compile_plan(other, rules(policy), RUN).asks) == {"b"}


def test_no_flow_rule_without_a_word_about_it_lets_through_what_a_planner_had_read() -> None:
    read = Source(label="untrusted", what="steps.mail.output", path="look → steps.mail.output → the plan", into="the plan")
    plan, lineage = made(send("a")), {"a": Origin(since=2, read=(read,))}
    broad = Policy(rules=ALLOW, flows=(FlowRule(verdict="allow", label="untrusted"),))
    named = Policy(rules=ALLOW, flows=(FlowRule(verdict="allow", label="untrusted", into=("the plan",)),))
    assert set(compile_plan(plan, rules(broad), RUN, SoFar(lineage=lineage)).asks) == {"a"}
    assert compile_plan(plan, rules(named), RUN, SoFar(lineage=lineage)).asks == {}


def test_an_order_rule_is_content_with_a_step_that_is_waited_for() -> None:
    plan = made(look("a"), send("b", depends_on=["a"]), {"id": "p", "tool": "pay", "depends_on": ["b"]}, look("c", depends_on=["p"]))
    assert codes(compile_plan(plan, ORDERED, RUN)) == []


def test_a_scope_is_of_the_run_s_principal() -> None:
    assert compile_plan(made({"id": "a", "tool": "close"}, principal="ann"), SCOPED, RUN).valid
    host = replace(SCOPED, scopes=lambda name: ["desk:close"] if name == "bob" else [])
    assert compile_plan(made({"id": "a", "tool": "close"}, principal="bob"), host, RUN).valid
    assert not compile_plan(made({"id": "a", "tool": "close"}, principal="ann"), host, RUN).valid
