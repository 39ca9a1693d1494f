"""Models on the command line: what waits is answered in another process, a run is revised, and what a run was started with is remembered."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pexpect  # type: ignore[import-untyped]
import pytest

from agent_graph.model_server import Asked, ModelServer, Reply

Cli = Any  # tests/acceptance/conftest.py
RUN = "11111111-1111-4111-8111-111111111111"
TOOLS = ("--tools", "ops.py")


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as made:
        yield made


def words(server: ModelServer) -> dict[str, str]:
    return {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "test"}


def reply(kind: str, **said: Any) -> dict[str, Any]:
    before = {"interpretation": {"intent": "as said", "constraints": [], "missing": []}}
    return {**before, "reply": {"kind": kind, **said}}


def plan(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    said = {"reason": "so", "assumptions": [], "steps": list(steps), "success_criteria": [], "stop_when": None, "answer": None}
    return reply("plan", **(said | more))


def step(step_id: str, tool: str, description: str = "", **args: Any) -> dict[str, Any]:
    left_out: dict[str, Any] = {"when": None, "depends_on": [], "expected_output": None, "allow_empty": True, "success_criteria": []}
    return {
        "id": step_id,
        "description": description,
        "do": {"tool": tool, "args": args},
        **left_out,
        "approval": "auto",
        "on_failure": "replan",
    }


def look(step_id: str, who: str, description: str = "") -> dict[str, Any]:
    return step(step_id, "look", description, name=who, seconds=None)


def world(cli: Cli) -> list[str]:
    log = cli.folder / "world.log"
    return log.read_text().splitlines() if log.exists() else []


def question(text: str, proposed: str | None = None, choices: tuple[str, ...] = ()) -> dict[str, Any]:
    return reply("question", text=text, choices=list(choices), proposed=proposed)


def one(cli: Cli, server: ModelServer, *args: str, code: int) -> Any:
    done = cli.run(*args, "--json", **words(server))
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def start(cli: Cli, server: ModelServer, *more: str, code: int = 3) -> Any:
    return one(cli, server, "run", "look somebody up", "--planner", "openai:m", "--id", RUN, *TOOLS, *more, code=code)


def test_a_proposed_value_is_confirmed_from_another_process(cli: Cli, server: ModelServer) -> None:
    server.says(question("Whom?", proposed="ann"), plan(look("a", "ann")))
    run = start(cli, server)
    assert (run["status"], run["requests"][0]["proposed"]) == ("paused", "ann")
    shown = cli.run("show", RUN).stdout
    assert re.search(r"proposed +ann", shown)
    assert f"resume {RUN} --approve" in shown
    run = one(cli, server, "resume", RUN, "--approve", code=0)
    assert run["status"] == "succeeded"
    assert "ann" in json.dumps(server.asked[1].body["messages"])


def test_an_answer_outside_the_choices_is_refused_and_the_question_stays(cli: Cli, server: ModelServer) -> None:
    server.says(question("Whom?", choices=("ann", "bob")), plan(look("a", "bob")))
    start(cli, server)
    done = cli.run("resume", RUN, "--answer", "carl", **words(server))
    assert done.returncode == 2
    assert "choose one of: ann, bob" in done.stderr
    assert one(cli, server, "resume", RUN, "--answer", "2", code=0)["status"] == "succeeded"
    assert len(server.asked) == 2


def test_a_run_is_revised_from_another_process(cli: Cli, server: ModelServer) -> None:
    server.says(plan(step("tell", "send", to="ann", text="hi")), plan(look("a", "bob")))
    start(cli, server)
    run = one(cli, server, "revise", RUN, "--goal", "look bob up", "--constraint", "no mail", "--by", "olga", code=0)
    assert (run["status"], run["goal"]["text"], run["goal"]["constraints"]) == ("succeeded", "look bob up", ["no mail"])
    assert world(cli) == ["look bob"]
    trace = cli.run("trace", RUN).stdout
    assert re.search(r"revised .*by olga: text: .*look somebody up.* → .*look bob up", trace)


def test_a_revision_that_makes_no_sense_changes_nothing(cli: Cli, server: ModelServer) -> None:
    server.says(question("Whom?"))
    before = start(cli, server)
    done = cli.run("revise", RUN, "--goal", "look somebody up", **words(server))
    assert (done.returncode, "nothing of run" in done.stderr) == (2, True), done.stderr
    assert cli.json("show", RUN) == before


def test_a_blueprint_is_not_revised_and_says_what_can_be_done(cli: Cli, server: ModelServer) -> None:
    cli.write("asks.yaml", "goal: ask\nsteps:\n  - id: q\n    ask: Which?\n")
    cli.run("run", "--plan", "asks.yaml", "--id", RUN)
    done = cli.run("revise", RUN, "--goal", "another")
    assert done.returncode == 2
    assert "Edit the plan at its gate" in done.stderr


def test_what_a_run_was_started_with_is_there_again_in_another_process(cli: Cli, server: ModelServer) -> None:
    """Neither the file of the models nor the mode is named again, and the folder is another one."""
    cli.write("models.yaml", "planner: openai:strong\nreplanner: openai:other\n")
    server.says(plan(step("tell", "send", to="ann", text="hi")), plan(look("a", "bob")))
    args = ("run", "tell ann", "--models", "models.yaml", "--mode", "single_shot", "--granularity", "fine", "--id", RUN, *TOOLS)
    one(cli, server, *args, code=3)
    run = one(cli, server, "resume", RUN, "--reject", "not her", code=0)
    assert [asked.body["model"] for asked in server.asked] == ["strong", "other"]
    assert (run["status"], run["plan"]["version"]) == ("succeeded", 2)


def test_the_environment_names_the_model_too_and_is_remembered_without_the_key(cli: Cli, server: ModelServer) -> None:
    server.says(question("Whom?"), plan(look("a", "bob")))
    done = cli.run("run", "look somebody up", "--id", RUN, *TOOLS, **words(server), AGENT_GRAPH_MODEL="openai:m")
    assert done.returncode == 3, done.stderr
    assert one(cli, server, "resume", RUN, "--answer", "bob", code=0)["status"] == "succeeded"
    assert [asked.body["model"] for asked in server.asked] == ["m", "m"]


def test_a_chain_needs_no_model(cli: Cli) -> None:
    cli.write("facts.py", FACTS)
    run = cli.json("run", "report", "--planner", "chain", "-p", "metric=cpu", "--tools", "facts.py", "--id", RUN)
    assert (run["status"], run["answer"]) == ("succeeded", "report of 3")


FACTS = '''
from agent_graph import tool

@tool(risk="read_only", needs={"metric": "metric"}, gives=["samples"])
def read(metric: str) -> list[int]:
    """Read samples."""
    return [1, 2, 3]

@tool(risk="read_only", needs={"samples": "samples"}, gives=["report"])
def write(samples: list[int]) -> str:
    """Write a report."""
    return f"report of {len(samples)}"
'''


def test_what_cannot_be_is_said_before_there_is_a_run(cli: Cli, server: ModelServer) -> None:
    done = cli.run("run", "look somebody up", "--planner", "openai:m", "--mode", "quick", *TOOLS, **words(server))
    assert (done.returncode, "it is one of inline, single_shot" in done.stderr) == (2, True), done.stderr
    assert server.asked == []
    assert not (cli.folder / ".agent-graph").exists()


def test_a_nested_plan_is_given_by_its_file_also_to_validate(cli: Cli) -> None:
    cli.write("inner.yaml", INNER)
    cli.write("outer.yaml", "goal: look twice\nsteps:\n  - id: twice\n    blueprint: look-twice\n    args: {who: ann}\n")
    assert cli.run("validate", "outer.yaml", *TOOLS).returncode == 2
    assert cli.run("validate", "outer.yaml", "--blueprint", "inner.yaml", *TOOLS).returncode == 0
    run = cli.json("run", "--plan", "outer.yaml", "--blueprint", "inner.yaml", *TOOLS, "--id", RUN)
    assert run["status"] == "succeeded"
    assert world(cli) == ["look ann", "look ann"]


INNER = """
name: look-twice
goal: look twice
params:
  who: {type: string}
