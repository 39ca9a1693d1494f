"""What a template can print, and what neither it nor the data can do."""

from __future__ import annotations

import time
from typing import Any

import pytest

from agent_graph.tools.report import MAX_REPORT, render_report


def rendered(text: str, **values: Any) -> str:
    return str(render_report(values, text=text)["markdown"]).rstrip("\n")


def test_a_template_is_filled_with_values() -> None:
    found = render_report(
        {"name": "cpu", "parts": [1, 2]}, text="# Report on {{ name }}\n\n{% for part in parts %}\n- {{ part }}\n{% endfor %}\n"
    )
    assert found == {"title": "Report on cpu", "markdown": "# Report on cpu\n\n- 1\n- 2\n", "characters": 25}


@pytest.mark.parametrize(
    ("text", "title"), [("plain\nmore", "plain"), ("intro\n## Head\n", "Head"), ("", ""), ("# " + "x" * 300, "x" * 200)]
)
def test_the_title_is_the_first_heading_or_line(text: str, title: str) -> None:
    assert render_report({}, text=text)["title"] == title


def test_a_title_is_plain_text() -> None:
    assert render_report({"name": "_a_[b]|<c>"}, text="# On {{ name }}")["title"] == "On _a_[b]|<c>"


@pytest.mark.parametrize(
    ("expression", "value", "said"),
    [
        ("v|clock", "2014-04-15T16:54:00+00:00", "2014-04-15 16:54"),
        ("v|clock('%H:%M')", "2014-04-15T16:54:00+00:00", "16:54"),
        ("v|duration", 39000, "10 h 50 min"),
        ("v|number", 71_030_805.0, "71,030,805"),
        ("v|number", 54.86775, "54.9"),
        ("v|number", 0.012345, "0.0123"),
        ("v|number", 999.6, "1,000"),
        ("v|number", 6, "6"),
        ("v|number", 1e-9, "1e-09"),
        ("v|number", None, "–"),
        ("v", None, "–"),
        ("v|round(1)", -0.04, "0.0"),
        ("v|join(', ')", ["a", "b"], "a, b"),
        ("v|selectattr('ok')|map(attribute='n')|list|length", [{"ok": True, "n": 1}, {"ok": False, "n": 2}], "1"),
        ("v|quoted", "one\n# two", "> one\n> \\# two"),
    ],
)
def test_values_are_printed_for_people(expression: str, value: Any, said: str) -> None:
    assert rendered("{{ " + expression + " }}", v=value) == said


# ── the data is not trusted ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("a\x1b[31mred", "aU+001B\\[31mred"),
        ("two\nlines\tand\r\nmore\u2028.", "two lines and  more ."),
        ("\u202egnp.exe\u200b\x00\x9b", "U+202Egnp.exeU+200BU+0000U+009B"),
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("[click](javascript:x)", "\\[click\\](javascript:x)"),
        ("![x](http://spy)", "!\\[x\\](http://spy)"),
        ("a | b `c` *d* \\e", "a \\| b \\`c\\` \\*d\\* \\\\e"),
        ("# heading", "\\# heading"),
        ("ec2_cpu_utilization_825cc2", "ec2_cpu_utilization_825cc2"),
        ("naïve – 変 🙂", "naïve – 変 🙂"),
    ],
)
def test_data_cannot_steer_a_terminal_or_the_markdown(value: str, said: str) -> None:
    assert rendered("{{ v }}", v=value) == said


def test_data_is_not_a_template() -> None:
    assert rendered("{{ v }}", v="{{ 7 * 7 }}{% for %}") == "{{ 7 \\* 7 }}{% for %}"


def test_lists_and_joined_values_are_neutral_too() -> None:
    assert "\x1b" not in rendered("{{ v }} {{ v|join(', ') }} {{ v[0]|upper }} {{ v[0]|quoted }}", v=["\x1b[2J"])


# ── nor is the template ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ v.__class__ }}",
        "{{ v['__class__'] }}",
        "{{ v|attr('__class__') }}",
        "{{ range.__globals__ }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{% extends 'base' %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% block a %}{{ self.a() }}{% endblock %}",
        "{% set x %}long{% endset %}{{ x }}",
        "{% for x in v recursive %}{{ loop(x) }}{% endfor %}",
        "{{ 'a' * 1000000000 }}",
        "{{ [1] * 1000000000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ 'a'|center(1000000000) }}",
        "{{ 9 ** 999999999 }}",
        "{{ 1|round(-1000000000) }}",
        "{{ 'a' ~ 'b' }}",
        "{{ range(1000000000)|list }}",
        "{{ lipsum(n=100000) }}",
        "{{ v.append(1) }}",
        "{{ v.nothing }}",
        "{{ nothing }}",
        "{{ 1 / 0 }}",
        "{{ v|clock }}",
        "{% if %}",
        "{{ v",
    ],
)
def test_a_template_that_asks_for_more_is_refused(text: str) -> None:
    began = time.monotonic()
    with pytest.raises(ValueError, match=r".+"):
        render_report({"v": ["x"]}, text=text)
    assert time.monotonic() - began < 1


def test_loops_have_a_budget() -> None:
    with pytest.raises(ValueError, match="more than 20,000 rounds"):
        rendered("{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}")


def test_growth_by_doubling_ends() -> None:
    with pytest.raises(ValueError, match="too l"):
        rendered("{% set a = 'xxxxxxxxxx' %}" + "{% set a = a + a %}" * 40)
    with pytest.raises(ValueError, match="too l"):
        rendered("{% set a = 'xxxxxxxxxx' %}" + "{% set a = [a, a]|join %}" * 40)
    with pytest.raises(ValueError, match="too l"):
        rendered("{% set a = 99999999999 %}" + "{% set a = a * a %}" * 40)


def test_a_report_has_a_largest_size() -> None:
    with pytest.raises(ValueError, match=f"longer than {MAX_REPORT:,} characters"):
        rendered("{% for a in range(1000) %}{{ v }}{% endfor %}", v="x" * 200)
    with pytest.raises(ValueError, match="the template has"):
        rendered("x" * 20_001)
    with pytest.raises(ValueError, match="the values have"):
        rendered("{{ v }}", v="x" * 1_000_001)


def test_an_error_names_the_line_or_the_name() -> None:
    with pytest.raises(ValueError, match="the template, line 2"):
        rendered("fine\n{% if %}")
    with pytest.raises(ValueError, match="'nothing' is undefined"):
        rendered("{{ nothing }}")


@pytest.mark.parametrize("given", [{}, {"template": "incident-report", "text": "x"}])
def test_exactly_one_template_is_given(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="give either template"):
        render_report({}, **given)


@pytest.mark.parametrize("name", ["nothing", "../../etc/passwd", "incident-report.md.j2"])
def test_a_bundled_template_is_named_not_found_by_path(name: str) -> None:
    with pytest.raises(ValueError, match="there is incident-report"):
        render_report({}, template=name)
