"""How to call this program again: the commands that are printed can be copied and run."""

from __future__ import annotations

import shlex
import shutil
import sys
from functools import cache
from pathlib import Path

from agent_graph.checkpoints.place import DEFAULT_PATH
from agent_graph.visible import visible

NAME = "agent-graph"


@cache
def program() -> str:
    """``agent-graph`` where the shell would find this very one; else its path."""
    beside = Path(sys.executable).with_name(NAME)
    found = shutil.which(NAME)
    if found is not None and (not beside.exists() or Path(found).samefile(beside)):
        return NAME
    if beside.exists():
        here = Path.cwd()
        return shlex.quote(str(beside.relative_to(here) if beside.is_relative_to(here) else beside))
    return f"{shlex.quote(sys.executable)} -m agent_graph"


def command(*words: str, store: str | Path = DEFAULT_PATH) -> str:
    """A command line of this program; the store is named unless it is the default one."""
    with_store = [] if Path(store) == DEFAULT_PATH or Path(store).absolute() == DEFAULT_PATH.absolute() else ["--store", str(store)]
    return " ".join([program(), *map(quoted, [*words, *with_store])])


def quoted(word: str) -> str:
    """For the shell, in double quotes where that is easier to read. What a terminal would obey is written out: then it cannot be copied."""
    said = visible(word)
    return f'"{said}"' if "'" in said and not set(said) & set('"$`\\!') else shlex.quote(said)
