"""Which tools ``--tools`` finds, and what it says when it finds none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent_graph.errors import InvalidToolError, UsageError
from agent_graph.tools.registry import ToolRegistry, load_tools
from agent_graph.tools.tool import tool

MODULE = '''
from __future__ import annotations
from typing_extensions import TypedDict
from agent_graph.tools.registry import ToolRegistry
from agent_graph.tools.tool import tool

class {out}(TypedDict):
    {field}: str

@tool(risk="read_only")
def read(text: str) -> {out}:
    """Read."""
    return {{"{field}": text}}

again = read

def plain(text: str) -> str:
    return text

def make():
    return [read]

def broken():
    raise RuntimeError("no disk")

REGISTRY = ToolRegistry([read])
'''


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    before, path = dict(sys.modules), list(sys.path)
    yield
    for name in sys.modules.keys() - before.keys():
        del sys.modules[name]
    sys.path[:] = path


def module(folder: Path, *, out: str = "Out", field: str = "text", name: str = "desk_tools") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(MODULE.format(out=out, field=field))
    return path


def names(found: list[Any]) -> list[str]:
    return list(ToolRegistry(found))


def test_a_file_gives_each_of_its_tools_once(tmp_path: Path) -> None:
    assert names(load_tools(str(module(tmp_path)))) == ["read"]


@pytest.mark.parametrize("name", ["read", "make", "REGISTRY"])
def test_a_name_may_be_a_tool_a_registry_or_a_function_that_makes_some(tmp_path: Path, name: str) -> None:
    assert names(load_tools(f"{module(tmp_path)}:{name}")) == ["read"]


def test_a_plain_function_by_name_is_a_tool(tmp_path: Path) -> None:
    assert names(load_tools(f"{module(tmp_path)}:plain")) == ["plain"]


def test_a_list_called_tools_is_all_that_is_offered(tmp_path: Path) -> None:
    path = module(tmp_path)
    path.write_text(path.read_text() + "\nTOOLS = [plain]\n")
    assert names(load_tools(str(path))) == ["plain"]


def test_langchain_tools_of_a_module_are_found(tmp_path: Path) -> None:
    path = tmp_path / "lc_tools.py"
    path.write_text('from langchain_core.tools import tool\n@tool\ndef add(a: int, b: int) -> int:\n    """Add."""\n    return a + b\n')
    assert names(load_tools(str(path))) == ["add"]


def test_an_import_name_is_looked_up_in_the_current_folder_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module(tmp_path, name="desk_by_name")
    monkeypatch.chdir(tmp_path)
    assert names(load_tools("desk_by_name")) == ["read"]


def test_two_files_of_one_name_keep_their_own_types(tmp_path: Path) -> None:
    first = load_tools(str(module(tmp_path / "a", out="Out", field="one")))
    second = load_tools(str(module(tmp_path / "b", out="Out", field="two")))
    assert list(first[0].spec.output_schema["properties"]) == ["one"]
    assert list(second[0].spec.output_schema["properties"]) == ["two"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("no/such/file.py", "there is no such file"),
        ("no_such_module_anywhere", "there is no module 'no_such_module_anywhere' on the path"),
        ("{path}:nothing", "has no 'nothing'; it has read"),
        ("{path}:broken", "broken() fails: RuntimeError: no disk"),
        ("json", "json defines no tools"),
    ],
)
def test_what_cannot_be_loaded_says_why(tmp_path: Path, spec: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_tools(spec.format(path=module(tmp_path)))
    assert said in str(caught.value)


def test_a_file_that_fails_to_import_leaves_no_half_module(tmp_path: Path) -> None:
    path = tmp_path / "half_made.py"
    path.write_text("raise RuntimeError('half')")
    with pytest.raises(UsageError, match="importing it fails: RuntimeError: half"):
        load_tools(str(path))
    assert "half_made" not in sys.modules


def test_two_tools_of_one_name_are_refused() -> None:
    def read(text: str) -> str:
        return text

    with pytest.raises(InvalidToolError, match="two tools are called 'read'"):
        ToolRegistry([tool(read, risk="read_only"), read])


def test_a_registry_gives_specs_to_planners_and_takes_plain_functions_as_blind_writes() -> None:
    def send(text: str) -> str:
        return text

    registry = ToolRegistry([send])
    assert (registry.specs["send"].risk, registry.specs["send"].recovery) == ("write", "blind")
    assert len(registry) == 1
    assert "other" not in registry
