"""Reading, listing, writing, moving and deleting below a root: what they give, what they refuse, and what their probes say."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_graph import AgentGraph, Approve, Plan, Policy
from agent_graph.errors import NotDone
from agent_graph.tools.files import files_tools
from agent_graph.tools.files_listing import MAX_BYTES, fits
from agent_graph.tools.files_writing import part_of
from agent_graph.tools.tool import Tool, ToolContext
from agent_graph.verdicts import Absent, Landed, Probed, Undo, Unknown

NEVER = time.time() + 1e6


class Tools:
    def __init__(self, root: Path, **options: Any) -> None:
        self.root = root
        self.by_name: dict[str, Tool] = {one.name: one for one in files_tools(root, **options)}

    def call(self, name: str, key: str = "key", deadline: float = NEVER, **args: Any) -> Any:
        return self.by_name[name].call(ToolContext(idempotency_key=key, deadline=deadline), args)

    def probe(self, name: str, key: str = "key", deadline: float = NEVER, **args: Any) -> Probed:
        ask = self.by_name[name].probe
        assert ask is not None
        return ask(ToolContext(idempotency_key=key, deadline=deadline), args)

    def undo(self, name: str, args: dict[str, Any], output: Any) -> Undo | None:
        undo = self.by_name[name].undo
        assert undo is not None
        return undo(args, output)

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.root.iterdir())


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    return Tools(tmp_path)


def sha(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_read_page_by_page_and_each_page_says_where_the_next_begins(tools: Tools) -> None:
    content = "línea\n" * 50
    (tools.root / "a.txt").write_text(content)
    pages: list[str] = []
    page: dict[str, Any] = {"next_offset": 0}
    while page["next_offset"] is not None:
        page = tools.call("read_file", path="a.txt", offset=page["next_offset"], max_bytes=16)
        pages.append(page["content"])
        assert page["left"] == page["size"] - len("".join(pages).encode())
    assert "".join(pages) == content
    assert page["sha256"] == sha(content)


def test_what_is_not_text_is_refused_and_given_as_base64_where_that_is_asked_for(tools: Tools) -> None:
    raw = bytes(range(256))
    (tools.root / "a.bin").write_bytes(raw)
    with pytest.raises(NotDone, match=r'a.bin is not UTF-8 text; ask for it with encoding="base64"'):
        tools.call("read_file", path="a.bin")
    assert base64.b64decode(tools.call("read_file", path="a.bin", encoding="base64")["content"]) == raw


def test_text_with_a_zero_byte_is_not_text(tools: Tools) -> None:
    (tools.root / "a.txt").write_bytes(b"a\0b")
    with pytest.raises(NotDone, match="not UTF-8 text"):
        tools.call("read_file", path="a.txt")


def test_an_offset_in_a_character_or_after_the_end_says_so(tools: Tools) -> None:
    (tools.root / "a.txt").write_text("é" * 100)
    with pytest.raises(NotDone, match="in the middle of a character"):
        tools.call("read_file", path="a.txt", offset=1)
    with pytest.raises(NotDone, match="has 200 bytes, so that there is nothing at offset 201"):
        tools.call("read_file", path="a.txt", offset=201)


def test_a_page_is_no_larger_than_the_tools_allow_whatever_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 1000)
    page = Tools(tmp_path, max_page=100).call("read_file", path="a.txt", max_bytes=1000)
    assert (len(page["content"]), page["next_offset"], page["left"]) == (100, 100, 900)


def test_a_page_of_control_characters_is_cut_so_that_it_fits_into_an_output(tools: Tools) -> None:
    (tools.root / "a.txt").write_text("\x01" * 200_000)
    page = Tools(tools.root, max_page=128 * 1024).call("read_file", path="a.txt")
    assert 0 < len(page["content"]) * 6 < 170_000
    assert page["next_offset"] == len(page["content"])


def test_a_huge_file_is_read_in_bounded_memory(tools: Tools) -> None:
    with (tools.root / "sparse.txt").open("wb") as file:
        file.truncate(1 << 40)
    page = tools.call("read_file", path="sparse.txt", encoding="base64")
    assert (page["size"], page["sha256"], page["next_offset"]) == (1 << 40, None, 64 * 1024)


@pytest.mark.parametrize("name", ["read_file", "list_files", "search_files"])
def test_what_is_read_is_not_trusted(tools: Tools, name: str) -> None:
    assert tools.by_name[name].spec.trusted_output is False
    assert tools.by_name[name].spec.risk == "read_only"


def test_without_write_there_are_only_reads(tmp_path: Path) -> None:
    assert [one.name for one in files_tools(tmp_path, write=False, prefix="notes_")] == [
        "notes_read_file",
        "notes_list_files",
        "notes_search_files",
    ]


# ── looking around ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_listing_says_how_many_it_left_out(tools: Tools) -> None:
    for number in range(30):
        (tools.root / f"{number:02}.txt").touch()
    listed = tools.call("list_files", max_entries=10)
    assert ([each["path"] for each in listed["entries"]], listed["left_out"]) == ([f"{number:02}.txt" for number in range(10)], 20)


def test_a_listing_is_bounded_in_bytes(tools: Tools) -> None:
    for number in range(1_000):
        (tools.root / f"{number:04}{'n' * 200}").touch()
    listed = tools.call("list_files", max_entries=2_000)
    assert len(str(listed["entries"])) < 2 * MAX_BYTES
    assert len(listed["entries"]) + listed["left_out"] == 1_000


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*", ["a", "x.md"]),
        ("*.md", ["x.md"]),
        ("**/*.md", ["a/b/z.md", "a/y.md", "x.md"]),
        ("a/*", ["a/b", "a/y.md"]),
        ("a/**", ["a", "a/b", "a/b/z.md", "a/y.md"]),
        ("*/b/?.md", ["a/b/z.md"]),
    ],
)
def test_a_pattern_chooses_by_whole_names(tools: Tools, pattern: str, found: list[str]) -> None:
    (tools.root / "a" / "b").mkdir(parents=True)
    for path in ("x.md", "a/y.md", "a/b/z.md"):
        (tools.root / path).touch()
    assert [each["path"] for each in tools.call("list_files", pattern=pattern)["entries"]] == found


def test_the_pattern_is_of_the_folder_that_is_listed(tools: Tools) -> None:
    (tools.root / "a").mkdir()
    (tools.root / "a" / "y.md").touch()
    assert [each["path"] for each in tools.call("list_files", folder="a", pattern="**/*.md")["entries"]] == ["a/y.md"]


@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=8), st.lists(st.sampled_from(["a", "*", "**"]), min_size=1, max_size=6))
def test_two_stars_stand_for_any_number_of_folders(names: list[str], wanted: list[str]) -> None:
    def plain(names: list[str], wanted: list[str]) -> bool:
        if not wanted:
            return not names
        if wanted[0] == "**":
            return any(plain(names[at:], wanted[1:]) for at in range(len(names) + 1))
        return bool(names) and wanted[0] in ("*", names[0]) and plain(names[1:], wanted[1:])

    assert fits("/".join(names), "/".join(wanted)) == plain(names, wanted)


@pytest.mark.timeout(5)
def test_no_pattern_takes_long() -> None:
    assert not fits("/".join(["a" * 100] * 30), "/".join(["**", "*a*a*a*a*a*a*a*b"] * 12))


def test_a_search_gives_lines_with_their_numbers_and_says_what_it_passed_over(tools: Tools) -> None:
    (tools.root / "a.txt").write_text("one\nthe Needle here\n" + "x" * 5_000 + "needle" + "y" * 5_000)
    (tools.root / "b.bin").write_bytes(b"needle\xff")
    found = tools.call("search_files", text="needle")
    assert [(each["path"], each["line"]) for each in found["matches"]] == [("a.txt", 2), ("a.txt", 3)]
    assert "needle" in found["matches"][1]["text"]
    assert len(found["matches"][1]["text"]) < 400
    assert found["notes"] == ["1 files were passed over: not UTF-8 text, not readable, or with a second name (a hard link)"]
    few = tools.call("search_files", text="needle", max_matches=1)
    assert (len(few["matches"]), few["left_out"]) == (1, 1)


def test_what_is_searched_for_is_no_expression(tools: Tools) -> None:
    (tools.root / "a.txt").write_text("(a+)+$ stands here\naaaa\n")
    assert [each["line"] for each in tools.call("search_files", text="(a+)+$")["matches"]] == [1]


# ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_created_and_nothing_else_is_left_beside_it(tools: Tools) -> None:
    written = tools.call("write_file", path="a.txt", content="hé")
    assert written == {"path": "a.txt", "size": 3, "sha256": sha("hé")}
    assert tools.names == ["a.txt"]
    assert (tools.root / "a.txt").stat().st_mode & 0o111 == 0


def test_creating_does_not_replace_and_says_what_to_do(tools: Tools) -> None:
    (tools.root / "a.txt").write_text("old")
    with pytest.raises(NotDone, match=r'a.txt is there already; nothing was written. Read it, then say mode="replace" with its sha256'):
        tools.call("write_file", path="a.txt", content="new")
    assert ((tools.root / "a.txt").read_text(), tools.names) == ("old", ["a.txt"])


def test_a_file_that_has_changed_since_it_was_read_is_not_replaced(tools: Tools) -> None:
    (tools.root / "a.txt").write_text("read")
    read = tools.call("read_file", path="a.txt")["sha256"]
    (tools.root / "a.txt").write_text("changed by somebody")
    with pytest.raises(NotDone, match="has changed since it was read"):
        tools.call("write_file", path="a.txt", content="mine", mode="replace", expected_sha256=read)
    assert ((tools.root / "a.txt").read_text(), tools.names) == ("changed by somebody", ["a.txt"])
    tools.call("write_file", path="a.txt", content="mine", mode="replace", expected_sha256=sha("changed by somebody"))
    assert (tools.root / "a.txt").read_text() == "mine"


def test_a_replaced_file_keeps_its_permissions_but_no_special_bits(tools: Tools) -> None:
    (tools.root / "a.sh").write_text("old")
    (tools.root / "a.sh").chmod(0o4750)
    tools.call("write_file", path="a.sh", content="new", mode="replace")
    assert (tools.root / "a.sh").stat().st_mode & 0o7777 == 0o750


def test_a_reader_sees_the_old_file_or_the_new_one_and_nothing_between(tools: Tools) -> None:
    old, new = "o" * 300_000, "n" * 300_000
    (tools.root / "a.txt").write_text(old)
    reading = subprocess.Popen(
        [sys.executable, "-c", "import sys,time\nend=time.time()+1\nwhile time.time()<end: print(len(set(open(sys.argv[1]).read())))",
         str(tools.root / "a.txt")], stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    while reading.poll() is None:
        tools.call("write_file", path="a.txt", content=new, mode="replace")
        tools.call("write_file", path="a.txt", content=old, mode="replace")
    said, _ = reading.communicate()
    assert set(said.split()) == {"1"}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"path": "no/a.txt", "content": "x"}, "there is no no"),
        ({"path": "folder", "content": "x", "mode": "replace"}, "folder is a folder"),
        ({"path": "a.txt", "content": "x" * 101}, "has 101 bytes, at most 100"),
        ({"path": "a.txt", "content": "!", "encoding": "base64"}, "not base64"),
        ({"path": "a.txt", "content": "x", "expected_sha256": "0" * 64}, "goes with mode"),
        ({"path": "a.txt", "content": "x", "mode": "replace", "expected_sha256": "0" * 64}, "not there any more"),
        ({"path": "a.txt", "content": "x", "deadline": 1.0}, "deadline passed"),
        ({"path": "a.txt", "content": "x", "key": ""}, "needs an idempotency key"),
        ({"path": "a.txt", "content": "\ud800"}, "unable to parse"),
    ],
)
def test_what_cannot_be_written_is_refused_for_certain(tmp_path: Path, args: dict[str, Any], said: str) -> None:
    tools = Tools(tmp_path, max_write=100)
    (tmp_path / "folder").mkdir()
    with pytest.raises(NotDone, match=said):
        tools.call("write_file", **args)
    assert tools.names == ["folder"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tools: Tools) -> None:
    """The limit of the process stands for the disk: the write itself fails."""
    (tools.root / "a.txt").write_text("old")
    code = """
