"""A flowchart that Mermaid reads: one line per node and arrow, and nothing of a text escapes its label."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from agent_graph.plan import Plan, Step
from agent_graph.policy.dataflow import Dataflow
from agent_graph.trace.mermaid import flowchart

NODE = re.compile(r'  s\d+_\w+(\["[^"]*"\]|\(\["[^"]*"\]\)|\[/"[^"]*"/\])')
ARROW = re.compile(r"  s\d+_\w+ (-->|-\. if it fails \.->) s\d+_\w+")
CLASS = re.compile(r"  class(Def \w+ \S.*| s\d+_\w+(,s\d+_\w+)* \w+)")


def plan() -> Plan:
    return Plan(
        goal="g",
        steps=(
            Step(id="end", tool="look"),
            Step(id="b", tool="send", args={"to": {"$ref": "steps.end.output"}}, on_failure="step:d", approval="required"),
            Step(id="c", ask='Which "one" [a] <b> {c} `d` #e?', when='steps.b.status == "succeeded"'),
            Step(id="d", tool="look"),
        ),
    )


def drawn(of: Plan, states: dict[str, str] | None = None) -> str:
    return flowchart(of, Dataflow.of(of).needs, states)


def test_a_plan_is_drawn_with_its_arrows() -> None:
    assert drawn(plan()) == (
        "flowchart TD\n"
        '  s0_end["<b>end</b><br/>look"]\n'
        '  s1_b(["<b>b</b><br/>send"])\n'
        '  s2_c[/"<b>c</b><br/>ask: Which #quot;one#quot; [a] #lt;b#gt; #123;c#125; #96;d#96; #35;e?'
        '<br/><i>when steps.b.status == #quot;succeeded#quot;</i>"/]\n'
        '  s3_d["<b>d</b><br/>look"]\n'
        "  s0_end --> s1_b\n"
        "  s1_b -. if it fails .-> s3_d\n"
        "  s1_b --> s2_c\n"
        "  s3_d --> s2_c\n"
    )


def test_states_are_classes_and_each_is_defined_once() -> None:
    lines = drawn(plan(), {"end": "succeeded", "b": "asks", "d": "succeeded"}).splitlines()
    assert "  class s0_end,s3_d succeeded" in lines
    assert "  class s1_b asks" in lines
    assert "  class s2_c waiting" in lines
    assert sum(line.startswith("  classDef") for line in lines) == 3


@given(st.text(st.characters(), min_size=1))
def test_no_text_breaks_the_drawing(text: str) -> None:
    lines = drawn(Plan(goal="g", steps=(Step(id="a", ask=text), Step(id="b", tool=text, depends_on=("a",)))), {"a": "asks"}).splitlines()
    assert lines[0] == "flowchart TD"
    assert [line for line in lines[1:] if not (NODE.fullmatch(line) or ARROW.fullmatch(line) or CLASS.fullmatch(line))] == []
