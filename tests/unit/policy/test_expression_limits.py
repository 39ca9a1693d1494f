"""An expression that a model wrote can take neither the process nor its threads with it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_graph.policy import expressions
from agent_graph.policy.expressions import BUDGET, ExpressionError, check_expression, evaluate


def numbers(count: int, text: str = "") -> dict[str, Any]:
    return {"output": {"a": list(range(count)), "s": text}, "steps": {}, "params": {}, "goal": "g"}


BOMBS = {
    "nested loops": ("output.a.all(x, output.a.all(y, output.a.all(z, x + y + z >= 0)))", numbers(2000)),
    "32 loops over two": ("output.a.all(x, " * 31 + "true" + ")" * 31, numbers(2)),
    "texts that grow": ("output.a.map(x, output.s + output.s).size() > 0", numbers(3000, "x" * 60_000)),
    "a text that doubles": ('["aaaaaaaa"]' + ".map(x, x + x)" * 40 + ".size() > 0", numbers(0)),
    "a list that doubles": ("[[1]]" + ".map(x, x + x)" * 40 + ".size() > 0", numbers(0)),
    "large patterns": ('output.a.all(x, "b".matches("((a{100}){90}){10}") == false)', numbers(3000)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_stopped_and_other_threads_go_on(name: str) -> None:
    text, context = BOMBS[name]
    longest, over = 0.0, threading.Event()

    def beat() -> None:
        nonlocal longest
        last = time.perf_counter()
        while not over.wait(0.005):
            longest, last = max(longest, time.perf_counter() - last), time.perf_counter()

    watching = threading.Thread(target=beat)
    watching.start()
    started = time.perf_counter()
    try:
        with pytest.raises(ExpressionError, match="more work than is allowed"):
            evaluate(text, context)
    finally:
        took = time.perf_counter() - started
        over.set()
        watching.join()
    assert took < 5
    assert longest < 1


def test_what_is_too_much_for_this_process_is_still_evaluated_when_it_is_quick() -> None:
    rows = {"output": {"rows": [{"id": f"T-{number}", "n": number} for number in range(3000)]}}
    assert evaluate('output.rows.all(row, row.id.matches("^T-[0-9]+$") && row.n >= 0)', rows) is True
    assert evaluate("output.rows.filter(row, row.n > 2997).map(row, row.id) == ['T-2998', 'T-2999']", rows) is True


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("output.rows.map(row, row.none).map(row, row) == []", "there is no 'none' in what it reads"),
        ("output.rows.map(row, row.n / 0).map(row, row) == []", "ZeroDivisionError"),
    ],
)
def test_an_error_reads_the_same_wherever_it_was_evaluated(text: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"output": {"rows": [{"n": 1}]}}
    for budget in (0, 10**18):
        monkeypatch.setattr(expressions, "BUDGET", budget)
        with pytest.raises(ExpressionError, match=said):
            evaluate(text, rows)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5), lambda inner: st.lists(inner, max_size=4), max_leaves=12
)
QUESTIONS = ["output == output", "size(output) > 2", "output.map(x, x == output).map(x, x)", "output.filter(x, x != null)", "output[0]"]


@given(VALUES, st.sampled_from(QUESTIONS))
def test_both_places_give_the_same(output: Any, text: str) -> None:
    def outcome(where: Callable[[str, dict[str, Any]], Any]) -> Any:
        try:
            return where(text, {"output": output})
        except ExpressionError as error:
            return str(error)

    here = outcome(lambda text, context: expressions._execute(expressions._program(text), context))
    assert outcome(expressions._elsewhere) == here


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("output.n >= 3 && size(output.rows) == 2", 0),
        ("output.rows.all(r, r.n > 0)", 1),
        ("output.rows.all(r, r.n > 0) && output.rows.exists(r, r.n > 1)", 1),
        ("output.rows.all(r, r.points.all(p, p > 0))", 2),
        ("output.rows.filter(r, r.n > 0).all(r, r.n > 0)", 2),
        ("output.rows.map(r, r.n).all(n, n > 0)", 3),
        ("size(output.rows.map(r, r.n)) == 2", 2),
        ("'a.all(' == \"b.map(\"", 0),
        ("output.rows.sortBy(r, r.n) == []", 2),
        ("output.rows.all(r, r in output.rows.filter(x, x.all(y, y)))", 3),
    ],
)
def test_loops_are_counted_where_they_multiply(text: str, loops: int) -> None:
    assert expressions._read(text).loops == loops


LOOP = "output.a.all(x, x > 0)"


@pytest.mark.parametrize(
    "text",
    [
        rf"""r"\" == "a" || {LOOP} || "a" == "b" """,
        rf"""R'\' == 'a' || {LOOP} || 'a' == 'b' """,
        rf"""br"\" == b"a" || {LOOP} || "a" == "b" """,
        f"""true // "\n && {LOOP} // " """,
        f"true // r'''\n && {LOOP} // ''' ",
        f"""\'\'\'it's\'\'\' == "a" || {LOOP} || \'\'\'it's\'\'\' == "a" """,
        f"""\"\"\"say " it\"\"\" == "a" || {LOOP} || \'"\' == "a" """,
    ],
)
def test_a_loop_cannot_hide_in_what_looks_like_a_text(text: str) -> None:
    check_expression(text)
    assert expressions._read(text).loops == 1