import resource, signal, sys
from agent_graph.errors import NotDone
from agent_graph.tools.files import files_tools
from agent_graph.tools.tool import ToolContext
write = next(one for one in files_tools(sys.argv[1]) if one.name == "write_file")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write.call(ToolContext(idempotency_key="key"), {"path": "a.txt", "content": "n" * 5000, "mode": "replace"})
except NotDone as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tools.root)], capture_output=True, text=True, check=True)
    assert "a.txt cannot be changed: File too large; nothing was" in done.stdout
    assert ((tools.root / "a.txt").read_text(), tools.names) == ("old", ["a.txt"])


def test_while_another_process_writes_below_the_root_a_call_waits_and_then_says_so(tools: Tools) -> None:
    code = (
        "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tools.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    other.stdout.readline()
    with pytest.raises(NotDone, match="another call is writing below"):
        tools.call("write_file", path="a.txt", content="x", deadline=time.time() + 0.2)
    other.communicate()
    tools.call("write_file", path="a.txt", content="x")


def test_of_many_that_change_what_they_read_none_is_lost(tools: Tools) -> None:
    """Processes that each read a number, add one, and write it with the digest of what they read."""
    (tools.root / "n.txt").write_text("0")
    code = """
import sys
from agent_graph.errors import NotDone
from agent_graph.tools.files import files_tools
from agent_graph.tools.tool import ToolContext
tools = {one.name: one for one in files_tools(sys.argv[1])}
done = 0
while done < 20:
    page = tools["read_file"].call(ToolContext(), {"path": "n.txt"})
    args = {"path": "n.txt", "content": str(int(page["content"]) + 1), "mode": "replace", "expected_sha256": page["sha256"]}
    try:
        tools["write_file"].call(ToolContext(idempotency_key=f"{sys.argv[2]}-{done}"), args)
        done += 1
    except NotDone:
        pass
"""
    workers = [subprocess.Popen([sys.executable, "-c", code, str(tools.root), str(number)]) for number in range(3)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    assert (tools.root / "n.txt").read_text() == "60"


def test_folders_are_made_with_those_above_them_and_twice_does_no_harm(tools: Tools) -> None:
    assert tools.call("make_folder", path="a/b/c") == {"path": "a/b/c"}
    assert tools.call("make_folder", path="a/b/c") == {"path": "a/b/c"}
    assert (tools.root / "a/b/c").is_dir()
    (tools.root / "file").touch()
    with pytest.raises(NotDone, match="file is there already, and is no folder"):
        tools.call("make_folder", path="file/below")


# ── moving and deleting ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_moved_and_nothing_is_replaced_by_it(tools: Tools) -> None:
    (tools.root / "folder").mkdir()
    (tools.root / "a.txt").write_text("a")
    (tools.root / "b.txt").write_text("b")
    with pytest.raises(NotDone, match=r"b.txt is there already; nothing was moved"):
        tools.call("move_file", path="a.txt", to="b.txt")
    moved = tools.call("move_file", path="a.txt", to="folder/a.txt")
    assert (moved, tools.names) == ({"path": "folder/a.txt", "was": "a.txt"}, ["b.txt", "folder"])
    assert tools.undo("move_file", {}, moved) == Undo(tool="move_file", args={"path": "folder/a.txt", "to": "a.txt"})


def test_a_file_may_be_renamed_to_another_case(tools: Tools) -> None:
    (tools.root / "readme").write_text("a")
    tools.call("move_file", path="readme", to="README")
    assert tools.names == ["README"]


def test_a_move_that_was_killed_between_its_two_names_is_ended_by_the_next_attempt(tools: Tools) -> None:
    """As it is left where the system cannot rename onto nothing in one step."""
    (tools.root / "a.txt").write_text("a")
    os.link(tools.root / "a.txt", tools.root / "b.txt")
    assert tools.probe("move_file", path="a.txt", to="b.txt") == Absent()
    tools.call("move_file", path="a.txt", to="b.txt")
    assert tools.names == ["b.txt"]


def test_a_file_is_deleted_only_as_it_was_read(tools: Tools) -> None:
    (tools.root / "a.txt").write_text("changed")
    with pytest.raises(NotDone, match="has changed since it was read"):
        tools.call("delete_file", path="a.txt", expected_sha256=sha("read"))
    deleted = tools.call("delete_file", path="a.txt", expected_sha256=sha("changed"))
    assert (deleted, tools.names) == ({"path": "a.txt", "kept_as": None}, [])
    assert tools.undo("delete_file", {}, deleted) is None
    with pytest.raises(NotDone, match=r"there is no a.txt"):
        tools.call("delete_file", path="a.txt")


def test_a_folder_is_not_deleted(tools: Tools) -> None:
    (tools.root / "folder").mkdir()
    with pytest.raises(NotDone, match="folder is a folder, not a file"):
        tools.call("delete_file", path="folder")


def test_with_a_trash_folder_what_is_deleted_is_kept_and_can_be_taken_back(tmp_path: Path) -> None:
    tools = Tools(tmp_path, trash="bin/of agents")
    (tmp_path / "a.txt").write_text("kept")
    args: dict[str, Any] = {"path": "a.txt"}
    assert tools.probe("delete_file", **args) == Absent()
    deleted = tools.call("delete_file", **args)
    assert tools.names == ["bin"]
    assert tools.probe("delete_file", **args) == Landed(deleted)
    assert isinstance(tools.probe("delete_file", key="another effect", **args), Absent)
    undo = tools.undo("delete_file", args, deleted)
    assert undo is not None
    taken_back: dict[str, Any] = undo.args
    tools.call(undo.tool, key="undo", **taken_back)
    assert (tmp_path / "a.txt").read_text() == "kept"


@pytest.mark.parametrize(
    ("tool", "risk"), [("write_file", "write"), ("make_folder", "write"), ("move_file", "write"), ("delete_file", "deletion")]
)
def test_each_change_says_its_risk(tools: Tools, tool: str, risk: str) -> None:
    assert tools.by_name[tool].spec.risk == risk
    assert tools.by_name[tool].spec.recovery in ("probeable", "idempotent")


# ── what the probes say ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("there", "args", "said"),
    [
        (None, {}, Absent),
        ("new", {}, Landed),
        ("other", {}, Unknown),
        ("other", {"mode": "replace"}, Absent),
        ("new", {"mode": "replace"}, Landed),
        (None, {"mode": "replace"}, Absent),
        ("other", {"mode": "replace", "expected_sha256": sha("other")}, Absent),
        ("third", {"mode": "replace", "expected_sha256": sha("other")}, Unknown),
        (None, {"mode": "replace", "expected_sha256": sha("other")}, Unknown),
        ("other", {"mode": "replace", "deadline": time.time() - 1e5}, Unknown),
        (None, {"path": "none/a.txt"}, Absent),
        (None, {"path": "../a.txt"}, Absent),
    ],
)
def test_the_probe_of_a_write_goes_by_the_content(tools: Tools, there: str | None, args: dict[str, Any], said: type) -> None:
    if there is not None:
        (tools.root / "a.txt").write_text(there)
    probed = tools.probe("write_file", **{"path": "a.txt", "content": "new", **args})
    assert type(probed) is said
    if isinstance(probed, Landed):
        assert probed.output == {"path": "a.txt", "size": 3, "sha256": sha("new")}


def test_what_a_killed_write_left_behind_is_taken_away_by_its_probe(tools: Tools) -> None:
    """As it is left where the system cannot rename onto nothing in one step: the file has its name, and the hidden one still."""
    (tools.root / "a.txt").write_text("new")
    os.link(tools.root / "a.txt", tools.root / part_of(ToolContext(idempotency_key="key")))
    assert isinstance(tools.probe("write_file", path="a.txt", content="new"), Landed)
    assert tools.names == ["a.txt"]


@pytest.mark.parametrize(
    ("a", "b", "args", "said"),
    [
        ("x", None, {}, Absent),
        (None, "x", {}, Landed),
        (None, "x", {"expected_sha256": sha("x")}, Landed),
        (None, "y", {"expected_sha256": sha("x")}, Unknown),
        (None, None, {}, Unknown),
        ("x", "y", {}, Absent),
    ],
)
def test_the_probe_of_a_move_goes_by_both_names(tools: Tools, a: str | None, b: str | None, args: dict[str, Any], said: type) -> None:
    for name, content in (("a.txt", a), ("b.txt", b)):
        if content is not None:
            (tools.root / name).write_text(content)
    assert type(tools.probe("move_file", path="a.txt", to="b.txt", **args)) is said


def test_the_probe_of_a_deletion_does_not_take_a_later_file_for_the_one_that_was_meant(tools: Tools) -> None:
    assert isinstance(tools.probe("delete_file", path="a.txt"), Landed)
    (tools.root / "a.txt").write_text("x")
    assert tools.probe("delete_file", path="a.txt") == Absent()
    assert isinstance(tools.probe("delete_file", path="a.txt", deadline=time.time() - 1e5), Unknown)


# ── in a run ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_in_a_run_a_write_is_asked_for_first_and_taken_back_by_its_undo(tmp_path: Path, store_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "taken.txt").touch()
    plan = Plan.model_validate(
        {
            "goal": "write two",
            "steps": [
                {"id": "a", "tool": "write_file", "args": {"path": "a.txt", "content": "a"}},
                {"id": "b", "tool": "write_file", "args": {"path": "taken.txt", "content": "b"}, "depends_on": ["a"]},
            ],
        }
    )
    with AgentGraph(files_tools(root), store=store_path) as agent:
        run = agent.run(plan)
        assert (run.status, (root / "a.txt").exists()) == ("paused", False)
        run = agent.resume(run, Approve())
        assert run.status == "failed"
        assert run.error is not None
        assert "taken.txt is there already" in run.error.message
        undoing = agent.undo(run.id)
        assert agent.resume(undoing, Approve()).status == "succeeded"
    assert sorted(path.name for path in root.iterdir()) == ["taken.txt"]


KILLED = """
import os, signal, sys
from agent_graph import AgentGraph, Plan, Policy
from agent_graph.tools import files_writing
from agent_graph.tools.files import files_tools

root, store, moment = sys.argv[1:]
real = {name: getattr(os, name) for name in ("fsync", "rename")}


def killing(name):
    def call(*args, **kwargs):
        if moment == f"before {name}":
            os.kill(os.getpid(), signal.SIGKILL)
        done = real[name](*args, **kwargs)
        if moment == f"after {name}":
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    return call


class Os:
    fsync, rename = staticmethod(killing("fsync")), staticmethod(killing("rename"))
    def __getattr__(self, name):
        return getattr(os, name)


files_writing.os = Os()
steps = [{"id": "a", "tool": "write_file", "args": {"path": "a.txt", "content": "new", "mode": "replace"}, "timeout_s": 2}]
with AgentGraph(files_tools(root), policy=Policy.allow_all(), store=store) as agent:
    agent.run(Plan(goal="go", steps=steps), run_id="11111111-1111-4111-8111-111111111111")
"""


@pytest.mark.parametrize("moment", ["before fsync", "after fsync", "before rename", "after rename"])
def test_a_write_whose_process_is_killed_at_any_moment_is_settled_by_the_next_one(tmp_path: Path, store_path: Path, moment: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.txt").write_text("old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(root), str(store_path), moment], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    assert (root / "a.txt").read_text() == ("new" if moment == "after rename" else "old")
    with contextlib.closing(AgentGraph(files_tools(root), policy=Policy.allow_all(), store=store_path)) as agent:
        # A kill is followed by a new call only after the deadline: what was begun might still land.
        run = agent.resume("11111111-1111-4111-8111-111111111111")
    assert run.status == "succeeded"
    assert ((root / "a.txt").read_text(), [path.name for path in root.iterdir()]) == ("new", ["a.txt"])
