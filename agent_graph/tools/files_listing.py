"""``list_files`` and ``search_files``: bounded looks around, which follow no link and say what they left out."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import translate
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from agent_graph.errors import NotDone
from agent_graph.tools.files_paths import MAX_DEPTH, Place, is_private, wrong_with
from agent_graph.tools.files_reading import read_at
from agent_graph.tools.files_root import MOST_NAMES, Root
from agent_graph.tools.tool import Tool, tool
from agent_graph.visible import clipped, visible

MAX_SEARCHED = 64 * 1024 * 1024
"""Bytes that one search looks at."""
MAX_LINE = 300
"""Characters that are shown of a line that was found."""
MAX_BYTES = 128 * 1024
"""Of one answer: half of what one step's output may hold."""

_KINDS: tuple[tuple[Callable[[int], bool], Literal["file", "folder", "link", "other"]], ...] = (
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "folder"),
    (stat.S_ISLNK, "link"),
)


class Entry(TypedDict):
    path: str
    kind: Literal["file", "folder", "link", "other"]
    size: int
    modified: str
    """ISO 8601, UTC."""


class Listing(TypedDict):
    entries: list[Entry]
    left_out: int
    """Entries that fit the pattern and are not given here."""
    notes: list[str]


class Match(TypedDict):
    path: str
    line: int
    """Counted from 1."""
    text: str


class Matches(TypedDict):
    matches: list[Match]
    left_out: int
    """Lines that match and are not given here, in what was searched."""
    searched: int
    """Files that were read."""
    notes: list[str]


@dataclass(slots=True)
class _Walk:
    """One look through folders, and what it passed over."""

    root: Root
    pattern: str
    seen: int = 0
    private: int = 0
    unusual: int = 0
    closed: list[str] = field(default_factory=list)
    """Folders that could not be looked into."""
    ended: bool = False

    def entries(self, opened: int, place: Place, depth: int = 0) -> Iterator[tuple[int, Place, os.stat_result]]:
        """What fits the pattern below an open folder: the folder it is in, its place and what it is; depth first, by name."""
        names, complete = _names(opened, MOST_NAMES - self.seen)
        self.ended = self.ended or not complete
        for name in names:
            self.seen += 1
            if is_private(name, self.root.private):
                self.private += 1
                continue
            if wrong_with(name) is not None:
                self.unusual += 1
                continue
            here = Place((*place.names, name))
            try:
                found = os.stat(name, dir_fd=opened, follow_symlinks=False)
            except OSError:
                continue  # gone since
            if fits("/".join(here.names[-depth - 1 :]), self.pattern):
                yield opened, here, found
            if stat.S_ISDIR(found.st_mode) and "/" in self.pattern:
                if len(here.names) >= MAX_DEPTH:
                    self.closed.append(f"{here} (too deep)")
                    continue
                yield from self._below(here, depth + 1)

    def _below(self, place: Place, depth: int) -> Iterator[tuple[int, Place, os.stat_result]]:
        try:
            opened = self.root.folder(place)
            with opened as below:
                yield from self.entries(below, place, depth)
        except NotDone as error:
            self.closed.append(clipped(error, 200))

    def notes(self) -> list[str]:
        said = []
        if self.ended:
            said.append(f"not everything was looked at: the look ended after {MOST_NAMES:,} names; give a folder further down")
        if self.private:
            said.append(f"{self.private} private names were left out")
        if self.unusual:
            said.append(f"{self.unusual} names that these tools do not take were left out (characters that cannot be seen, and the like)")
        if self.closed:
            said.append(f"{len(self.closed)} folders were not looked into: {'; '.join(self.closed[:3])}")
        return said


_Folder = Annotated[str, Field(description="A folder below the root; . is the root itself.")]
_Pattern = Annotated[
    str, Field(min_length=1, max_length=200, description="Names to look for: *.md in the folder itself, **/*.md in all below it too.")
]


