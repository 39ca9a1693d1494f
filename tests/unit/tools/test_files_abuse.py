"""What a path, a link, a pipe or a race may not do: nothing outside the root is read or written."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_graph.errors import InvalidToolError, NotDone
from agent_graph.tools import files_rename, files_root
from agent_graph.tools.files import PRIVATE, files_tools
from agent_graph.tools.files_paths import place_of
from agent_graph.tools.tool import Tool, ToolContext

OUTSIDE = "secret of the outside"
KEY = ToolContext(idempotency_key="key")


class Rooted:
    """A root, a folder beside it, and the tools."""

    def __init__(self, where: Path, **options: Any) -> None:
        self.root, self.outside = where / "root", where / "outside"
        self.root.mkdir()
        self.outside.mkdir()
        (self.outside / "secret.txt").write_text(OUTSIDE)
        self.tools: dict[str, Tool] = {one.name: one for one in files_tools(self.root, **options)}

    def call(self, name: str, **args: Any) -> Any:
        return self.tools[name].call(KEY, args)

    def everything(self, path: str) -> Iterator[Callable[[], Any]]:
        """Every tool, called with the path in each place where one may stand."""
        yield lambda: self.call("read_file", path=path)
        yield lambda: self.call("list_files", folder=path, pattern="**/*")
        yield lambda: self.call("search_files", text="secret", folder=path)
        yield lambda: self.call("write_file", path=path, content="written", mode="replace")
        yield lambda: self.call("make_folder", path=path)
        yield lambda: self.call("move_file", path="own.txt", to=path)
        yield lambda: self.call("move_file", path=path, to="taken.txt")
        yield lambda: self.call("delete_file", path=path)


@pytest.fixture
def rooted(tmp_path: Path) -> Rooted:
    made = Rooted(tmp_path)
    (made.root / "own.txt").write_text("own")
    return made


def outside_is_untouched(rooted: Rooted) -> bool:
    return [path.name for path in rooted.outside.iterdir()] == ["secret.txt"] and (rooted.outside / "secret.txt").read_text() == OUTSIDE


LEAVING = [
    "../outside/secret.txt",
    "..",
    "a/../../outside/secret.txt",
    "./../outside/secret.txt",
    "a/..",
    "%2e%2e/outside/secret.txt",
    "%2E%2E%2Foutside%2Fsecret.txt",
    "..%2foutside%2fsecret.txt",
    "%252e%252e%252foutside%252fsecret.txt",
    "%25252525252525252525252525252525252e",
    "..\\outside\\secret.txt",
    "a\\b",
    "C:..\\outside",
    "C:/outside",
    "c:secret.txt",
    "/etc/passwd",
    "//etc/passwd",
    "\\\\server\\share",
    "~/secret.txt",
    "~",
    "\u2025/outside/secret.txt",
    "\uff0e\uff0e/outside/secret.txt",
    "..\uff0foutside\uff0fsecret.txt",
    "\uff05\uff12\uff45\uff05\uff12\uff45/outside",
    "secret.txt\0.md",
    "secret\n.txt",
    "\u202etxt.terces",
    "se\u200bcret.txt",
    "half \ud83d",
    "own.txt.",
    "own.txt ",
    " own.txt",
    "own.txt/...",
    "n" * 256,
    "é" * 128,
    "a/" * 33 + "a",
    "a/" * 2_001,
    "",
]


@pytest.mark.parametrize("path", LEAVING, ids=range(len(LEAVING)))
def test_a_path_that_could_lead_out_is_refused_by_every_tool(rooted: Rooted, path: str) -> None:
    for call in rooted.everything(path):
        with pytest.raises(NotDone, match=r"refused|empty"):
            call()
    assert outside_is_untouched(rooted)
    assert [each.name for each in rooted.root.iterdir()] == ["own.txt"]


@given(st.text(alphabet=st.sampled_from([*"./\\%~:aA0 25eEfF", "\0", "．", "／", "‥", "\u202e"]), max_size=24))
def test_whatever_is_accepted_stays_below_the_root(path: str) -> None:
    with contextlib.suppress(NotDone):
        place = place_of(path, PRIVATE)
        settled = os.path.normpath("/top/" + path)
        assert settled == "/".join(["/top", *place.names])
        assert ".." not in place.names


@pytest.mark.parametrize("path", ["100%.txt", "a b.txt", "Ünïcode 名.md", "v1.2..3", "at 10:30", "%41.txt", "-rf", "$(id)", "x;y|z&"])
def test_an_unusual_but_honest_name_is_taken_literally(rooted: Rooted, path: str) -> None:
    rooted.call("write_file", path=path, content="kept")
    assert (rooted.root / path).read_text() == "kept"
    assert rooted.call("read_file", path=path)["content"] == "kept"


def test_a_refusal_writes_out_what_a_terminal_would_obey(rooted: Rooted) -> None:
    with pytest.raises(NotDone, match=r"\\x1b\[2J") as refusal:
        rooted.call("read_file", path="\x1b[2J.txt")
    assert "\x1b" not in str(refusal.value)


# ── links, pipes, devices ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["link.txt", "folder/secret.txt", "folder", "loop", "loop/x"])
def test_a_link_is_not_followed_by_any_tool(rooted: Rooted, path: str) -> None:
    (rooted.root / "link.txt").symlink_to(rooted.outside / "secret.txt")
    (rooted.root / "folder").symlink_to(rooted.outside)
    (rooted.root / "loop").symlink_to("loop")
    for call in rooted.everything(path):
        with pytest.raises(NotDone, match=r"link|no folder|is there already"):
            call()
    assert outside_is_untouched(rooted)
    assert (rooted.root / "link.txt").is_symlink()


def test_a_link_to_a_file_inside_is_not_followed_either(rooted: Rooted) -> None:
    (rooted.root / "link.txt").symlink_to("own.txt")
    with pytest.raises(NotDone, match=r"link.txt is a link, and links are not followed"):
        rooted.call("read_file", path="link.txt")


def test_listing_and_searching_look_at_no_folder_behind_a_link(rooted: Rooted) -> None:
    (rooted.root / "folder").symlink_to(rooted.outside)
    (rooted.root / "link.txt").symlink_to(rooted.outside / "secret.txt")
    listed = rooted.call("list_files", pattern="**/*")["entries"]
    assert [(each["path"], each["kind"]) for each in listed] == [("folder", "link"), ("link.txt", "link"), ("own.txt", "file")]
    assert rooted.call("search_files", text="secret")["matches"] == []


@pytest.mark.timeout(10)
def test_a_pipe_a_socket_or_a_device_is_refused_and_nothing_hangs(rooted: Rooted) -> None:
    os.mkfifo(rooted.root / "pipe")
    with socket.socket(socket.AF_UNIX) as bound, contextlib.chdir(rooted.root):
        bound.bind("socket")
    for path in ("pipe", "socket"):
        for call in rooted.everything(path):
            with pytest.raises(NotDone, match=r"a pipe, a socket or a device|no folder|is there already"):
                call()
    assert rooted.call("search_files", text="x")["searched"] == 1


@pytest.mark.timeout(10)
@pytest.mark.parametrize("by", ["a pipe", "a link"])
def test_what_takes_the_place_of_a_file_between_the_look_and_the_opening_is_not_read(
    rooted: Rooted, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    seen = files_root.look

    def swapped(folder: int, place: Any) -> Any:
        found = seen(folder, place)
        (rooted.root / "own.txt").unlink()
        if by == "a pipe":
            os.mkfifo(rooted.root / "own.txt")  # opening it would wait for a writer
        else:
            (rooted.root / "own.txt").symlink_to(rooted.outside / "secret.txt")
        return found

    monkeypatch.setattr(files_root, "look", swapped)
    with pytest.raises(NotDone, match=r"became something else|is a link"):
        rooted.call("read_file", path="own.txt")


def test_a_file_that_has_a_second_name_is_read_only_where_that_is_allowed(rooted: Rooted) -> None:
    os.link(rooted.outside / "secret.txt", rooted.root / "second.txt")
    with pytest.raises(NotDone, match=r"second.txt has 2 names"):
        rooted.call("read_file", path="second.txt")
    assert rooted.call("search_files", text="secret")["matches"] == []
    allowed = {one.name: one for one in files_tools(rooted.root, hard_links=True)}
    assert allowed["read_file"].call(KEY, {"path": "second.txt"})["content"] == OUTSIDE


def test_writing_over_a_second_name_leaves_the_first_as_it_was(rooted: Rooted) -> None:
    os.link(rooted.outside / "secret.txt", rooted.root / "second.txt")
    rooted.call("write_file", path="second.txt", content="mine", mode="replace")
    assert (rooted.root / "second.txt").read_text() == "mine"
    assert outside_is_untouched(rooted)


# ── races ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

SWAPPING = """
import os, sys
real, aside, link = sys.argv[1:]
print("begun", flush=True)
while True:
    os.rename(real, aside)
    os.rename(link, real)
    os.rename(real, link)
    os.rename(aside, real)
