"""Whether looking loads LangGraph. Imports nothing of ours at the top, since that is what is asked about."""

from __future__ import annotations

import contextlib
import io
import sys


def loads_langgraph(words: list[str]) -> bool:
    """Whether the command line has LangGraph loaded when it is done with these words; without any: the import of the package."""
    import agent_graph

    assert agent_graph.__all__
    if words:
        from agent_graph.cli import main

        with contextlib.redirect_stdout(io.StringIO()):
            assert main(words) == 0
    return "langgraph" in {name.partition(".")[0] for name in sys.modules}