PIECES = ['"', "'", '"""', "'''", "\\", "r", "b", "R", "//", "\n", " + ", " == ", "hidden", "1", " ", "(", ")", '""', '"x"', 'r"']


@settings(max_examples=2000)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_every_name_that_the_library_reads_is_seen_here(text: str) -> None:
    try:
        program = expressions._program(text)
    except ExpressionError:
        return
    assert set(program.variables()) <= expressions._read(text).names


def test_what_stands_in_a_text_or_a_comment_is_no_loop() -> None:
    text = f"""size("{LOOP}") > 0 && size(r'{LOOP}\') > 0 // {LOOP}"""
    check_expression(text)
    assert expressions._read(text).loops == 0


@pytest.mark.parametrize(
    "text",
    [
        "output.a.all(x, x in output.a)",
        "output.a.all(x, output.a == output.a)",
        "output.a.map(x, output.a) == []",
        "output.a.map(x, [output.a, output.a, output.a]) == []",
        "output.a.all(x, size(output.a) > 0 && size(output.a) > 0 && size(output.a) > 0)",
    ],
)
def test_what_this_process_takes_on_stays_short(text: str) -> None:
    """The largest data that the budget lets through."""

    def data(count: int) -> dict[str, Any]:
        return {"output": {"a": [{"a": 1, "b": "c", "c": [1, 2, 3], "d": {"e": 1}} for _ in range(count)]}}

    low, high = 1, 5000
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if expressions._work(text, data(middle)) <= BUDGET else (low, middle - 1)
    context = data(low)
    assert low > 10
    started = time.perf_counter()
    expressions._execute(expressions._program(text), context)
    assert time.perf_counter() - started < 1, "0.06 s when nothing else runs"


def test_a_chain_that_would_overrun_a_small_stack_is_refused() -> None:
    for text in ("1" + " + 1" * 400, "output" + ".a" * 500, "!" * 900 + "true"):
        with pytest.raises(ExpressionError, match="names, operators and brackets"):
            check_expression(text)


def test_many_threads_may_need_a_worker_at_once() -> None:
    text, context = "output.a.filter(x, x >= 0).map(x, x).size() == 300", numbers(300)
    seen: list[Any] = []
    threads = [threading.Thread(target=lambda: seen.append(evaluate(text, context))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 12
    assert len(expressions._idle) <= expressions.MAX_WORKERS


def test_a_worker_ends_with_the_process_that_started_it() -> None:
    script = (
        "import os, sys\n"
        "from agent_graph.policy import expressions\n"
        "expressions.evaluate('[1].map(x, [1].map(y, [1].map(z, z))).size() == 1', {'output': list(range(99))})\n"
        "print(expressions._idle[0].pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    psutil = pytest.importorskip("psutil")
    deadline = time.monotonic() + 5
    while psutil.pid_exists(int(said.stdout)) and psutil.Process(int(said.stdout)).status() != "zombie" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert time.monotonic() < deadline


def test_the_library_is_loaded_without_its_command_line() -> None:
    script = (
        "import sys\n"
        "from agent_graph.policy.expressions import evaluate\n"
        "assert evaluate('1 + 1 == 2', {}) is True\n"
        "print(sorted({'typer', 'rich', 'prompt_toolkit', 'cel'} & sys.modules.keys()))\n"
        "import cel\n"
        "assert cel.evaluate('1 + 1') == 2\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (said.stdout.strip(), said.returncode) == ("[]", 0), said.stderr
