"""What holds of any plan and any policy: what reaches a risky call at run time was told before the run; a denial never widens; order is nothing."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from agent_graph import AgentGraph, Approve, Limits, Plan, Policy, Rule, tool
from agent_graph.identity import RunId
from agent_graph.plan import Goal, Risk
from agent_graph.policy.compiler import Rules, compile_plan
from agent_graph.policy.matching import FlowRule, Principal
from agent_graph.policy.provenance import judge_flow
from agent_graph.ports import ToolSpec
from agent_graph.testing import MemoryStore
from agent_graph.verdicts import Allow, Ask, Deny, Source, Verdict

# ── static ⊇ run time ─────────────────────────────────────────────────────────────────────────────────────────────────


def _tools() -> list[Any]:
    """Of each kind that matters to where values come from. All give a text, and a part of it that may be sensitive."""

    def made(name: str, **declared: Any) -> Any:
        def call(a: Any = None, b: Any = None) -> dict[str, Any]:
            if a == "fail":
                raise OSError("as it was asked to")
            return {"text": "x", "secret": "y", "yes": True}

        schema: dict[str, Any] = {"type": "object", "properties": {"a": {}, "b": {}}, "additionalProperties": False}
        if declared["risk"] != "read_only":
            declared["recovery"] = "idempotent"
        return tool(lambda ctx, **args: call(**args), name=name, args_schema=schema, **declared)

    return [
        made("mail", risk="read_only"),
        made("register", risk="read_only", trusted_output=True),
        made("vault", risk="read_only", trusted_output=True, sensitive=["output.secret"]),
        made("confess", risk="read_only", trusted_output=True, sensitive=["a"]),
        made("page", risk="read_only", outbound=True),
        made("write", risk="write", trusted_output=True),
        made("send", risk="external_communication"),
        made("pay", risk="money", price=1),
    ]


TOOLS = _tools()
NAMES = [each.name for each in TOOLS]
ALLOW = Policy(rules=(Rule(verdict="allow", tools=("*",)),))
"""Rules ask nobody, so that only values do."""


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Of up to seven steps that refer to, wait for, stand in for and hang on each other."""
    steps: list[dict[str, Any]] = []
    free: list[str] = []
    for number in range(draw(st.integers(2, 7))):
        before = [step["id"] for step in steps]
        value: st.SearchStrategy[Any] = st.one_of(
            st.just("literal"),
            st.just({"$ref": "params.given"}),
            st.just({"$ref": "params.own"}),
            *(
                [
                    st.builds(
                        lambda step, path: {"$ref": f"steps.{step}.output{path}"},
                        st.sampled_from(before),
                        st.sampled_from(["", ".text", ".secret"]),
                    )
                ]
                if before
                else []
            ),
        )
        args = {name: draw(value) for name in ("a", "b") if draw(st.booleans())}
        if draw(st.integers(0, 7)) == 0:
            args["a"] = "fail"
        step: dict[str, Any] = {"id": f"s{number}", "tool": draw(st.sampled_from(NAMES)), "args": args, "on_failure": "continue"}
        if before and draw(st.integers(0, 3)) == 0:
            read = draw(st.sampled_from(before))
            step["when"] = draw(
                st.sampled_from([f"steps.{read}.status == 'succeeded'", f"steps.{read}.status != 'skipped'", f"has(steps.{read}.output)"])
            )
        if before and draw(st.integers(0, 3)) == 0:
            step["depends_on"] = [draw(st.sampled_from(before))]
        if free and draw(st.integers(0, 4)) == 0:
            primary = draw(st.sampled_from(free))
            steps[int(primary[1:])]["on_failure"] = f"step:{step['id']}"
            free.remove(primary)
        steps.append(step)
        free.append(step["id"])
    goal = {
        "text": "go",
        "params": {"given": "from outside", "own": "ours"},
        "untrusted": ["given"],
        "sensitive": draw(st.sampled_from([[], ["own"]])),
    }
    return Plan.model_validate({"goal": goal, "steps": steps})


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(plans())
def test_what_reaches_a_call_was_told_before_the_run(made: Plan) -> None:
    with AgentGraph(TOOLS, policy=ALLOW, limits=Limits(max_parallel=2), store=MemoryStore()) as agent:
        told = compile_plan(made, agent.deps.rules, RunId("preview"))
        assume(told.valid)
        run = agent.run(made)
        asked: set[str] = set()
        for _ in range(20):
            if run.status != "paused":
                break
            for request in run.requests:
                asked |= {request.step_id} if request.step_id else {call.step_id for call in request.calls}
            run = agent.resume(run, Approve())
        assert run.status in ("succeeded", "failed")
    assert asked <= set(told.asks), (asked - set(told.asks), told.asks)


