"""``python``: source in, JSON out, and nothing else gets in or out."""

from __future__ import annotations

import ast
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import agent_graph.tools.python as home
from agent_graph.errors import InvalidToolError, NotDone
from agent_graph.tools.python import python_tool
from agent_graph.tools.sandbox import Bounds, NoSandbox, sandbox_here
from agent_graph.tools.shell import ProgramFailed
from agent_graph.tools.tool import ToolContext

HERE = sandbox_here()
shut_in = pytest.mark.skipif(isinstance(HERE, NoSandbox), reason=f"no sandbox here: {getattr(HERE, 'reason', '')}")
BOTH = pytest.mark.parametrize(
    "sandboxed", [pytest.param(None, marks=(shut_in, pytest.mark.needs("bwrap")), id="sandbox"), pytest.param(False, id="no sandbox")]
)
FAILED = (ProgramFailed, NotDone)


def run(source: str, inputs: Any = None, sandboxed: Any = None, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = python_tool(sandboxed=sandboxed, **more).call(ToolContext(), {"source": source, "inputs": inputs})
    return found


@BOTH
def test_json_goes_in_and_json_comes_out(sandboxed: Any) -> None:
    source = "import statistics\nprint('thinking')\nresult = {'mean': statistics.mean(inputs['n']), 'text': inputs['t']}"
    assert run(source, {"n": [1, 2, 6], "t": "ü \u202e"}, sandboxed) == {
        "result": {"mean": 3, "text": "ü \u202e"},
        "stdout": "thinking\n",
        "stderr": "",
        "left_out": 0,
    }


@BOTH
@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("x = 1\ny = 1 / 0", "line 2: ZeroDivisionError: division by zero"),
        ("def f():\n    raise KeyError('k')\n\nf()", "line 2: KeyError"),
        ("x = (", "line 1: SyntaxError"),
        ("x = 1", "assigned nothing to `result`"),
        ("result = {1, 2}", "TypeError: Object of type set is not JSON serializable"),
        ("result = float('nan')", "not JSON compliant"),
        ("result = []\nresult.append(result)", "Circular reference"),
        ("raise SystemExit(3)", "line 1: SystemExit: 3"),
        ("import os\nos._exit(4)", "its interpreter ended with exit code 4"),
        ("import os\nos._exit(0)", "it gave no result back"),
        ("import os\nos.kill(os.getpid(), 9)", "SIGKILL"),
        ("class E(Exception):\n    def __str__(self): raise E\nraise E", "its message cannot be read"),
        (
            "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'[1]')\n    except OSError: pass\nos._exit(0)",
            "it gave no result back",
        ),
        ("import os\nos.closerange(3, 64)\nresult = 1", "it gave no result back"),
    ],
)
def test_a_failure_is_said_in_words_with_its_line(source: str, why: str, sandboxed: Any) -> None:
    with pytest.raises(FAILED) as failed:
        run(source, sandboxed=sandboxed)
    assert why in str(failed.value)
    assert "Traceback" not in str(failed.value)


@BOTH
def test_what_it_printed_is_told_with_its_failure(sandboxed: Any) -> None:
    with pytest.raises(FAILED, match="line 2: ValueError: bad; it said: so far"):
        run("print('so far')\nraise ValueError('bad')", sandboxed=sandboxed)


@BOTH
def test_printing_does_not_get_into_the_result(sandboxed: Any) -> None:
    found = run("print('{\"result\": 666}', flush=True)\nresult = 1", sandboxed=sandboxed)
    assert (found["result"], found["stdout"]) == (1, '{"result": 666}\n')


@BOTH
def test_a_result_that_is_too_large_is_said(sandboxed: Any) -> None:
    with pytest.raises(FAILED, match=r"the result is 5,0\d\d bytes of JSON, and may be 1,000"):
        run("result = 'x' * 5000", sandboxed=sandboxed, max_bytes=1000)


@BOTH
def test_output_is_bounded(sandboxed: Any) -> None:
    found = run("print('x' * 5000)\nresult = 1", sandboxed=sandboxed, max_bytes=1000)
    assert (found["result"], found["left_out"]) == (1, 4001)


@BOTH
def test_large_inputs_pass(sandboxed: Any) -> None:
    assert run("result = len(inputs)", "x" * 3_000_000, sandboxed)["result"] == 3_000_000


def test_inputs_that_are_too_large_are_not_run() -> None:
    with pytest.raises(NotDone, match="nothing was run"):
        run("result = 1", "x" * 5_000_000)


