"""The tools of one agent by name: what planners choose from and what the executor calls."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from agent_graph.errors import InvalidToolError, UsageError
from agent_graph.identity import digest
from agent_graph.lookalikes import readings
from agent_graph.ports import ToolSpec
from agent_graph.tools.tool import Tool, is_langchain, tool


class ToolRegistry(Mapping[str, Tool]):
    """Tools by name, in the order in which they were given. A function or LangChain tool is taken as a ``write`` that is ``blind``."""

    def __init__(self, tools: Iterable[Any] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        seen: dict[str, str] = {}
        for thing in tools:
            one = tool(thing)
            if one.name in self._tools:
                raise InvalidToolError(f"two tools are called {one.name!r}; give one of them another name with tool(…, name=…)")
            for alike in (seen.setdefault(reading, one.name) for reading in readings(one.name)):
                if alike == one.name:
                    continue
                raise InvalidToolError(
                    f"the tools {alike!r} and {one.name!r} are read as one by a person who approves a call (case, or letters that look "
                    "alike); give one of them another name with tool(…, name=…)"
                )
            self._tools[one.name] = one
        self.specs: dict[str, ToolSpec] = {name: one.spec for name, one in self._tools.items()}

    def __getitem__(self, name: str) -> Tool:
        return self._tools[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)


def load_tools(spec: str) -> list[Any]:
    """The tools of ``MODULE`` or ``MODULE:NAME``, where MODULE is an import name or the path of a ``.py`` file.

    Without NAME: ``TOOLS`` of the module if it has one, else every tool that it defines. NAME may be a tool, a list of tools, or a
    function without parameters that returns either. Raises UsageError when there is nothing of the kind, or the import fails.
    """
    source, _, name = spec.partition(":")
    module = _import(source)
    if name:
        if not hasattr(module, name):
            raise UsageError(f"--tools {spec}: {source} has no {name!r}; it has {', '.join(_tools_in(module)) or 'no tools'}")
        found = getattr(module, name)
        if inspect.isroutine(found) and not inspect.signature(found).parameters:
            try:
                found = found()
            except Exception as error:
                raise UsageError(f"--tools {spec}: {name}() fails: {type(error).__name__}: {error}") from error
        if isinstance(found, ToolRegistry):
            return list(found.values())
        return list(found) if isinstance(found, list | tuple) else [found]
    declared = getattr(module, "TOOLS", None)
    tools = list(declared) if declared is not None else list(_tools_in(module).values())
    if not tools:
        raise UsageError(f"--tools {spec}: {source} defines no tools; declare some with @tool, or list them in TOOLS")
    return tools


def _import(source: str) -> ModuleType:
    try:
        if source.endswith(".py"):
            return _import_file(Path(source))
        if "" not in sys.path and str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        return importlib.import_module(source)
    except UsageError as error:
        raise UsageError(f"--tools {source}: {error}") from None
    except ModuleNotFoundError as error:
        missing = f"there is no module {source!r} on the path" if error.name == source else f"importing it fails: {error}"
        raise UsageError(f"--tools {source}: {missing}; give an import name, or the path of a .py file") from None
    except Exception as error:
        raise UsageError(f"--tools {source}: importing it fails: {type(error).__name__}: {error}") from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError("there is no such file")
    # Under its own name where that is free: a second file of that name must not be taken for the first when annotations are looked up.
    name = path.stem if path.stem not in sys.modules else f"{path.stem}_{digest(str(path.resolve()))[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError("this is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _tools_in(module: ModuleType) -> dict[str, Any]:
    """Tools and LangChain tools of the module by name, each once whatever it is called there."""
    found: dict[int, tuple[str, Any]] = {}
    for name, thing in vars(module).items():
        if isinstance(thing, Tool) or is_langchain(thing):
            found.setdefault(id(thing), (name, thing))
    return dict(found.values())
