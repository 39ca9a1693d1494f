"""What a program finds in the sandbox, and that the sandbox is tried and not assumed."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent_graph.errors import InvalidToolError, NotDone
from agent_graph.redaction import NOTHING
from agent_graph.tools.place import Place, place_of
from agent_graph.tools.program import run_program
from agent_graph.tools.sandbox import Bounds, Bubblewrap, Confinement, NoSandbox, Sandbox, confined, sandbox_here, tried

HERE = sandbox_here()
shut_in = pytest.mark.skipif(isinstance(HERE, NoSandbox), reason=f"no sandbox here: {getattr(HERE, 'reason', '')}")
"""Beside ``needs("bwrap")``: it may be installed and forbidden, which says nothing against the code."""


NOWHERE = Place()


def said(script: str, place: Place = NOWHERE, *, sandbox: Sandbox = HERE, bounds: Bounds | None = None, **environment: str) -> str:
    """What a program in the sandbox prints, errors included."""
    finished = run_program(
        ["/bin/sh", "-c", f"exec 2>&1; {script}"],
        confinement=Confinement(sandbox=sandbox, place=place),
        bounds=bounds or Bounds(),
        environment=environment,
        seconds=20,
        max_bytes=100_000,
    )
    return finished.stdout.text(NOTHING)[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    (work / "known").write_text("known")
    return work


def place(folder: Path, **more: Any) -> Place:
    return place_of("t", folder, (), more.pop("hidden", (".agent-graph",)), writable=more.pop("writable", False))


# ── what it finds ─────────────────────────────────────────────────────────────────────────────────────────────────────


@shut_in
@pytest.mark.needs("bwrap")
@pytest.mark.parametrize(
    "path",
    [
        "/x",
        "/usr/x",
        "/etc/x",
        "/dev/x",
        "/proc/sys/kernel/core_pattern",
        "/proc/sysrq-trigger",
        "/proc/self/oom_score_adj/x",
        "/lib/x",
        "/bin/x",
    ],
)
def test_nothing_outside_of_its_tmp_can_be_written(path: str) -> None:
    """Opened for writing, and not written: were the sandbox broken, this machine's own settings would be."""
    assert "open" not in said(f"exec 3>> {path}; echo it is open").replace("cannot open", "")


@shut_in
@pytest.mark.needs("bwrap")
def test_its_tmp_is_its_own_and_gone_afterwards() -> None:
    name = f"agent-graph-test-{os.getpid()}"
    assert said(f"ls -A /tmp; echo 1 > /tmp/{name} && ls /tmp").split() == [name]
    assert not Path("/tmp", name).exists()  # noqa: S108
    assert said("ls -A /tmp") == ""


@shut_in
@pytest.mark.needs("bwrap")
def test_its_tmp_is_bounded() -> None:
    script = "for n in 1 2 3 4; do head -c 900000 /dev/zero > /tmp/$n || break; done; du -sk /tmp | cut -f1"
    assert int(said(script, bounds=Bounds(file_bytes=1_000_000)).split()[-1]) <= 1_000


@shut_in
@pytest.mark.needs("bwrap")
def test_it_sees_no_password_no_home_and_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a secret")
    found = said(f"cat /etc/shadow /etc/passwd {tmp_path}/secret; ls -A /etc ~root /var /run /sys /mnt /srv; true")
    assert "a secret" not in found
    assert "root:" not in found
    assert set(said("ls -A /").split()) <= {
        "bin",
        "dev",
        "etc",
        "lib",
        "lib32",
        "lib64",
        "libx32",
        "proc",
        "sbin",
        "tmp",
        "usr",
        "nix",
        "run",
    }


@shut_in
@pytest.mark.needs("bwrap")
def test_it_sees_no_other_process() -> None:
    assert len(said("ls -d /proc/[0-9]* | wc -l; true")) <= len("9\n")
    assert said(f"kill -0 {os.getpid()}").strip() != ""


@shut_in
@pytest.mark.needs("bwrap")
def test_it_has_no_network_and_reaches_no_server_of_this_machine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        script = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 2)"
        python = os.path.realpath(sys.executable)
        shown = Place(readable=tuple(each for each in (sys.base_prefix,) if not each.startswith("/usr")))
        assert "ConnectionRefusedError" in said(f'{python} -I -c "{script}"', shown)
        with pytest.raises(TimeoutError):
            server.accept()
    assert said("grep -c : /proc/net/dev").strip() == "1"