steps:
  - {id: one, tool: look, args: {name: {$ref: params.who}}}
  - {id: two, tool: look, args: {name: {$ref: params.who}}, depends_on: [one]}
"""


# ── what is seen ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_show_says_what_the_models_were_asked(cli: Cli, server: ModelServer) -> None:
    server.says(plan(look("a", "bob")))
    start(cli, server, code=0)
    shown = cli.run("show", RUN).stdout
    assert re.search(r"role +model +requests +read", shown)
    assert re.search(r"planner +openai:m +1 ", shown)


def test_in_a_pipe_each_line_is_an_event_and_no_word_of_a_model_is_one(cli: Cli, server: ModelServer) -> None:
    server.says(plan(look("a", "bob")))
    done = cli.run("run", "look somebody up", "--planner", "openai:m", *TOOLS, **words(server))
    assert (done.returncode, server.asked[0].body.get("stream")) == (0, True)
    assert not re.search(r"token|drafted|interpretation", done.stdout)
    assert "succeeded" in done.stdout


def test_a_terminal_shows_the_steps_while_the_model_still_writes(cli: Cli, server: ModelServer) -> None:
    described = plan(look("first_look", "ann", "find ann"), look("second_look", "bob", "find bob"), reason="so " * 100)
    last = json.dumps(described)
    held: list[float] = []

    def slowly(asked: Asked) -> Reply:
        return Reply(text=last, pause_s=0.08)

    server.says(slowly)
    program, *args = cli.argv("run", "look them up", "--planner", "openai:m", *TOOLS)
    child = pexpect.spawn(
        program, args, cwd=str(cli.folder), env=cli.environment(**words(server)), encoding="utf-8", timeout=60, dimensions=(40, 110)
    )
    try:
        child.expect("characters so far")
        child.expect("first_look")
        child.expect("1 step so far")
        held.append(time.monotonic())
        child.expect("2 succeeded")
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
    assert child.exitstatus == 0
