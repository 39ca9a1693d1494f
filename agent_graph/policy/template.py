"""The template of an answer, looked at before anything runs. Jinja2 is loaded when a plan has one; nothing of it is carried out here."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

MAX_LENGTH = 20_000
"""Characters of a template."""

NAMES = ("steps", "params", "goal", "answer")
"""What a template may read."""

METHODS = frozenset({"items", "keys", "values", "get"})
"""Of ``steps`` as a whole; a step of such a name is read as ``steps["items"]``."""

ALONE = {"Include": "include", "Import": "import", "FromImport": "import", "Extends": "extends"}


class TemplateWrong(ValueError):
    """The text is no template, or is one that may not be used."""


def problems(text: str, steps: Collection[str]) -> Iterator[str]:
    """What is wrong with the template of a plan that has these steps."""
    try:
        tree = parsed(text)
    except TemplateWrong as error:
        yield str(error)
        return
    from jinja2 import meta

    for name in sorted(meta.find_undeclared_variables(tree) - set(NAMES)):
        yield f"it reads {name!r}; there is {', '.join(NAMES)}"
    for step_id in sorted((steps_read(tree) or set()) - set(steps)):
        yield f"it reads step {step_id!r}, which is not in the plan"


def parsed(text: str) -> Any:
    """Jinja2's tree. Raises TemplateWrong."""
    from jinja2 import TemplateSyntaxError, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    if len(text) > MAX_LENGTH:
        raise TemplateWrong(f"it is {len(text)} characters long; at most {MAX_LENGTH} are read")
    try:
        tree = ImmutableSandboxedEnvironment().parse(text)
    except TemplateSyntaxError as error:
        raise TemplateWrong(f"line {error.lineno}: {error.message}") from None
    except RecursionError:
        raise TemplateWrong("it is nested too deeply") from None
    for kind, word in ALONE.items():
        if (found := tree.find(getattr(nodes, kind))) is not None:
            raise TemplateWrong(f"line {found.lineno}: a template stands alone; take out the {word}")
    return tree


def steps_read(tree: Any) -> set[str] | None:
    """Ids of the steps that the template reads by name; None: it reads ``steps`` as a whole."""
    from jinja2 import nodes

    found: set[str] = set()
    named = 0
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        if isinstance(node.node, nodes.Name) and node.node.name == "steps":
            step_id = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
            if not isinstance(step_id, str) or (isinstance(node, nodes.Getattr) and step_id in METHODS):
                return None
            named += 1
            found.add(step_id)
    every = sum(name.name == "steps" and name.ctx == "load" for name in tree.find_all(nodes.Name))
    return found if every == named else None