@shut_in
@pytest.mark.needs("bwrap")
def test_it_has_no_capability_and_no_way_to_one() -> None:
    found = dict(line.split(":", 1) for line in said("cat /proc/self/status").splitlines() if ":" in line)
    assert {name: found[name].strip("\t0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == dict.fromkeys(
        ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), ""
    )
    assert found["NoNewPrivs"].strip() == "1"


@shut_in
@pytest.mark.needs("bwrap", "unshare")
def test_it_can_make_no_namespace_of_its_own() -> None:
    if not getattr(HERE, "no_namespaces", False):
        pytest.skip("this bubblewrap is older than 0.8")
    assert "root now" not in said("unshare --user echo root now")
    assert "root now" not in said("unshare --mount echo root now")


@shut_in
@pytest.mark.needs("bwrap")
def test_it_has_no_open_file_of_ours_and_no_terminal(tmp_path: Path) -> None:
    with (tmp_path / "held").open("w") as held:
        os.set_inheritable(held.fileno(), True)
        opened = said("ls -l /proc/self/fd")
    assert "held" not in opened
    assert "socket" not in opened
    assert "No such device" in said("cat < /dev/tty") or "cannot open" in said("cat < /dev/tty")


@shut_in
@pytest.mark.needs("bwrap")
def test_its_environment_is_what_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "of-the-host")
    names = {line.partition("=")[0] for line in said("env", GIVEN="1").splitlines()}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH", "LANG", "USER", "HOME", "TMPDIR", "GIVEN"}


@shut_in
@pytest.mark.needs("bwrap")
def test_what_it_is_given_does_not_stand_in_the_list_of_processes() -> None:
    """A command line can be read by every user of the machine."""
    lines: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(said, "sleep 0.4; echo $SHOP_TOKEN", SHOP_TOKEN="of-the-call")  # noqa: S106
        while not running.done():
            for each in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    lines.append(" ".join(each.cmdline()))
        assert running.result() == "of-the-call\n"
    assert any("bwrap" in line for line in lines)
    assert not any("of-the-call" in line for line in lines)


# ── the work folder ───────────────────────────────────────────────────────────────────────────────────────────────────


@shut_in
@pytest.mark.needs("bwrap")
def test_a_folder_can_be_read_and_not_written_unless_that_is_said(folder: Path) -> None:
    assert said("cat known; echo 2 > known; rm known; touch new", place(folder)).startswith("known")
    assert [each.name for each in folder.iterdir()] == ["known"]
    assert (folder / "known").read_text() == "known"


@shut_in
@pytest.mark.needs("bwrap")
def test_a_folder_that_may_be_changed_is_and_nothing_beside_it(folder: Path) -> None:
    (folder.parent / "beside").write_text("beside")
    (folder / "way out").symlink_to("..")
    said("echo 2 > known; echo 3 > '../beside'; echo 3 > 'way out/beside'; echo 3 > ../new", place(folder, writable=True))
    assert (folder / "known").read_text() == "2\n"
    assert (folder.parent / "beside").read_text() == "beside"
    assert not (folder.parent / "new").exists()


@shut_in
@pytest.mark.needs("bwrap")
@pytest.mark.parametrize("there", [True, False], ids=["there", "not there"])
@pytest.mark.parametrize("writable", [True, False], ids=["writable", "read-only"])
def test_the_store_of_the_runs_is_neither_seen_nor_put_there(folder: Path, there: bool, writable: bool) -> None:
    store = folder / ".agent-graph"
    if there:
        store.mkdir()
        (store / "runs.db").write_text("the ledger")
    found = said(
        "cat .agent-graph/*; echo x > .agent-graph/runs.db; rm -r .agent-graph; mv .agent-graph away", place(folder, writable=writable)
    )
    assert "the ledger" not in found
    assert ((store / "runs.db").read_text() == "the ledger") if there else not list(store.glob("*"))


@shut_in
@pytest.mark.needs("bwrap")
def test_a_file_can_be_hidden_too(folder: Path) -> None:
    (folder / ".env").write_text("TOKEN=1")
    assert "TOKEN" not in said("cat .env", place(folder, hidden=[".env"]))
    assert (folder / ".env").read_text() == "TOKEN=1"


@pytest.mark.parametrize("name", ["/", "/etc", "/usr/share", "/proc", "/tmp", "~", "~/..", "nowhere"])  # noqa: S108
def test_a_folder_that_is_the_system_s_or_a_home_is_refused(name: str) -> None:
    with pytest.raises(InvalidToolError, match="folder"):
        place_of("t", name, (), (), writable=False)