def listing_tools(root: Root, *, prefix: str) -> list[Tool]:
    @tool(name=f"{prefix}list_files", risk="read_only")
    def list_files(
        folder: _Folder = ".",
        pattern: _Pattern = "*",
        max_entries: Annotated[int, Field(ge=1, le=2_000)] = 500,
    ) -> Listing:
        """List files and folders: kind, size and time of change. `left_out` says how many more there are. Links are shown, not followed."""
        place = root.place(folder)
        walk = _Walk(root, _checked(pattern))
        entries: list[Entry] = []
        left_out = size = 0
        with root.folder(place) as opened:
            for _, here, found in walk.entries(opened, place):
                size += len(str(here).encode()) + 100
                if len(entries) == max_entries or size > MAX_BYTES:
                    left_out += 1
                    continue
                entries.append({"path": str(here), "kind": _kind(found), "size": found.st_size, "modified": _when(found)})
        return {"entries": entries, "left_out": left_out, "notes": walk.notes()}

    @tool(name=f"{prefix}search_files", risk="read_only")
    def search_files(
        text: Annotated[str, Field(min_length=1, max_length=200, description="Looked for as it stands: no pattern, within one line.")],
        folder: _Folder = ".",
        pattern: _Pattern = "**/*",
        ignore_case: bool = True,
        max_matches: Annotated[int, Field(ge=1, le=500)] = 100,
    ) -> Matches:
        """Find the lines of text files that hold a text. What is not UTF-8, and files of several names, are passed over; `notes` says how many."""
        place = root.place(folder)
        walk = _Walk(root, _checked(pattern))
        wanted = re.compile(re.escape(text), re.IGNORECASE if ignore_case else 0)
        matches: list[Match] = []
        left_out = searched = passed = unread = size = 0
        budget = MAX_SEARCHED
        with root.folder(place) as opened:
            for _, here, found in walk.entries(opened, place):
                if not stat.S_ISREG(found.st_mode):
                    continue
                if found.st_size > budget:
                    unread += 1
                    continue
                content = _content(root, here, budget)
                if content is None:
                    passed += 1
                    continue
                searched += 1
                budget -= len(content)
                for number, line in enumerate(content.splitlines(), start=1):
                    hit = wanted.search(line)
                    if hit is None:
                        continue
                    shown = _around(line, hit.start())
                    size += len(shown.encode()) + len(str(here).encode()) + 60
                    if len(matches) == max_matches or size > MAX_BYTES:
                        left_out += 1
                    else:
                        matches.append({"path": str(here), "line": number, "text": shown})
        notes = walk.notes()
        if passed:
            notes.append(f"{passed} files were passed over: not UTF-8 text, not readable, or with a second name (a hard link)")
        if unread:
            notes.append(f"{unread} files were not read: one search reads {MAX_SEARCHED >> 20} MiB; give a folder or a pattern")
        return {"matches": matches, "left_out": left_out, "searched": searched, "notes": notes}

    return [list_files, search_files]


def fits(path: str, pattern: str) -> bool:
    """Name by name: ``*`` never stands for a /, ``**`` for any number of folders."""
    wanted = pattern.split("/")
    # Which parts of the pattern may come next, after each name: there is no going back, so that no pattern takes long.
    states = _without_folders({0}, wanted)
    for name in path.split("/"):
        taken = {at for at in states if at < len(wanted) and (wanted[at] == "**" or _matches(name, wanted[at]))}
        states = _without_folders({at if wanted[at] == "**" else at + 1 for at in taken}, wanted)
    return len(wanted) in states


def _without_folders(states: set[int], wanted: list[str]) -> set[int]:
    """Also what comes after a ``**`` that stands for no folder."""
    found = set(states)
    for at in range(len(wanted)):
        if at in found and wanted[at] == "**":
            found.add(at + 1)
    return found


def _matches(name: str, wanted: str) -> bool:
    return _compiled(wanted).match(name) is not None


@lru_cache(maxsize=256)
def _compiled(wanted: str) -> re.Pattern[str]:
    return re.compile(translate(wanted))


def _checked(pattern: str) -> str:
    if any(part in ("", ".", "..") for part in pattern.split("/")) or "\\" in pattern or pattern.count("/") > MAX_DEPTH:
        raise NotDone(f"pattern {clipped(pattern, 60)!r}: write names with * and ? between single /, as in *.md or **/*.md")
    return pattern


def _names(opened: int, most: int) -> tuple[list[str], bool]:
    names: list[str] = []
    with os.scandir(opened) as entries:
        for entry in entries:
            if len(names) >= most:
                return sorted(names), False
            names.append(entry.name)
    return sorted(names), True


def _kind(found: os.stat_result) -> Literal["file", "folder", "link", "other"]:
    return next((name for test, name in _KINDS if test(found.st_mode)), "other")


def _when(found: os.stat_result) -> str:
    try:
        return datetime.fromtimestamp(found.st_mtime, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return ""  # a file system may say anything


def _content(root: Root, place: Place, most: int) -> str | None:
    try:
        with root.file(place) as opened:
            raw = read_at(opened, 0, most)
        return None if b"\0" in raw else raw.decode()
    except (NotDone, OSError, UnicodeDecodeError):
        return None


def _around(line: str, at: int) -> str:
    """The part of a long line where the text was found."""
    begin = max(0, min(at - MAX_LINE // 4, len(line) - MAX_LINE))
    shown = visible(line[begin : begin + MAX_LINE].strip())
    return ("…" if begin else "") + shown + ("…" if begin + MAX_LINE < len(line) else "")
