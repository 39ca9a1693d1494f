"""Editing what waits: arguments or a plan as YAML in the person's editor, and what was changed as a diff."""

from __future__ import annotations

import difflib
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from agent_graph.cli.output import dumped
from agent_graph.documents import Document, describe, describe_path
from agent_graph.errors import InvalidDocument
from agent_graph.lookalikes import lookalikes
from agent_graph.plan import Plan
from agent_graph.visible import unseen, visible


class _Dumper(yaml.SafeDumper):
    """YAML as a person writes it: texts of several lines as blocks, no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def as_document(value: Any, *, escaped: bool = False) -> tuple[str, str]:
    """The value as text to edit and the ending of its file: YAML, or JSON where YAML would not give the same value back.

    What an editor does not show, or a terminal obeys, stands there as an escape, and all of it in JSON's way, which YAML reads too.
    """
    try:
        text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
        if escaped or unseen(text):
            text = dumped(value) + "\n"
        if Document(text, "edit.yaml").value == value:
            return text, ".yaml"
    except (InvalidDocument, yaml.YAMLError, UnicodeError):
        pass
    return dumped(value) + "\n", ".json"


def editor() -> list[str] | None:
    """The person's editor as a command; None when none is set."""
    said = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    try:
        return shlex.split(said) or None if said else None
    except ValueError:
        return None


def in_editor(command: list[str], text: str, ending: str, head: str) -> str | None:
    """The text as the editor left it; None when the editor could not be run or failed. ``head``: a first line, as a comment."""
    comment = f"# {head}\n" if ending == ".yaml" else ""
    with tempfile.TemporaryDirectory(prefix="agent-graph-") as folder:
        path = Path(folder, f"edit{ending}")
        path.write_text(comment + text, encoding="utf-8")
        try:
            code = subprocess.run([*command, str(path)], check=False).returncode  # noqa: S603  # the person's own editor
        except OSError:
            return None
        if code != 0:
            return None
        return path.read_text(encoding="utf-8", errors="replace").removeprefix(comment)


def read_edited(text: str, ending: str) -> dict[str, Any]:
    """Raises InvalidDocument."""
    value = Document(text, f"what you entered{'' if ending == '.yaml' else ending}").value
    if not isinstance(value, dict):
        raise InvalidDocument("expected a mapping, name: value")
    return value


def as_plan(value: dict[str, Any]) -> Plan:
    """Raises InvalidDocument."""
    try:
        return Plan.model_validate(value)
    except ValidationError as error:
        problems = (f"{describe_path(tuple(one['loc'])) or 'plan'}: {describe(one)}" for one in error.errors(include_url=False))
        raise InvalidDocument("\n".join(problems)) from None


def difference(before: Any, after: Any) -> list[tuple[str, str]]:
    """What was changed, as lines with a style; empty when nothing was. Look-alikes in what is new are told."""
    documents = [as_document(value)[0] for value in (before, after)]
    if documents[0].startswith("{") != documents[1].startswith("{"):  # only one of them holds what must be escaped
        documents = [as_document(value, escaped=True)[0] for value in (before, after)]
    old, new = (text.rstrip("\n").split("\n") for text in documents)
    found = list(difflib.unified_diff(old, new, "shown", "edited", n=2, lineterm=""))
    styles = {"+": "green", "-": "red", "@": "cyan"}
    lines = [(visible(line.expandtabs(4)), "bold" if line.startswith(("---", "+++")) else styles.get(line[:1], "")) for line in found]
    odd = dict.fromkeys(str(each) for line in found if line.startswith("+") for each in lookalikes(line[1:]))
    return [*lines, *((f"! {each}", "bold red") for each in odd)]
