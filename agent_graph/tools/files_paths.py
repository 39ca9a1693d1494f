"""What a path may look like, before the disk is asked: one spelling, no way up, nothing that another program would read differently.

A path is taken literally and never decoded. So what only looks harmless until somebody decodes it (``%2e%2e``, a full-width ``／``) is refused
here, whether or not it could do harm: nobody means it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import unquote

from agent_graph.errors import NotDone
from agent_graph.visible import clipped, visible

MAX_NAME = 255
"""Bytes of one name: what every usual file system can hold."""
MAX_PATH = 4_000
"""Bytes of a whole path."""
MAX_DEPTH = 32
"""Folders below each other. One file descriptor is open for each while a listing looks into them."""
_DECODINGS = 8

PRIVATE = (
    *(".git", ".hg", ".svn", ".env", ".env.*", ".envrc", ".ssh", ".gnupg", ".aws", ".kube", ".docker", ".netrc", ".npmrc", ".pypirc"),
    *(".pgpass", ".git-credentials", "*.pem", "*.key", "*.p12", "*.pfx", "*.kdbx", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*"),
    *(".agent-graph", ".agent-graph-*"),
)
"""Names that are neither read, listed nor changed, wherever they stand: what usually holds secrets, or is run by other programs."""

ALWAYS_PRIVATE = (".agent-graph-*",)
"""Files of these tools themselves, in the middle of a write."""

_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class Place:
    """A path below the root that was looked at: names, none of which leads up or elsewhere. No names: the root itself."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return visible("/".join(self.names)) or "."

    @property
    def parent(self) -> Place:
        return Place(self.names[:-1])

    @property
    def name(self) -> str:
        return self.names[-1]


def place_of(path: str, private: Sequence[str]) -> Place:
    """The path as names. Raises NotDone, in words for whoever wrote the path: nothing was read or changed."""
    if not path:
        raise NotDone("the path is empty; give one below the root, as in notes/today.md")
    if "\\" in path:
        raise _refusal(path, "it holds a backslash; folders are separated by /")
    if path.startswith("/"):
        raise _refusal(path, "it is absolute; give a path below the root, as in notes/today.md")
    if _DRIVE.match(path):
        raise _refusal(path, "it names a drive; give a path below the root, as in notes/today.md")
    if len(path.encode("utf-8", "surrogatepass")) > MAX_PATH:
        raise _refusal(path, f"it has more than {MAX_PATH:,} bytes")
    names = tuple(name for name in path.split("/") if name not in ("", "."))
    if len(names) > MAX_DEPTH:
        raise _refusal(path, f"it goes more than {MAX_DEPTH} folders deep")
    for name in names:
        wrong = wrong_with(name)
        if wrong is not None:
            raise _refusal(path, wrong)
        if is_private(name, private):
            raise _refusal(path, f"{name!r} is a private name, which these tools leave alone; files_tools(private=…) says which names are")
    return Place(names)


def wrong_with(name: str) -> str | None:
    """Why a single name is not taken, in words; None when it is."""
    shown = repr(visible(name))
    if name == "..":
        return "it leads up (..); give a path below the root"
    if name == "~":
        return "~ is not expanded; give a path below the root"
    if visible(name) != name or "\ufffd" in name:
        return f"{shown} holds characters that cannot be seen or stored"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return f"{shown} holds half a character"
    if size > MAX_NAME:
        return f"the name {clipped(name, 40)!r} has {size} bytes; at most {MAX_NAME} are allowed"
    if name != name.strip() or name.endswith("."):
        return f"{shown} begins or ends with a space, or ends with a dot, which some systems drop"
    for seen in _decoded(name):
        if seen.strip(". ") == "" or any(each in seen for each in "/\\\0"):
            return f"{shown} would lead elsewhere once it is decoded; paths are taken literally, so write what is meant"
    return None


def is_private(name: str, private: Sequence[str]) -> bool:
    """Whatever the case and the accents: some file systems take both spellings for one file."""
    folded = fold(name)
    return any(fnmatchcase(folded, fold(pattern)) for pattern in (*private, *ALWAYS_PRIVATE))


def fold(name: str) -> str:
    """The same for names that a file system may take for one another."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _decoded(name: str) -> Iterator[str]:
    """What a program that decodes once too often would see; the last one, if decoding does not come to an end, counts as a way out."""
    seen = name
    for _ in range(_DECODINGS):
        decoded = unicodedata.normalize("NFKC", unquote(seen))
        if decoded == seen:
            return
        seen = decoded
        yield seen
    yield "/"


def _refusal(path: str, why: str) -> NotDone:
    return NotDone(f"path {clipped(path, 120)!r} is refused: {why}. Nothing was read or changed")
