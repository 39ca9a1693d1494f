"""``write_file`` and ``make_folder``: a file is there whole or not at all, and never over what somebody else has written since.

The content goes into a file of a hidden name in the same folder, is flushed to the disk, and then takes the name in one step. After a crash
the content itself tells what happened: its digest is what the probe looks for.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from agent_graph.errors import NotDone
from agent_graph.identity import sha256
from agent_graph.ports import Clock
from agent_graph.tools.files_paths import Place
from agent_graph.tools.files_reading import sha256_of
from agent_graph.tools.files_rename import rename_new
from agent_graph.tools.files_root import Missing, Root, look, open_file, twin
from agent_graph.tools.tool import Tool, ToolContext, tool
from agent_graph.verdicts import Absent, Landed, Probed, Undo, Unknown
from agent_graph.visible import visible

TIMEOUT_S = 30.0
MAX_WRITE = 8 * 1024 * 1024
"""Bytes of one file, whatever is allowed: its content stands in the plan and in the ledger."""
FILE_MODE = 0o666
"""Less what the process's umask takes away; never executable."""
FOLDER_MODE = 0o777
DIGEST = r"^[0-9a-f]{64}$"

Mode = Literal["create", "replace"]
Encoding = Literal["utf-8", "base64"]


class Written(TypedDict):
    path: str
    size: int
    sha256: str


class Made(TypedDict):
    path: str


