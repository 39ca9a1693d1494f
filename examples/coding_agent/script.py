"""What stands in for a model without a key. It reads what the tools return, and its change is made from the file that it read."""

from __future__ import annotations

import json
from typing import Any

from agent_graph.model_server import Asked, Said, calls, data

TESTS = {"argv": ["python3", "-B", "-m", "unittest"]}


def reply(asked: Asked) -> Said:
    if asked.tools:
        return _act(asked)
    if '"id":"commit"' in asked.last:  # the plan so far is in the request: something came in between
        return {"reply": {"kind": "give_up", "reason": "the change was not taken; begin again with the clone as it should be"}}
    return _plan()


def _plan() -> Said:
    steps = [
        _step("before", {"tool": "run_tests", "args": TESTS}, "output.exit_code == 1"),
        _step(
            "repair",
            {
                "agent": "Find out why the tests fail and repair it in the source, not in the tests. Change as little as possible.",
                "inputs": [{"name": "tests", "value": {"ref": "steps.before.output.stderr"}}],
                "allowed_tools": ["list_files", "read_file", "search_files", "write_file", "run_tests"],
            },
        ),
        _step("after", {"tool": "run_tests", "args": TESTS}, "output.exit_code == 0", depends_on=["repair"]),
        _step("change", {"tool": "show_diff", "args": {}}, "output.files.all(f, !f.startsWith('test_'))", depends_on=["after"]),
        _step(
            "commit",
            {"tool": "commit", "args": {"message": "Add up the units of a duration", "diff": {"ref": "steps.change.output.text"}}},
        ),
    ]
    answer = [{"name": "found", "value": {"ref": "steps.repair.output"}}, {"name": "commit", "value": {"ref": "steps.commit.output"}}]
    reason = "See the test fail, repair, see it pass, and look at the change as a whole before it is committed."
    return {"reply": {"kind": "plan", "reason": reason, "steps": steps, "answer": answer}}


def _step(name: str, do: dict[str, Any], *criteria: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "do": do, "success_criteria": list(criteria), **more}


def _act(asked: Asked) -> Said:
    """Look around, read test and source, change the source, run the tests, say what it was."""
    said = [(of, json.loads(text)) for result in asked.results for of, text in data(result)]
    match len(said):
        case 0:
            return calls(("list_files", {"pattern": "*.py"}))
        case 1:
            return calls(*(("read_file", {"path": each["path"]}) for each in said[0][1]["entries"]))
        case 3:
            page = next(page for _, page in said[1:] if WRONG in page["content"])
            right = page["content"].replace(WRONG, RIGHT)
            return calls(("write_file", {"path": page["path"], "content": right, "mode": "replace", "expected_sha256": page["sha256"]}))
        case 4:
            return calls(("run_tests", TESTS))
        case _:
            return _finish(said)


WRONG, RIGHT = "total = int(amount)", "total += int(amount)"


def _finish(said: list[tuple[str, Any]]) -> Said:
    """Each claim with the call that shows it."""
    test, ran = said[-1]
    cause = "`seconds` kept the last unit instead of adding up."
    outcome = f"The tests {'pass' if ran['exit_code'] == 0 else 'still fail'} now."
    source = next(of for of, page in said[1:3] if WRONG in page["content"])
    claims = [{"text": cause, "refs": [source]}, {"text": outcome, "refs": [test]}]
    return calls(("finish", {"answer": f"{cause} {outcome}", "claims": claims}))