@settings(max_examples=100)
@given(plans())
def test_a_step_that_nothing_from_outside_can_reach_is_not_asked_about(made: Plan) -> None:
    """The other side: telling of everything would pass the test above. With nothing from outside and nothing sensitive in it, nothing is told."""
    harmless = [
        ToolSpec(**{**{name: getattr(each.spec, name) for name in each.spec.__dataclass_fields__}, "trusted_output": True, "sensitive": ()})
        for each in TOOLS
    ]
    goal = made.goal.model_copy(update={"untrusted": (), "sensitive": ()})
    rules = Rules(tools={spec.name: spec for spec in harmless}, policy=ALLOW, limits=Limits())
    report = compile_plan(made.model_copy(update={"goal": goal}), rules, RunId("preview"))
    assume(report.valid)
    assert report.asks == {}


# ── rules ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

SPECS = [each.spec for each in TOOLS]
_some_tools = st.lists(st.sampled_from([*NAMES, "*", "p*", "nothing"]), max_size=2, unique=True).map(tuple)
_some_risks = st.lists(st.sampled_from(get_args(Risk)), max_size=2, unique=True).map(tuple)
_conditions = st.sampled_from(
    [None, "call.args.a == 1", "call.risk == 'money'", "principal.name == 'cara'", "call.args.gone > 1", "true", "call.args.a"]
)


def _rules(verdicts: tuple[str, ...] = ("allow", "ask", "deny")) -> st.SearchStrategy[Rule]:
    return st.builds(
        lambda verdict, tools, risks, when, principals, reason: Rule(
            verdict=verdict, tools=tools, risks=risks, when=when, principals=principals, reason=reason
        ),
        st.sampled_from(verdicts),
        _some_tools,
        _some_risks,
        _conditions,
        st.sampled_from([(), ("cara",), ("d*",)]),
        st.sampled_from(["", "because", "also"]),
    )


_calls = st.tuples(
    st.sampled_from(SPECS),
    st.sampled_from([None, {}, {"a": 1}, {"a": True}]),
    st.sampled_from([None, "cara", "dan"]),
    st.sampled_from([None, 1e9]),
)


def _judged(policy: Policy, call: Any) -> Verdict:
    spec, args, principal, now = call
    return policy.judge(spec, args, step="s", principal=principal, now=now)


def _strictness(verdict: Verdict) -> int:
    match verdict:
        case Allow():
            return 0
        case Ask():
            return 1
        case Deny():
            return 2


@given(st.lists(_rules(), max_size=5), _rules(("deny",)), _calls)
def test_a_denial_more_never_allows_more(rules: list[Rule], more: Rule, call: Any) -> None:
    before = _judged(Policy(rules=tuple(rules)), call)
    after = _judged(Policy(rules=(*rules, more)), call)
    assert _strictness(after) >= _strictness(before)


@given(st.lists(_rules(), max_size=5), _rules(("ask", "deny")), _calls)
def test_what_was_denied_stays_denied_whatever_is_added(rules: list[Rule], more: Rule, call: Any) -> None:
    if isinstance(_judged(Policy(rules=tuple(rules)), call), Deny):
        assert isinstance(_judged(Policy(rules=(more, *rules, Rule(verdict="allow", tools=("*",)))), call), Deny)


@given(st.lists(_rules(), max_size=6), st.randoms(use_true_random=False), _calls)
def test_the_order_of_rules_changes_neither_verdict_nor_reason_nor_digest(rules: list[Rule], random: Any, call: Any) -> None:
    other = list(rules)
    random.shuffle(other)
    one, two = Policy(rules=tuple(rules)), Policy(rules=tuple(other))
    first, second = _judged(one, call), _judged(two, call)
    assert (first, first.rule) == (second, second.rule)
    assert one.digest == two.digest


@given(st.lists(_rules(("allow",)), max_size=4), _calls)
def test_what_no_rule_speaks_about_is_asked(rules: list[Rule], call: Any) -> None:
    spec = call[0]
    about = [rule for rule in rules if rule.matches(spec)]
    if not about:
        assert isinstance(_judged(Policy(rules=tuple(rules)), call), Ask)


