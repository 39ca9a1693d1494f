"""``read_file``: a page of a file, with what is needed to read the next one and to refuse a write over what has changed since."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from agent_graph.errors import NotDone
from agent_graph.tools.files_root import Root
from agent_graph.tools.tool import Tool, tool

MAX_PAGE = 128 * 1024
"""Bytes of one page, whatever is asked for."""
MAX_HASHED = 64 * 1024 * 1024
"""Bytes of a file that is hashed as a whole."""
MAX_JSON = 160 * 1024
"""Bytes of a page as JSON, where a control character takes six; well below what one step's output may hold."""
_CHUNK = 1 << 20


class Page(TypedDict):
    path: str
    content: str
    encoding: Literal["utf-8", "base64"]
    offset: int
    """Bytes before this page."""
    next_offset: int | None
    """The offset of the next page; null at the end of the file."""
    left: int
    """Bytes after this page."""
    size: int
    """Bytes of the whole file."""
    sha256: str | None
    """Of the whole file, for `expected_sha256` of a write; null when it is larger than 64 MiB or is being written to."""


def reading_tool(root: Root, *, prefix: str, max_page: int) -> Tool:
    @tool(name=f"{prefix}read_file", risk="read_only")
    def read_file(
        path: Annotated[str, Field(description="Below the root, folders separated by /, for example notes/today.md")],
        offset: Annotated[int, Field(ge=0, description="Bytes to skip: `next_offset` of the page before.")] = 0,
        max_bytes: Annotated[int, Field(ge=16, le=MAX_PAGE, description="Bytes of this page at most.")] = MAX_PAGE,
        encoding: Annotated[
            Literal["utf-8", "base64"], Field(description="base64 for what is not text; a text file is given as it is.")
        ] = "utf-8",
    ) -> Page:
        """Read a file, page by page: `next_offset` says where the next page begins, and is null at the end.

        What is not UTF-8 text is refused, unless base64 is asked for. Links are not followed.
        """
        place = root.place(path)
        try:
            with root.file(place) as opened:
                size = os.fstat(opened).st_size
                if offset > size:
                    raise NotDone(f"{place} has {size:,} bytes, so that there is nothing at offset {offset:,}; read it from 0")
                content, used = _page(opened, str(place), offset, min(max_bytes, max_page), encoding)
                sha256 = sha256_of(opened)
        except OSError as error:
            raise NotDone(f"{place} cannot be read: {error.strerror}") from None
        after = max(0, size - offset - used)
        return {
            "path": str(place),
            "content": content,
            "encoding": encoding,
            "offset": offset,
            "next_offset": offset + used if after else None,
            "left": after,
            "size": size,
            "sha256": sha256,
        }

    return read_file


def sha256_of(opened: int) -> str | None:
    """None: it is too large to be read as a whole, or was written to while it was."""
    before = os.fstat(opened)
    if not stat.S_ISREG(before.st_mode) or before.st_size > MAX_HASHED:
        return None
    found, at = hashlib.sha256(), 0
    while chunk := os.pread(opened, _CHUNK, at):
        found.update(chunk)
        at += len(chunk)
        if at > MAX_HASHED:
            return None
    after = os.fstat(opened)
    same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns) and at == after.st_size
    return found.hexdigest() if same else None


def _page(opened: int, shown: str, offset: int, most: int, encoding: Literal["utf-8", "base64"]) -> tuple[str, int]:
    """The content, and how many bytes of the file it stands for."""
    raw = read_at(opened, offset, most)
    if encoding == "base64":
        return base64.b64encode(raw).decode(), len(raw)
    text = _text(raw, shown, offset, whole=len(raw) < most)
    while len(json.dumps(text, ensure_ascii=False).encode()) > MAX_JSON:
        text = text[: len(text) // 2]
    return text, len(text.encode())


def read_at(opened: int, offset: int, most: int) -> bytes:
    """So many bytes, or all up to the end; one call of the system may give fewer."""
    parts: list[bytes] = []
    while most > 0 and (chunk := os.pread(opened, min(most, _CHUNK), offset)):
        parts.append(chunk)
        offset, most = offset + len(chunk), most - len(chunk)
    return b"".join(parts)


def _text(raw: bytes, shown: str, offset: int, *, whole: bool) -> str:
    """A page that ends in the middle of a character gives it to the next one."""
    try:
        if b"\0" not in raw:
            return raw.decode()
    except UnicodeDecodeError as error:
        if error.start > 0 and not whole and error.reason == "unexpected end of data":
            return raw[: error.start].decode()
        if offset and error.start < 4 and raw[0] & 0xC0 == 0x80:
            raise NotDone(f"{shown}: offset {offset:,} is in the middle of a character; use `next_offset` of the page before") from None
    raise NotDone(f'{shown} is not UTF-8 text; ask for it with encoding="base64"')
