"""``move_file`` and ``delete_file``: neither replaces anything, and neither touches what somebody has changed since it was read."""

from __future__ import annotations

import os
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from agent_graph.errors import NotDone
from agent_graph.identity import sha256
from agent_graph.ports import Clock
from agent_graph.tools.files_paths import Place
from agent_graph.tools.files_rename import rename_new
from agent_graph.tools.files_root import Missing, Root, look, missing
from agent_graph.tools.files_writing import (
    DIGEST,
    TIMEOUT_S,
    as_expected,
    changing,
    digest_of,
    free_of_twins,
    in_time,
    landing,
    made_folder,
)
from agent_graph.tools.tool import Tool, ToolContext, tool
from agent_graph.verdicts import Absent, Landed, Probed, Undo, Unknown

_Expected = Annotated[str | None, Field(pattern=DIGEST, description="Only if the file still has this digest, which read_file gave.")]


class Moved(TypedDict):
    path: str
    """Where it is now."""
    was: str


class Deleted(TypedDict):
    path: str
    kept_as: str | None
    """Where it was moved to; null: it is gone."""


def moving_tool(root: Root, *, prefix: str, clock: Clock) -> Tool:
    def probe(context: ToolContext, path: str, to: str, expected_sha256: str | None = None) -> Probed:
        try:
            place, target = root.place(path), root.place(to)
        except NotDone:
            return Absent()
        try:
            if _is_there(root, place):
                return Absent()
            with root.parent(target) as folder:
                digest = None if look(folder, target) is None else digest_of(folder, target)
        except Missing:
            digest = None
        except (NotDone, OSError) as error:
            return Unknown(str(error))
        if digest is None:
            return Unknown(f"neither {place} nor {target} is there")
        if expected_sha256 not in (None, digest):
            return Unknown(f"{place} is gone, and {target} holds something else than was to be moved")
        return Landed({"path": str(target), "was": str(place)})

    @tool(
        name=f"{prefix}move_file",
        risk="write",
        probe=probe,
        timeout=TIMEOUT_S,
        undo=lambda _, output: Undo(tool=f"{prefix}move_file", args={"path": output["path"], "to": output["was"]}),
    )
    def move_file(
        context: ToolContext,
        path: Annotated[str, Field(description="The file, below the root.")],
        to: Annotated[str, Field(description="Its new path with its new name; nothing may be there, and the folder must be.")],
        expected_sha256: _Expected = None,
    ) -> Moved:
        """Move or rename a file below the root. Nothing is replaced: a path that is taken is refused."""
        place, target = root.place(path), root.place(to)
        with root.parent(target) as folder, changing(root, place, context, clock) as source:
            seen = look(source, place)
            if seen is None:
                raise missing(place, source)
            if expected_sha256 is not None:
                as_expected(source, place, seen, expected_sha256)
            there = look(folder, target)
            if there is not None and os.path.samestat(seen, there) and place != target and seen.st_nlink > 1:
                in_time(context, clock)
                with landing(place):
                    os.unlink(place.name, dir_fd=source)  # a killed attempt gave it its new name and did not take the old one
            elif there is not None:
                raise NotDone(f"{target} is there already; nothing was moved. Choose another name")
            else:
                if (place.parent, place.name.casefold()) != (target.parent, target.name.casefold()):
                    free_of_twins(folder, target)
                in_time(context, clock)
                with landing(target):
                    rename_new(source, place.name, folder, target.name)
            with landing(target):
                os.fsync(folder)
                os.fsync(source)
        return {"path": str(target), "was": str(place)}

    return move_file


def deleting_tool(root: Root, *, prefix: str, trash: Place | None, clock: Clock) -> Tool:
    def kept_as(context: ToolContext, place: Place) -> Place | None:
        """A name of this effect's own, so that the probe knows it by it."""
        if trash is None:
            return None
        name = f"{sha256(context.idempotency_key)[:16]}-{place.name}"
        return Place((*trash.names, name.encode()[-255:].decode(errors="ignore")))

    def probe(context: ToolContext, path: str, expected_sha256: str | None = None) -> Probed:
        try:
            place = root.place(path)
        except NotDone:
            return Absent()
        kept = kept_as(context, place)
        landed = Landed({"path": str(place), "kept_as": None if kept is None else str(kept)})
        try:
            if kept is not None:
                return landed if _is_there(root, kept) else Absent()
            with root.parent(place) as folder:
                seen = look(folder, place)
        except Missing:
            return landed
        except (NotDone, OSError) as error:
            return Unknown(str(error))
        if seen is None:
            return landed
        if expected_sha256 is None and context.deadline and seen.st_ctime > context.deadline:
            return Unknown(f"{place} was written after the call; deleting it again would delete something else")
        return Absent()

    @tool(name=f"{prefix}delete_file", risk="deletion", probe=probe, timeout=TIMEOUT_S, undo=lambda _, output: _undelete(prefix, output))
    def delete_file(
        context: ToolContext,
        path: Annotated[str, Field(description="The file, below the root.")],
        expected_sha256: _Expected = None,
    ) -> Deleted:
        """Delete one file. Folders and links are refused. Where a trash folder is set up, the file is moved there: `kept_as` says where to."""
        place = root.place(path)
        kept = kept_as(context, place)
        with changing(root, place, context, clock) as folder:
            seen = look(folder, place)
            if seen is None:
                raise missing(place, folder)
            if expected_sha256 is not None:
                as_expected(folder, place, seen, expected_sha256)
            in_time(context, clock)
            if kept is None:
                with landing(place):
                    os.unlink(place.name, dir_fd=folder)
                    os.fsync(folder)
            else:
                _make(root, kept.parent)
                with root.folder(kept.parent) as trashed, landing(kept):
                    rename_new(folder, place.name, trashed, kept.name)
                    os.fsync(trashed)
                    os.fsync(folder)
        return {"path": str(place), "kept_as": None if kept is None else str(kept)}

    return delete_file


def _is_there(root: Root, place: Place) -> bool:
    try:
        with root.parent(place) as folder:
            return look(folder, place) is not None
    except Missing:
        return False


def _make(root: Root, place: Place) -> None:
    for depth in range(len(place.names)):
        here = Place(place.names[: depth + 1])
        with root.parent(here) as folder:
            made_folder(folder, here.name)


def _undelete(prefix: str, output: Any) -> Undo | None:
    if output["kept_as"] is None:
        return None
    return Undo(tool=f"{prefix}move_file", args={"path": output["kept_as"], "to": output["path"]})
