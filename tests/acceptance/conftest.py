"""The real command line in a folder of its own, with tools and a plan that stand outside of the package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

OPS = '''
import os, time
from pathlib import Path
from agent_graph import Absent, Landed, ToolContext, tool

LOG = Path("world.log")

def say(line):
    with LOG.open("a") as log:
        log.write(line + "\\n")

@tool(risk="read_only")
def look(name: str, seconds: float = 0.0) -> dict:
    """Look something up."""
    say(f"look {name}")
    time.sleep(seconds)
    if os.environ.get("KILL") == name:
        os.kill(os.getpid(), 9)
    return {"name": name, "address": f"{name}@example.org"}

@tool(risk="read_only")
def hold(name: str) -> str:
    """Wait until somebody makes the file of this name."""
    say(f"hold {name}")
    for _ in range(3000):
        if Path(name).exists():
            break
        time.sleep(0.01)
    return name

def happened(ctx: ToolContext, to: str, text: str):
    key = ctx.idempotency_key
    return Landed("sent") if LOG.exists() and any(key in line for line in LOG.read_text().splitlines()) else Absent()

@tool(risk="external_communication", probe=happened)
def send(ctx: ToolContext, to: str, text: str) -> str:
    """Send a message."""
    say(f"send {to} {text!r} {ctx.idempotency_key}")
    return "sent"

@tool(risk="write")
def blind(name: str) -> str:
    """Change something; nobody can say afterwards whether it happened."""
    say(f"blind {name}")
    if os.environ.get("KILL") == "blind":
        os.kill(os.getpid(), 9)
    return name

@tool(risk="read_only")
def noisy() -> str:
    """Prints what no program expects."""
    print("noise on stdout")
    os.system("echo noise from a child")
    return "done"

@tool(risk="read_only")
def fail(why: str) -> str:
    """Fail."""
    raise ValueError(why)
'''


@dataclass
class Cli:
    """``agent-graph`` in one folder."""

    folder: Path

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*words),
            cwd=self.folder,
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*words, **environment)
        return self.end(process)

    def end(self, process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
        out, err = process.communicate(timeout=60)
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def json(self, *words: str, code: int = 0) -> Any:
        """The one document on stdout."""
        done = self.run(*words, "--json")
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "agent_graph", *words]

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENT_GRAPH")}
        return {**kept, "PYTHONUTF8": "1", "NO_COLOR": "", "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"} | more

    def write(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text, encoding="utf-8")
        return name

    def happened(self) -> Counter[str]:
        """What the tools did, by their own account: the first two words of each line."""
        log = self.folder / "world.log"
        return Counter(" ".join(line.split()[:2]) for line in log.read_text().splitlines()) if log.exists() else Counter()

    def wait_for(self, line: str) -> None:
        until = time.monotonic() + 30
        while self.happened()[line] == 0:
            assert time.monotonic() < until, f"{line!r} never came"
            time.sleep(0.02)


SEND_PLAN = """
goal: tell Ann
steps:
  - {id: who, tool: look, args: {name: ann}, description: find her address}
  - id: tell
    tool: send
    description: tell her
    args: {to: {$ref: steps.who.output.address}, text: "hello\\n\\x1b[31mAnn \\u202eback"}
answer: {told: {$ref: steps.tell.output}, report: "Ann was told.\\nNothing else."}
"""

SLOW_PLAN = """
goal: look at five
steps:
  - {id: s0, tool: look, args: {name: n0, seconds: 0.4}}
  - {id: s1, tool: look, args: {name: n1, seconds: 0.4}, depends_on: [s0]}
  - {id: s2, tool: look, args: {name: n2, seconds: 0.4}, depends_on: [s1]}
  - {id: s3, tool: look, args: {name: n3, seconds: 0.4}, depends_on: [s2]}
  - {id: s4, tool: look, args: {name: n4, seconds: 0.4}, depends_on: [s3]}
"""


HOLD_PLAN = """
goal: wait
steps:
  - {id: h, tool: hold, args: {name: go}}
  - {id: s, tool: look, args: {name: after}, depends_on: [h]}
"""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path)
    made.write("ops.py", OPS)
    made.write("send.yaml", SEND_PLAN)
    made.write("slow.yaml", SLOW_PLAN)
    made.write("hold.yaml", HOLD_PLAN)
    return made
