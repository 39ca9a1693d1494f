"""The tree of errors at the top of errors.py is the tree of its classes."""

from __future__ import annotations

import inspect
import re

import pytest

from agent_graph import errors
from agent_graph.errors import AgentGraphError, InvalidPlan
from agent_graph.verdicts import Issue

CLASSES = {name: thing for name, thing in vars(errors).items() if inspect.isclass(thing) and issubclass(thing, BaseException)}


def drawn() -> dict[str, str]:
    """By name, the parent that the drawing shows; the depth of a name is its column."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^([ │├└─]*)([A-Z]\w+)(?:  |$)", line)
        if found is None or not line.startswith("    "):
            continue
        column, name = len(found[1]), found[2]
        above = [each for each in above if each[0] < column]
        parents[name] = above[-1][1] if above else AgentGraphError.__bases__[0].__name__
        above.append((column, name))
    return parents


def test_the_tree_that_is_drawn_is_that_of_the_classes() -> None:
    assert drawn() == {name: thing.__bases__[0].__name__ for name, thing in CLASSES.items()}


@pytest.mark.parametrize("name", CLASSES)
def test_each_error_says_in_its_docstring_what_it_means(name: str) -> None:
    assert len(inspect.cleandoc(CLASSES[name].__doc__ or "")) > 20


def test_all_of_them_are_caught_as_one() -> None:
    assert all(issubclass(thing, AgentGraphError) for thing in CLASSES.values())


def test_an_invalid_plan_carries_and_lists_all_its_issues() -> None:
    issues = [Issue(code="cycle", message="a circle", step_id="a", fix="break it"), Issue(code="no_steps", message="none")]
    error = InvalidPlan(issues, "blueprint 'b'")
    assert error.issues == tuple(issues)
    assert str(error).splitlines() == ["blueprint 'b' cannot run: 2 issues", "  [cycle] step 'a': a circle — break it", "  [no_steps] none"]
    assert "1 issue\n" in str(InvalidPlan(issues[:1]))
