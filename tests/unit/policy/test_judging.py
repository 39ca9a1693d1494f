"""What a rule may look at beside the tool: arguments, principal, scopes, the time; and what comes of a rule that cannot be evaluated."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from agent_graph.errors import InvalidDocument
from agent_graph.policy.rules import Policy, Rule, Time
from agent_graph.ports import ToolSpec
from agent_graph.verdicts import Allow, Ask, Deny

PAY = ToolSpec(name="pay", description="", args_schema={}, output_schema=None, risk="money", recovery="keyed", scopes=("money:out",))
NOON = datetime.fromisoformat("2026-11-20T12:00:00Z").timestamp()  # a Friday

ALLOW = Rule(verdict="allow", name="all")


def judged(*rules: Rule, args: Any = None, **more: Any) -> Any:
    return Policy(rules=rules).judge(PAY, {"amount": 50} if args is None else args, now=more.pop("now", NOON), **more)


@pytest.mark.parametrize(("amount", "verdict"), [(10, Allow), (100, Allow), (101, Deny)])
def test_a_rule_looks_at_the_arguments_that_would_be_sent(amount: int, verdict: type) -> None:
    deny = Rule(verdict="deny", when="call.args.amount > 100")
    assert isinstance(judged(ALLOW, deny, args={"amount": amount}), verdict)


@pytest.mark.parametrize("when", ["call.args.missing > 1", "call.args.amount", "call.args.amount > 'x'"])
@pytest.mark.parametrize("word", ["deny", "ask"])
def test_a_rule_that_cannot_be_evaluated_asks(word: str, when: str) -> None:
    said = judged(ALLOW, Rule.model_validate({"verdict": word, "when": when, "name": "odd"}))
    assert isinstance(said, Ask)
    assert "rule odd of policy 'default' cannot be evaluated" in said.reason


def test_an_allowing_rule_that_cannot_be_evaluated_allows_nothing() -> None:
    assert isinstance(judged(Rule(verdict="allow", when="call.args.missing > 1")), Ask)


def test_before_arguments_are_known_a_rule_about_them_says_nothing_yet() -> None:
    policy = Policy(rules=(ALLOW, Rule(verdict="deny", when="call.args.amount > 1")))
    assert isinstance(policy.judge(PAY), Allow)
    assert isinstance(policy.judge(PAY, {"amount": 5}, now=NOON), Deny)


@pytest.mark.parametrize(("principal", "verdict"), [("ann", Deny), ("anna", Allow), ("bot-7", Deny), (None, Allow)])
def test_a_rule_is_about_principals_by_their_name(principal: str | None, verdict: type) -> None:
    assert isinstance(judged(ALLOW, Rule(verdict="deny", principals=("ann", "bot-*")), principal=principal), verdict)


def test_a_rule_may_look_at_what_the_principal_may() -> None:
    rule = Rule(verdict="allow", when="'money:out' in principal.scopes")
    assert isinstance(judged(rule, principal="ann", scopes=("money:out",)), Allow)
    assert isinstance(judged(rule, principal="ann", scopes=("money:in",)), Ask)


def test_a_rule_is_about_tools_that_need_a_scope() -> None:
    rule = Rule(verdict="deny", scopes=("money:*",))
    assert isinstance(judged(ALLOW, rule), Deny)
    assert isinstance(Policy(rules=(ALLOW, rule)).judge(replace(PAY, name="note", scopes=("notes:write",)), {}, now=NOON), Allow)


@pytest.mark.parametrize(
    ("time", "at", "holds"),
    [
        ({}, "2026-11-20T12:00:00Z", True),
        ({"since": "12:00", "until": "12:01"}, "2026-11-20T12:00:59Z", True),
        ({"since": "12:00", "until": "12:01"}, "2026-11-20T12:01:00Z", False),
        ({"since": "22:00", "until": "06:00"}, "2026-11-20T23:00:00Z", True),
        ({"since": "22:00", "until": "06:00"}, "2026-11-20T05:59:00Z", True),
        ({"since": "22:00", "until": "06:00"}, "2026-11-20T12:00:00Z", False),
        ({"days": ["fri"]}, "2026-11-20T12:00:00Z", True),
        ({"days": ["sat"]}, "2026-11-20T12:00:00Z", False),
        ({"days": ["fri"], "since": "22:00", "until": "06:00"}, "2026-11-21T05:00:00Z", True),
        ({"days": ["fri"], "since": "22:00", "until": "06:00"}, "2026-11-20T05:00:00Z", False),
        ({"since": "13:00", "until": "14:00", "zone": "Europe/Berlin"}, "2026-11-20T12:30:00Z", True),
        ({"since": "13:00", "until": "14:00", "zone": "Europe/Berlin"}, "2026-07-20T12:30:00Z", False),
    ],
)
def test_a_part_of_the_week_is_that_of_its_place(time: Any, at: str, holds: bool) -> None:
    assert Time.model_validate(time).holds(datetime.fromisoformat(at).timestamp()) is holds


def test_a_rule_with_a_time_says_nothing_at_another_time() -> None:
    night = Rule(verdict="deny", time=Time(since="20:00", until="06:00"))
    assert isinstance(judged(ALLOW, night), Allow)
    assert isinstance(judged(ALLOW, night, now=NOON + 9 * 3600), Deny)


def test_now_is_a_moment_that_a_rule_may_compare() -> None:
    until = Rule(verdict="allow", when="now < timestamp('2026-11-21T00:00:00Z')")
    assert isinstance(judged(until), Allow)
    assert isinstance(judged(until, now=NOON + 86400), Ask)


def test_what_decided_is_said_by_its_name_or_by_a_mark_of_its_content() -> None:
    assert judged(ALLOW).rule == "all"
    first, second = Rule(verdict="deny", risks=("money",)), Rule(verdict="deny", risks=("money",), reason="x")
    assert judged(first).rule == first.mark != second.mark
    assert judged().rule == "no rule"


def test_a_policy_is_read_from_toml_too(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('name = "ours"\n[[rules]]\nverdict = "deny"\ntools = ["pay"]\nwhen = "call.args.amount > 5"\n')
    (tmp_path / "p.yaml").write_text("name: ours\nrules:\n  - {verdict: deny, tools: [pay], when: call.args.amount > 5}\n")
    assert Policy.load(tmp_path / "p.toml") == Policy.load(tmp_path / "p.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rules:\n  - {verdict: deny, when: 'call.args >'}\n", ["line 2", "rules[0].when", "not CEL"]),
        ("rules:\n  - {verdict: deny, time: {zone: Mars/North}}\n", ["line 2", "time zone", "Europe/Berlin"]),
        ("rules:\n  - {verdict: deny, time: {since: '25:00'}}\n", ["rules[0].time.since"]),
        ("order:\n  - {tools: [pay]}\n", ["line 2", "followed_by"]),
        ("flows:\n  - {verdict: deny, label: secret}\n", ["'untrusted' or 'sensitive'"]),
        ("approvers:\n  - {risks: [money]}\n", ["approvers[0].by", "missing"]),
    ],
)
def test_what_a_policy_file_cannot_mean_is_refused_with_its_place(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(InvalidDocument) as caught:
        Policy.load(tmp_path / "p.yaml")
    assert [word for word in words if word not in str(caught.value)] == []


def test_text_that_is_not_toml_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("name = \n")
    with pytest.raises(InvalidDocument, match="not TOML"):
        Policy.load(tmp_path / "p.toml")
