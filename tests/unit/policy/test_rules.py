"""The policy: the most restrictive rule that matches wins, whatever their order, and what no rule speaks about is asked."""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_graph.errors import InvalidDocument
from agent_graph.plan import RISKS, Risk
from agent_graph.policy.rules import Policy, Rule
from agent_graph.ports import ToolSpec
from agent_graph.verdicts import Allow, Ask, Deny, Verdict

NAMES = ["read", "send", "send_mail", "pay"]


def spec(name: str = "send", risk: Risk = "write") -> ToolSpec:
    return ToolSpec(name=name, description="", args_schema={}, output_schema=None, risk=risk, recovery="blind")


def strictness(verdict: Verdict) -> int:
    match verdict:
        case Allow():
            return 0
        case Ask():
            return 1
        case Deny():
            return 2
        case _ as never:
            assert_never(never)


# ── which rule wins ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("verdicts", "wins"),
    [
        (["allow"], Allow),
        (["ask"], Ask),
        (["deny"], Deny),
        (["allow", "ask"], Ask),
        (["ask", "allow"], Ask),
        (["allow", "ask", "deny"], Deny),
        (["deny", "allow"], Deny),
        ([], Ask),
    ],
)
def test_the_most_restrictive_rule_that_matches_wins(verdicts: list[str], wins: type) -> None:
    policy = Policy(rules=tuple(Rule.model_validate({"verdict": verdict}) for verdict in verdicts))
    assert isinstance(policy.judge(spec()), wins)


def test_a_rule_that_does_not_match_says_nothing() -> None:
    policy = Policy(
        rules=(Rule(verdict="deny", tools=("pay",)), Rule(verdict="deny", risks=("money",)), Rule(verdict="allow", tools=("send",)))
    )
    assert policy.judge(spec("send")) == Allow()


@pytest.mark.parametrize(
    ("rule", "name", "risk", "matches"),
    [
        (Rule(verdict="deny"), "send", "write", True),
        (Rule(verdict="deny", tools=("send",)), "send_mail", "write", False),
        (Rule(verdict="deny", tools=("send*",)), "send_mail", "write", True),
        (Rule(verdict="deny", tools=("SEND*",)), "send_mail", "write", False),
        (Rule(verdict="deny", tools=("pay", "send")), "send", "write", True),
        (Rule(verdict="deny", risks=("money", "write")), "send", "write", True),
        (Rule(verdict="deny", tools=("send",), risks=("money",)), "send", "write", False),
    ],
)
def test_a_rule_matches_by_name_and_risk_together(rule: Rule, name: str, risk: Risk, matches: bool) -> None:
    assert rule.matches(spec(name, risk)) is matches


def test_the_reason_of_a_rule_is_given_and_one_is_made_where_there_is_none() -> None:
    assert Policy(rules=(Rule(verdict="ask", reason="it costs"),)).judge(spec()) == Ask("it costs")
    assert Policy(name="p", rules=(Rule(verdict="deny"),)).judge(spec("pay", "money")) == Deny("policy 'p' denies pay (money)")


def test_what_no_rule_names_is_asked_and_the_reason_says_so() -> None:
    assert Policy(name="p").judge(spec("pay", "money")) == Ask("pay is money, and policy 'p' allows only what it names")


# ── the two that come with it ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("risk", RISKS)
def test_by_default_reads_run_and_everything_else_asks(risk: Risk) -> None:
    assert isinstance(Policy.default().judge(spec("x", risk)), Allow if risk == "read_only" else Ask)


@pytest.mark.parametrize("risk", RISKS)
def test_allow_all_allows_all_and_its_name_says_that_nobody_is_asked(risk: Risk) -> None:
    policy = Policy.allow_all()
    assert policy.judge(spec("x", risk)) == Allow()
    assert "nobody is asked" in policy.name


# ── properties ────────────────────────────────────────────────────────────────────────────────────────────────────────

RULES = st.builds(
    Rule,
    verdict=st.sampled_from(["allow", "ask", "deny"]),
    tools=st.lists(st.sampled_from([*NAMES, "*", "send*", "p?y"]), max_size=2).map(tuple),
    risks=st.lists(st.sampled_from(RISKS), max_size=2).map(tuple),
)
SPECS = st.builds(spec, st.sampled_from(NAMES), st.sampled_from(RISKS))


@given(st.lists(RULES, max_size=5), RULES, SPECS, st.integers(0, 5))
def test_adding_a_deny_or_ask_rule_never_widens_what_is_allowed(rules: list[Rule], added: Rule, call: ToolSpec, at: int) -> None:
    before = Policy(rules=tuple(rules)).judge(call)
    for verdict in ("ask", "deny"):
        more = [*rules[:at], added.model_copy(update={"verdict": verdict}), *rules[at:]]
        after = Policy(rules=tuple(more)).judge(call)
        assert strictness(after) >= strictness(before)


@given(st.data(), st.lists(RULES, max_size=5), SPECS)
def test_the_order_of_rules_changes_no_verdict(data: st.DataObject, rules: list[Rule], call: ToolSpec) -> None:
    shuffled = data.draw(st.permutations(rules))
    assert strictness(Policy(rules=tuple(rules)).judge(call)) == strictness(Policy(rules=tuple(shuffled)).judge(call))


@given(st.lists(RULES, max_size=5), SPECS)
def test_nothing_is_allowed_that_no_allow_rule_names(rules: list[Rule], call: ToolSpec) -> None:
    if not any(rule.verdict == "allow" and rule.matches(call) for rule in rules):
        assert not isinstance(Policy(rules=tuple(rules)).judge(call), Allow)


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_policy_loads_from_yaml_and_json(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "name: ours\nreview_plans: true\nrules:\n  - verdict: deny\n    tools: [pay]\n    reason: ask the boss\n"
    )
    (tmp_path / "p.json").write_text(
        '{"name": "ours", "review_plans": true, "rules": [{"verdict": "deny", "tools": ["pay"], "reason": "ask the boss"}]}'
    )
    wanted = Policy(name="ours", review_plans=True, rules=(Rule(verdict="deny", tools=("pay",), reason="ask the boss"),))
    assert Policy.load(tmp_path / "p.yaml") == Policy.load(tmp_path / "p.json") == wanted
    assert Policy.load(tmp_path / "p.yaml").digest == wanted.digest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rules:\n  - verdict: deny\n  - verdict: perhaps\n", ["line 3", "rules[1].verdict", "'allow', 'ask' or 'deny'", "'perhaps'"]),
        ("rules:\n  - verdict: deny\n    risks: [danger]\n", ["line 3", "rules[0].risks[0]", "'read_only'", "'danger'"]),
        ("name: p\nrule: []\n", ["line 2", "rule", "not known"]),
        ("rules:\n  - tools: [a]\n", ["line 2", "rules[0].verdict", "missing"]),
        ("approval_ttl_s: 0\n", ["line 1", "approval_ttl_s", "greater than 0"]),
    ],
)
def test_an_error_in_a_policy_file_names_file_line_place_and_what_is_allowed(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(InvalidDocument) as caught:
        Policy.load(path)
    assert [word for word in [str(path), *words] if word not in str(caught.value)] == []


def test_a_policy_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidDocument, match="no such file"):
        Policy.load(tmp_path / "nowhere.yaml")