def writing_tools(root: Root, *, prefix: str, max_write: int, clock: Clock) -> list[Tool]:
    def probe(
        context: ToolContext,
        path: str,
        content: str,
        mode: Mode = "create",
        expected_sha256: str | None = None,
        encoding: Encoding = "utf-8",
    ) -> Probed:
        try:
            place, raw = root.place(path), _bytes(content, encoding, max_write)
        except NotDone:
            return Absent()  # the call refuses it, too
        wanted: Written = {"path": str(place), "size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        try:
            with root.parent(place) as folder:
                with contextlib.suppress(OSError):
                    os.unlink(part_of(context), dir_fd=folder)  # of the call that was killed; while one runs, nobody probes twice
                seen = look(folder, place)
                digest = None if seen is None else digest_of(folder, place)
        except Missing:
            return Absent()
        except (NotDone, OSError) as error:
            return Unknown(str(error))
        if digest == wanted["sha256"]:
            return Landed(wanted)
        if expected_sha256 is not None:
            return Absent() if digest == expected_sha256 else Unknown(f"{place} holds neither what was expected nor what was written")
        if seen is None:
            return Absent()
        if mode == "create":
            return Unknown(f"{place} is there with other content: either it was there before, or it was written and changed since")
        if context.deadline and seen.st_ctime > context.deadline:
            return Unknown(f"{place} was changed after the call; writing it again would undo that")
        return Absent()

    @tool(
        name=f"{prefix}write_file", risk="write", probe=probe, timeout=TIMEOUT_S, undo=lambda args, output: _unwrite(prefix, args, output)
    )
    def write_file(
        context: ToolContext,
        path: Annotated[str, Field(description="Below the root, folders separated by /; the folder must be there.")],
        content: Annotated[str, Field(max_length=2 * MAX_WRITE, description="The whole file.")],
        mode: Annotated[Mode, Field(description="create: only if nothing is there. replace: what is there is replaced.")] = "create",
        expected_sha256: Annotated[
            str | None,
            Field(pattern=DIGEST, description="With replace: only if the file still has this digest, which read_file gave."),
        ] = None,
        encoding: Encoding = "utf-8",
    ) -> Written:
        """Write a whole file, or nothing. With `expected_sha256` a file that somebody has changed since it was read is left as it is."""
        place, raw = root.place(path), _bytes(content, encoding, max_write)
        if mode == "create" and expected_sha256 is not None:
            raise NotDone('expected_sha256 goes with mode="replace": a file that is created has nothing to be expected of it')
        with changing(root, place, context, clock) as folder:
            seen = look(folder, place)
            if mode == "create" and seen is not None:
                raise NotDone(f'{place} is there already; nothing was written. Read it, then say mode="replace" with its sha256')
            if expected_sha256 is not None:
                as_expected(folder, place, seen, expected_sha256)
            if seen is None:
                free_of_twins(folder, place)
            part = part_of(context)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part, dir_fd=folder)  # of an earlier attempt that was killed
            try:
                _write(folder, part, raw, seen)
                in_time(context, clock)
                with landing(place):
                    if mode == "create":
                        rename_new(folder, part, folder, place.name)
                    else:
                        os.rename(part, place.name, src_dir_fd=folder, dst_dir_fd=folder)
                    os.fsync(folder)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(part, dir_fd=folder)
                raise
        return {"path": str(place), "size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}

    @tool(name=f"{prefix}make_folder", risk="write", recovery="idempotent", timeout=TIMEOUT_S)
    def make_folder(
        context: ToolContext, path: Annotated[str, Field(description="Below the root; missing folders above it are made as well.")]
    ) -> Made:
        """Make a folder. One that is there already is left as it is."""
        place = root.place(path)
        for depth in range(len(place.names)):
            here = Place(place.names[: depth + 1])
            with root.parent(here) as folder, definite(here):
                try:
                    is_there = os.stat(here.name, dir_fd=folder, follow_symlinks=False)
                except FileNotFoundError:
                    free_of_twins(folder, here)
                    made_folder(folder, here.name)
                    continue
                if not stat.S_ISDIR(is_there.st_mode):
                    raise NotDone(f"{here} is there already, and is no folder; nothing was made below it")
        return {"path": str(place)}

    return [write_file, make_folder]


# ── what every change below the root needs ────────────────────────────────────────────────────────────────────────────


class Uncertain(Exception):
    """The system failed in the step in which a change happens: it may have happened. Not ``NotDone``, so that the probe is asked."""


@contextmanager
def changing(root: Root, place: Place, context: ToolContext, clock: Clock) -> Iterator[int]:
    """The folder of the name, while no other call of these tools changes anything below the root.

    What fails inside has changed nothing, unless it fails in ``landing``.
    """
    if not context.idempotency_key:
        raise NotDone("a change needs an idempotency key, so that it is known after a crash; the executor gives one")
    with definite(place), root.parent(place) as folder, root.locked(context.deadline, clock.now):
        yield folder


@contextmanager
def landing(place: Place) -> Iterator[None]:
    """Around the one step in which a change happens."""
    try:
        yield
    except FileExistsError:
        raise NotDone(f"{place} was made by somebody else just now; nothing was changed") from None
    except OSError as error:
        raise Uncertain(f"{place}: {error.strerror}; whether it was changed is for the probe to say") from error


@contextmanager
def definite(place: Place) -> Iterator[None]:
    """Around what changes nothing that counts when it fails."""
    try:
        yield
    except OSError as error:
        raise NotDone(f"{place} cannot be changed: {error.strerror}; nothing was") from None


def made_folder(folder: int, name: str) -> None:
    """One that somebody else has just made will do as well; whether it is a folder, opening it says."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, FOLDER_MODE, dir_fd=folder)
        os.fsync(folder)


def in_time(context: ToolContext, clock: Clock) -> None:
    if context.deadline and clock.now() >= context.deadline:
        raise NotDone("the deadline passed before anything was changed; allow the step more time with timeout_s")


def as_expected(folder: int, place: Place, seen: os.stat_result | None, expected: str) -> None:
    """A lost update is refused: what was read must still be what is there."""
    if seen is None:
        raise NotDone(f"{place} is not there any more; nothing was changed")
    digest = digest_of(folder, place)
    if digest is None:
        raise NotDone(f"{place} is being written to, or is too large for its digest to be compared; nothing was changed")
    if digest != expected:
        raise NotDone(f"{place} has changed since it was read (its sha256 is {digest}); nothing was changed. Read it again")


def digest_of(folder: int, place: Place) -> str | None:
    with open_file(folder, place) as opened:
        return sha256_of(opened)


def free_of_twins(folder: int, place: Place) -> None:
    other = twin(folder, place.name)
    if other is not None:
        raise NotDone(
            f"{place}: there is {visible(other)!r} beside it, which some systems take for the same name; nothing was made. Use that spelling"
        )


def part_of(context: ToolContext) -> str:
    """The same for each attempt of one effect, so that the next one finds what a killed one left."""
    return f".agent-graph-{sha256(context.idempotency_key)[:24]}.part"


def _write(folder: int, part: str, raw: bytes, replaced: os.stat_result | None) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | getattr(os, "O_CLOEXEC", 0)
    opened = os.open(part, flags, FILE_MODE, dir_fd=folder)
    try:
        if replaced is not None:
            os.fchmod(opened, stat.S_IMODE(replaced.st_mode) & 0o777)
            with contextlib.suppress(PermissionError):  # only root may give a file away
                os.fchown(opened, replaced.st_uid, replaced.st_gid)
        left = memoryview(raw)
        while left:
            left = left[os.write(opened, left) :]
        os.fsync(opened)
    finally:
        os.close(opened)


def _bytes(content: str, encoding: Encoding, most: int) -> bytes:
    try:
        raw = content.encode() if encoding == "utf-8" else base64.b64decode(content, validate=True)
    except UnicodeEncodeError:
        raise NotDone("the content holds half a character, which no file can hold as UTF-8; nothing was written") from None
    except (binascii.Error, ValueError):
        raise NotDone("the content is not base64; nothing was written") from None
    if len(raw) > most:
        raise NotDone(f"the content has {len(raw):,} bytes, at most {most:,} are written; nothing was written")
    return raw


def _unwrite(prefix: str, args: dict[str, Any], output: Any) -> Undo | None:
    """What was created can be deleted, as long as nobody has changed it; what was replaced is gone."""
    if args.get("mode", "create") != "create":
        return None
    return Undo(tool=f"{prefix}delete_file", args={"path": output["path"], "expected_sha256": output["sha256"]})