@BOTH
def test_it_is_a_fresh_interpreter_that_nothing_of_ours_reaches(sandboxed: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('planted')")
    (tmp_path / "json.py").write_text("print('planted')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "json.py"))
    monkeypatch.setenv("SHOP_TOKEN", "of-the-host")
    monkeypatch.chdir(tmp_path)
    source = "import os, sys\nresult = [sorted(os.environ.keys() - {'PWD'}), 'agent_graph' in sys.modules, __name__]"
    found = run(source, sandboxed=sandboxed)
    assert found["result"] == [["HOME", "LANG", "PATH", "TMPDIR", "USER"], False, "__main__"]
    assert found["stdout"] == ""


@BOTH
def test_there_is_nothing_to_install_or_import_beside_the_standard_library(sandboxed: Any) -> None:
    with pytest.raises(FAILED, match="ModuleNotFoundError: No module named 'pydantic'"):
        run("import pydantic", sandboxed=sandboxed)


@BOTH
def test_packages_are_there_where_the_operator_says_so(sandboxed: Any, tmp_path: Path) -> None:
    (tmp_path / "known.py").write_text("VALUE = 7")
    assert run("import known\nresult = known.VALUE", sandboxed=sandboxed, import_from=[tmp_path])["result"] == 7


@BOTH
def test_it_is_ended_at_its_deadline(sandboxed: Any) -> None:
    began = time.monotonic()
    with pytest.raises(FAILED, match="was ended, with all that it had started: its time was over"):
        run("while True: pass", sandboxed=sandboxed, seconds=0.6)
    assert time.monotonic() - began < 5


@BOTH
def test_its_memory_is_bounded(sandboxed: Any) -> None:
    with pytest.raises(FAILED, match="MemoryError"):
        run("x = bytearray(400_000_000)", sandboxed=sandboxed, bounds=Bounds(memory_bytes=200_000_000))


# ── risk ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@shut_in
@pytest.mark.needs("bwrap")
def test_shut_in_it_only_computes_so_it_is_a_read() -> None:
    spec = python_tool().spec
    assert (spec.risk, spec.recovery, spec.outbound, spec.unsafe, spec.trusted_output) == ("read_only", "rerun", False, "", False)


@shut_in
@pytest.mark.needs("bwrap")
def test_with_a_folder_that_it_may_change_it_is_a_write(tmp_path: Path) -> None:
    made = python_tool(cwd=tmp_path, writable=True)
    assert (made.spec.risk, made.spec.recovery) == ("write", "blind")
    made.call(ToolContext(), {"source": "open('new', 'w').write('x')\nresult = None"})
    assert (tmp_path / "new").read_text() == "x"
    with pytest.raises(ProgramFailed):  # what it did before, it did
        made.call(ToolContext(), {"source": "open('more', 'w').write('x')\n1 / 0"})


@shut_in
@pytest.mark.needs("bwrap")
def test_a_folder_that_it_may_read_leaves_it_a_read(tmp_path: Path) -> None:
    (tmp_path / "known").write_text("x")
    made = python_tool(cwd=tmp_path)
    assert made.spec.risk == "read_only"
    assert made.call(ToolContext(), {"source": "result = open('known').read()"})["result"] == "x"
    with pytest.raises(NotDone, match="Read-only file system"):
        made.call(ToolContext(), {"source": "open('new', 'w')"})


def test_without_a_sandbox_it_is_a_write_that_goes_out_and_a_person_is_asked() -> None:
    spec = python_tool(sandboxed=False).spec
    assert (spec.risk, spec.recovery, spec.outbound) == ("write", "blind", True)
    assert spec.unsafe.startswith("the source runs outside of a sandbox")


@shut_in
@pytest.mark.needs("bwrap")
@pytest.mark.parametrize(
    "source",
    [
        "import socket\nsocket.create_connection(('1.1.1.1', 53), 2)",
        "import urllib.request\nurllib.request.urlopen('http://169.254.169.254/', timeout=2)",
        "import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == 0",
        "import ctypes\nassert ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0",
        "import os\nos.setuid(1)",
        "open('/etc/hosts').read()",
        "import os\nos.listdir(os.path.expanduser('~root'))",
        "open('/proc/sys/kernel/core_pattern', 'a')",
        "import os\nos.mknod('/tmp/disk', 0o60600, os.makedev(8, 0))\nopen('/tmp/disk', 'rb').read(1)",
    ],
)
def test_what_would_lead_out_does_not(source: str) -> None:
    with pytest.raises(NotDone):
        run(source + "\nresult = 'out'")


def test_nothing_of_the_source_stands_in_the_list_of_processes() -> None:
    found = run("import os\nresult = open(f'/proc/{os.getpid()}/cmdline').read()  # a-remark-of-mine", sandboxed=False)
    assert "a-remark-of-mine" not in found["result"]


@pytest.mark.parametrize("more", [{"seconds": 0}, {"max_bytes": 0}, {"writable": True}, {"cwd": "/nowhere"}, {"import_from": ["/nowhere"]}])
def test_what_cannot_work_is_refused_when_the_tool_is_made(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidToolError):
        python_tool(**more)


def test_the_secrets_of_the_host_are_looked_for_in_what_is_printed() -> None:
    found = run("print('a-secret-' + 'of-the-host')\nresult = 1", sandboxed=False, environment={"SHOP_TOKEN": "a-secret-of-the-host"})
    assert found["stdout"] == "[redacted: SHOP_TOKEN]\n"


@pytest.mark.parametrize("name", ["python_child.py", "supervisor.py"])
def test_what_runs_in_a_bare_interpreter_needs_nothing_but_the_standard_library(name: str) -> None:
    """The supervisor looks for psutil only when there is something left to end, where it is told to."""
    tree = ast.parse(Path(home.__file__).with_name(name).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names - sys.stdlib_module_names - {"__future__"} <= ({"psutil"} if name == "supervisor.py" else set())