"""


@contextlib.contextmanager
def swapping(real: Path, aside: Path, link: Path) -> Iterator[None]:
    """Another process puts the link in the place of the real thing and takes it away again, as fast as it can."""
    process = subprocess.Popen([sys.executable, "-c", SWAPPING, str(real), str(aside), str(link)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield
    finally:
        process.kill()
        process.communicate()


def outcomes(call: Callable[[int], Any], times: int) -> tuple[list[Any], int]:
    """What came back, and how often it was refused."""
    came, refused = [], 0
    for number in range(times):
        try:
            came.append(call(number))
        except NotDone:
            refused += 1
    return came, refused


@pytest.fixture
def raced(rooted: Rooted) -> Rooted:
    (rooted.root / "inner").mkdir()
    (rooted.root / "inner" / "secret.txt").write_text("inside")
    (rooted.root / "link").symlink_to(rooted.outside)
    return rooted


def test_a_folder_that_is_swapped_for_a_link_in_a_loop_never_leads_a_reader_out(raced: Rooted) -> None:
    with swapping(raced.root / "inner", raced.root / "aside", raced.root / "link"):
        came, refused = outcomes(lambda _: raced.call("read_file", path="inner/secret.txt")["content"], 3_000)
    assert set(came) == {"inside"}
    assert refused > 0, "the race was never met"


def test_a_file_that_is_swapped_for_a_link_in_a_loop_never_leads_a_reader_out(raced: Rooted) -> None:
    (raced.root / "file.txt").write_text("inside")
    (raced.root / "file-link").symlink_to(raced.outside / "secret.txt")
    with swapping(raced.root / "file.txt", raced.root / "aside.txt", raced.root / "file-link"):
        came, refused = outcomes(lambda _: raced.call("read_file", path="file.txt")["content"], 3_000)
    assert set(came) == {"inside"}
    assert refused > 0, "the race was never met"


def test_a_folder_that_is_swapped_for_a_link_in_a_loop_never_leads_a_look_around_out(raced: Rooted) -> None:
    with swapping(raced.root / "inner", raced.root / "aside", raced.root / "link"):
        found = [raced.call("search_files", text="outside")["matches"] for _ in range(300)]
        listed: list[Any] = []
        until = time.monotonic() + 20
        while len(listed) < 300 or (not any(listed) and time.monotonic() < until):  # on a busy machine the folder may be away each time
            listed.append(raced.call("list_files", folder=".", pattern="inner/*")["entries"])
    assert [each for each in found if each] == []
    assert {each["size"] for entries in listed for each in entries} == {len("inside")}


@pytest.mark.parametrize("tool", ["write_file", "make_folder", "move_file", "delete_file"])
def test_a_folder_that_is_swapped_for_a_link_in_a_loop_never_leads_a_change_out(raced: Rooted, tool: str) -> None:
    def change(number: int) -> None:
        if tool == "write_file":
            raced.call(tool, path="inner/secret.txt", content="written", mode="replace")
        elif tool == "make_folder":
            raced.call(tool, path=f"inner/folder-{number}")
        elif tool == "move_file":
            raced.call(tool, path="inner/secret.txt", to="taken.txt")
        else:
            raced.call(tool, path="inner/secret.txt")

    with swapping(raced.root / "inner", raced.root / "aside", raced.root / "link"):
        outcomes(change, 1_500)
    assert outside_is_untouched(raced)


def test_two_that_create_one_file_at_once_do_not_overwrite_each_other(rooted: Rooted) -> None:
    """One tool goes through the lock, the other writer knows nothing of it."""
    begin = threading.Barrier(2)
    lost = []
    for number in range(200):
        path = rooted.root / f"{number}.txt"

        def other(path: Path = path) -> None:
            begin.wait()
            with contextlib.suppress(FileExistsError), path.open("x") as file:
                file.write("theirs")

        thread = threading.Thread(target=other)
        thread.start()
        begin.wait()
        try:
            rooted.call("write_file", path=path.name, content="ours")
            ours = True
        except NotDone:
            ours = False
        thread.join()
        if path.read_text() != ("ours" if ours else "theirs"):
            lost.append(number)
    assert lost == []


def test_without_the_system_s_own_call_a_taken_name_is_refused_as_well(rooted: Rooted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_rename, "_renameat2", lambda: None)
    rooted.call("write_file", path="new.txt", content="new")
    with pytest.raises(NotDone, match="is there already"):
        rooted.call("write_file", path="new.txt", content="other")
    folder = os.open(rooted.root, os.O_RDONLY)
    try:
        with pytest.raises(FileExistsError):
            files_rename.rename_new(folder, "own.txt", folder, "new.txt")
        (rooted.root / "one").mkdir()
        (rooted.root / "two").mkdir()
        with pytest.raises(FileExistsError):
            files_rename.rename_new(folder, "one", folder, "two")
    finally:
        os.close(folder)
    assert (rooted.root / "new.txt").stat().st_nlink == 1


# ── names ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", [".git/config", ".GIT/hooks/pre-commit", "a/.env", ".Env.local", "id_rsa", "keys/server.PEM", "．env"])
def test_a_private_name_is_left_alone_whatever_its_case(rooted: Rooted, path: str) -> None:
    for call in rooted.everything(path):
        with pytest.raises(NotDone, match=r"private name|would lead elsewhere"):
            call()


def test_private_names_are_counted_and_not_shown(rooted: Rooted) -> None:
    (rooted.root / ".git").mkdir()
    (rooted.root / ".git" / "config").write_text("token")
    (rooted.root / ".env").write_text("token")
    listed = rooted.call("list_files", pattern="**/*")
    assert [each["path"] for each in listed["entries"]] == ["own.txt"]
    assert listed["notes"] == ["2 private names were left out"]
    assert rooted.call("search_files", text="token")["matches"] == []


def test_a_name_that_some_systems_take_for_another_is_not_made_beside_it(rooted: Rooted) -> None:
    accented = unicodedata.normalize("NFC", "é.txt")
    (rooted.root / unicodedata.normalize("NFD", accented)).write_text("decomposed")
    for tool, args in (
        ("write_file", {"path": "OWN.txt", "content": "x"}),
        ("write_file", {"path": accented, "content": "x"}),
        ("make_folder", {"path": "Own.TXT"}),
    ):
        with pytest.raises(NotDone, match="some systems take for the same name"):
            rooted.call(tool, **args)
    with pytest.raises(NotDone, match=r"there is no OWN.txt, but 'own.txt' beside it"):
        rooted.call("read_file", path="OWN.txt")


def test_names_that_cannot_be_shown_are_counted_and_not_given(rooted: Rooted) -> None:
    (rooted.root / "evil\x1b[2J.txt").write_text("x")
    (rooted.root / os.fsdecode(b"\xff.txt")).write_text("x")
    listed = rooted.call("list_files")
    assert [each["path"] for each in listed["entries"]] == ["own.txt"]
    assert listed["notes"] == ["2 names that these tools do not take were left out (characters that cannot be seen, and the like)"]


# ── the root ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_root_that_is_swapped_for_a_link_later_is_refused(rooted: Rooted) -> None:
    rooted.root.rename(rooted.root.with_name("moved"))
    rooted.root.symlink_to(rooted.outside)
    for call in rooted.everything("secret.txt"):
        with pytest.raises(NotDone, match=r"the root .* cannot be opened"):
            call()
    assert outside_is_untouched(rooted)


@pytest.mark.parametrize(("root", "said"), [("/", "whole file system"), ("none", "make the folder first"), ("file", "is not a folder")])
def test_a_root_that_cannot_be_one_is_refused_when_the_tools_are_made(tmp_path: Path, root: str, said: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidToolError, match=said):
        files_tools(tmp_path / root)


@pytest.mark.parametrize("options", [{"private": ".git"}, {"max_page": 1 << 20}, {"max_write": 0}, {"trash": "../bin"}, {"trash": "."}])
def test_options_that_cannot_work_are_refused_when_the_tools_are_made(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidToolError):
        files_tools(tmp_path, **options)
