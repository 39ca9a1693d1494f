"""Files below one folder: the tools that most agents need first, and that most often reach further than anybody meant.

Nothing above the root is read or written, whatever a path says and whatever is swapped while a call is made (`files_root.py`); private
names are left alone; answers are bounded and say what they left out; a change is whole or not there, and is known after a crash.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agent_graph.errors import InvalidToolError, NotDone
from agent_graph.ports import Clock, SystemClock
from agent_graph.tools.files_listing import listing_tools
from agent_graph.tools.files_moving import deleting_tool, moving_tool
from agent_graph.tools.files_paths import PRIVATE, Place, place_of
from agent_graph.tools.files_reading import MAX_PAGE, reading_tool
from agent_graph.tools.files_root import root_at
from agent_graph.tools.files_writing import MAX_WRITE, writing_tools
from agent_graph.tools.tool import Tool

__all__ = ["PRIVATE", "files_tools"]


def files_tools(
    root: str | Path,
    *,
    write: bool = True,
    private: Sequence[str] = PRIVATE,
    hard_links: bool = False,
    trash: str | None = None,
    max_page: int = 64 * 1024,
    max_write: int = 1024 * 1024,
    prefix: str = "",
    clock: Clock | None = None,
) -> list[Tool]:
    """``read_file``, ``list_files`` and ``search_files`` below ``root``; with ``write`` also ``write_file``, ``make_folder``, ``move_file``
    and ``delete_file``.

    ``root`` is a folder that is there; its path is settled here, so that a later change of folder or link does not move it. ``private``:
    names, with ``*`` and ``?``, that are left alone wherever they stand. ``hard_links``: read files that have a second name, which may be
    outside. ``trash``: a folder below the root to which deleted files are moved, so that deleting can be undone. ``max_page`` and
    ``max_write``: bytes of one page that is read and of one file that is written. ``prefix``: put before the names of the tools, for a second
    root.

    Raises InvalidToolError when the root cannot be used.
    """
    if not 16 <= max_page <= MAX_PAGE or not 1 <= max_write <= MAX_WRITE:
        raise InvalidToolError(f"files_tools: max_page is 16 to {MAX_PAGE:,} bytes, max_write 1 to {MAX_WRITE:,}")
    if isinstance(private, str):
        raise InvalidToolError(f"files_tools: private is a list of names, as in private=[*PRIVATE, {private!r}]")
    held = root_at(root, private, hard_links=hard_links)
    tools = [reading_tool(held, prefix=prefix, max_page=max_page), *listing_tools(held, prefix=prefix)]
    if not write:
        return tools
    now = clock or SystemClock()
    return [
        *tools,
        *writing_tools(held, prefix=prefix, max_write=max_write, clock=now),
        moving_tool(held, prefix=prefix, clock=now),
        deleting_tool(held, prefix=prefix, trash=_trash(trash, private), clock=now),
    ]


def _trash(path: str | None, private: Sequence[str]) -> Place | None:
    if path is None:
        return None
    try:
        place = place_of(path, private)
    except NotDone as error:
        raise InvalidToolError(f"files_tools: the trash folder cannot be used: {error}") from None
    if not place.names:
        raise InvalidToolError("files_tools: the trash is a folder below the root, as in trash='trash'")
    return place