@pytest.mark.parametrize("name", ["..", "../x", "/etc", "", "."])
def test_what_is_hidden_is_inside(folder: Path, name: str) -> None:
    with pytest.raises(InvalidToolError, match="hidden"):
        place(folder, hidden=[name])


def test_a_link_cannot_be_hidden(folder: Path) -> None:
    (folder / "link").symlink_to("known")
    with pytest.raises(InvalidToolError, match="is a link"):
        place(folder, hidden=["link"])


# ── tried, not assumed ────────────────────────────────────────────────────────────────────────────────────────────────


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.needs("bwrap")
def test_where_bubblewrap_works_at_all_its_sandbox_is_used() -> None:
    """Else a fault of ours would look like a machine that forbids it, and every test of the sandbox would be passed over."""
    plain = ["bwrap", "--unshare-all", "--unshare-user", "--ro-bind", "/", "/", "--proc", "/proc", "--", "true"]
    if subprocess.run(plain, capture_output=True, check=False).returncode:
        pytest.skip("bubblewrap may not make namespaces here")
    assert isinstance(HERE, Bubblewrap), HERE.reason


def test_where_it_is_not_installed_the_reason_says_how_to() -> None:
    assert tried(None) == NoSandbox("bubblewrap is not installed (Debian: apt-get install bubblewrap)")


def test_one_that_is_installed_and_forbidden_is_no_sandbox(tmp_path: Path) -> None:
    """As in many containers."""
    forbidden = program(tmp_path / "bwrap", "echo 'bwrap: No permissions to create new namespace' >&2; exit 1")
    found = tried(forbidden)
    assert isinstance(found, NoSandbox)
    assert "No permissions to create new namespace" in found.reason


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_one_that_runs_a_program_without_shutting_it_in_is_no_sandbox(tmp_path: Path) -> None:
    open_door = program(tmp_path / "bwrap", 'while [ "$1" != -- ]; do shift || exit 0; done; shift; exec "$@"')
    found = tried(open_door)
    assert isinstance(found, NoSandbox)
    assert "does not shut it in" in found.reason


def test_one_that_cannot_be_run_is_no_sandbox(tmp_path: Path) -> None:
    (tmp_path / "bwrap").write_text("not a program")
    found = tried(str(tmp_path / "bwrap"))
    assert isinstance(found, NoSandbox)
    assert "does not work here" in found.reason


def test_one_that_stops_working_later_runs_nothing_and_says_so(tmp_path: Path) -> None:
    """Never without the sandbox that was promised."""
    broken = program(tmp_path / "bwrap", "echo 'bwrap: Creating new namespace failed' >&2; exit 1")
    with pytest.raises(NotDone, match="was not started in its sandbox: bwrap: Creating new namespace failed"):
        said(f"touch {tmp_path}/ran", sandbox=Bubblewrap(broken, no_namespaces=True))
    assert not (tmp_path / "ran").exists()


@shut_in
@pytest.mark.needs("bwrap")
def test_where_it_works_nobody_has_to_be_asked() -> None:
    assert confined("t", "it", Place(), None).unsafe == ""


def test_where_there_is_none_a_person_is_asked_and_told_why() -> None:
    found = confined("t", "a program", Place(), sandboxed=False)
    assert found.unsafe.startswith(
        "a program runs outside of a sandbox, with the files, the network and the rights of whoever runs the agent: "
    )
    assert not found.harmless


def test_a_tool_that_wants_one_is_refused_where_there_is_none() -> None:
    script = (
        "import agent_graph.tools.sandbox as s; s.PROGRAMS = '/nowhere'\n"
        "from agent_graph.tools.shell import shell_tool\n"
        "print(shell_tool('any').spec.unsafe)\n"
        "try: shell_tool('any', sandboxed=True)\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
    assert "bubblewrap is not installed" in printed[0] or "is for Linux" in printed[0]
    assert printed[1].startswith("InvalidToolError tool shell: sandboxed=True, and there is no sandbox")


@pytest.mark.parametrize("name", ["cpu_s", "memory_bytes", "file_bytes", "processes", "open_files"])
def test_a_limit_cannot_be_switched_off(name: str) -> None:
    with pytest.raises(InvalidToolError, match=name):
        Bounds(**{name: 0})


def test_limits_are_plain_data() -> None:
    assert json.dumps(Bounds().of_the_kernel())