_flow_rules = st.builds(
    lambda verdict, label, tools, into, sources: FlowRule(verdict=verdict, label=label, tools=tools, into=into, sources=sources),
    st.sampled_from(["allow", "ask", "deny"]),
    st.sampled_from(["untrusted", "sensitive"]),
    _some_tools,
    st.sampled_from([(), ("args.a",), ("the plan",), ("*",)]),
    st.sampled_from([(), ("mail",), ("params.*",)]),
)


@given(
    st.lists(_flow_rules, max_size=4),
    _flow_rules,
    st.randoms(use_true_random=False),
    st.sampled_from(SPECS),
    st.sampled_from(["args.a", "args.a.b", "when", "the plan"]),
)
def test_of_rules_about_values_the_strictest_counts_in_whatever_order(
    rules: list[FlowRule], more: FlowRule, random: Any, spec: ToolSpec, into: str
) -> None:
    source = Source(label="untrusted", what="steps.m.output", path="mail → steps.m.output → args.a", into=into)
    other = list(rules)
    random.shuffle(other)
    before = judge_flow(Policy(flows=tuple(rules)), spec, source, "mail")
    assert judge_flow(Policy(flows=tuple(other)), spec, source, "mail") == before
    if more.verdict == "deny":
        assert _strictness(judge_flow(Policy(flows=(*rules, more)), spec, source, "mail")) >= _strictness(before)


# ── one by one, where a property says little ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("wanted", "has", "may"),
    [
        ("mail.send", (), False),
        ("mail.send", ("mail.send",), True),
        ("mail.send", ("mail.*",), True),
        ("mail.send", ("mail",), False),
        ("mail", ("mail.*",), False),
    ],
)
def test_a_scope_is_had_to_the_letter_or_by_a_pattern(wanted: str, has: tuple[str, ...], may: bool) -> None:
    needs = tool(lambda ctx, **args: None, name="needs", args_schema={"type": "object"}, risk="read_only", scopes=[wanted])
    policy = Policy(rules=(Rule(verdict="allow", tools=("*",)),), principals={"p": Principal(scopes=has)})
    rules = Rules(tools={"needs": needs.spec}, policy=policy, limits=Limits())
    made = Plan.model_validate({"goal": Goal(text="go", principal="p").model_dump(), "steps": [{"id": "s", "tool": "needs"}]})
    assert compile_plan(made, rules, RunId("preview")).valid is may


@pytest.mark.parametrize(
    ("when", "asked"),
    [
        ("params.given == 'x'", True),
        ("params['given'] == 'x'", True),
        ("params.exists(name, params[name] == 'x')", True),
        ("size(params) > 3", True),
        ("params.own == 'x'", False),
        ("steps.s.output.yes", False),
    ],
)
def test_a_condition_over_a_parameter_from_outside_is_told_however_it_is_read(when: str, asked: bool) -> None:
    goal = {"text": "go", "params": {"given": "from outside", "own": "ours"}, "untrusted": ["given"]}
    made = Plan.model_validate(
        {"goal": goal, "steps": [{"id": "s", "tool": "register"}, {"id": "p", "tool": "pay", "depends_on": ["s"], "when": when}]}
    )
    report = compile_plan(made, Rules(tools={each.name: each.spec for each in TOOLS}, policy=ALLOW, limits=Limits()), RunId("preview"))
    assert report.valid
    assert ("p" in report.asks) is asked


@pytest.mark.parametrize(
    ("steps", "asked"),
    [
        ([{"id": "s", "tool": "register", "args": {"a": "fail"}, "on_failure": "step:p"}], False),
        ([{"id": "s", "tool": "mail", "args": {"a": "fail"}, "on_failure": "step:p"}], True),
        ([{"id": "s", "tool": "register", "when": "1 > 2"}, {"id": "p", "tool": "pay", "when": "steps.s.status == 'skipped'"}], False),
        ([{"id": "s", "tool": "mail", "when": "1 > 2"}, {"id": "p", "tool": "pay", "when": "steps.s.status == 'skipped'"}], True),
        ([{"id": "s", "tool": "mail"}, {"id": "p", "tool": "pay", "depends_on": ["s"]}], False),
    ],
    ids=["in place of a trusted read", "in place of another", "a trusted read was skipped", "another was skipped", "it only waits"],
)
def test_that_a_step_failed_or_was_skipped_is_as_trusted_as_the_step(steps: list[dict[str, Any]], asked: bool) -> None:
    made = Plan.model_validate({"goal": "go", "steps": steps if len(steps) == 2 else [*steps, {"id": "p", "tool": "pay"}]})
    with AgentGraph(TOOLS, policy=ALLOW, store=MemoryStore()) as agent:
        assert agent.run(made).status == ("paused" if asked else "succeeded")
