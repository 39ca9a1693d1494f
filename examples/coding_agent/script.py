"""What stands in for a model without a key. It reads what the tools return, and its change is made from the file that it read."""

from __future__ import annotations

import json
from typing import Any

from agent_graph.model_server import Asked, Said, calls

TESTS = {"argv": ["python3", "-B", "-m", "unittest"]}


def reply(asked: Asked) -> Said:
    return _act(asked) if asked.tools else _plan()


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
    said = asked.results
    match len(said):
        case 0:
            return calls(("list_files", {"pattern": "*.py"}))
        case 1:
            names = [each["path"] for each in json.loads(said[0])["entries"]]
            return calls(*(("read_file", {"path": name}) for name in names))
        case 3:
            path, was, digest = _source(said[1:])
            return calls(("write_file", {"path": path, "content": was.replace(WRONG, RIGHT), "mode": "replace", "expected_sha256": digest}))
        case 4:
            return calls(("run_tests", TESTS))
        case _:
            passed = json.loads(said[-1])["exit_code"] == 0
            return f"`seconds` kept the last unit instead of adding up; it adds up now. The tests {'pass' if passed else 'still fail'}."


WRONG, RIGHT = "total = int(amount)", "total += int(amount)"


def _source(pages: list[str]) -> tuple[str, str, str]:
    """Path, content and digest of the file that holds the fault."""
    read = [json.loads(page) for page in pages]
    found = next(page for page in read if WRONG in page["content"])
    return found["path"], found["content"], found["sha256"]
