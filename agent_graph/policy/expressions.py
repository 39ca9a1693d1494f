"""CEL expressions: criteria, conditions and policy rules. The library is loaded at first use, since it takes a while.

An expression reads ``output`` (of its own step), ``steps.<id>.output``, ``steps.<id>.status``, ``params`` and ``goal``. Steps are named one
by one, so that what an expression needs is known before anything runs, and evaluating it costs the same after ten steps and ten thousand.

A model may have written it, and the library holds the GIL and cannot be stopped. So the work is bounded from above before it begins, and
what may be too much for this process runs in another one that is killed when its time is up: docs/adr/0005-cel-under-a-limit.md.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.machinery
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

MAX_LENGTH = 2000
MAX_NESTING = 32
MAX_TOKENS = 400
"""Names, operators and brackets. A chain of 800 overruns the 512 KB stack of a thread on macOS, which would end the process."""

BUDGET = 5_000_000
"""Units of work that this process does at most for one expression: 0.06 s at the worst that was measured, 40 ns at most for one."""
PATTERN = 1_250_000
"""Units for one regular expression: compiling the largest that the library takes was measured at 50 ms, and it is done at each turn."""
WORKER_SECONDS = 1.0
"""Of its own CPU time, so that a busy machine fails no criterion."""
WORKER_PATIENCE = 10.0
"""Seconds on the clock after which a worker is killed all the same; where a process cannot watch itself (Windows), this is the limit."""
WORKER_BYTES = 512 * 1024 * 1024
MAX_WORKERS = 4
"""Idle workers that are kept."""


class ExpressionError(ValueError):
    """The expression cannot be read, or evaluating it failed."""


_INDEXED = re.compile(r"""\bsteps\s*\[\s*(['"])([A-Za-z_]\w*)\1\s*\]""")
# As the grammar of CEL has them. What is taken for a text and is none would hide from every check here.
_STRING = re.compile(
    r"""
      (?<!\w)[bB]?[rR] (?: \"{3}[\s\S]*?\"{3} | '{3}[\s\S]*?'{3} | "[^"\n\r]*" | '[^'\n\r]*' )            # raw: no escapes
    | \"{3}(?:[^\\]|\\[\s\S])*?\"{3} | '{3}(?:[^\\]|\\[\s\S])*?'{3} | "(?:[^"\\\n\r]|\\.)*" | '(?:[^'\\\n\r]|\\.)*'
    | //[^\n]*                                                                                            # a comment
    """,
    re.VERBOSE,
)
_STEP = re.compile(r"(?<![\w.])steps\b(?:\s*\.\s*([A-Za-z_]\w*))?")
_PATH = re.compile(r"(?<![\w.])(?:output|params|goal|steps\.\w+)(?:\.[A-Za-z_]\w*|\[\d+\])*(\()?")
_PART = re.compile(r"[A-Za-z_]\w*|\[\d+\]")


def _bare(text: str) -> str:
    """The expression with its texts emptied, its comments left out, and ``steps["id"]`` written ``steps.id``."""
    if '"' not in text and "'" not in text and "//" not in text:
        return text
    return _STRING.sub(lambda found: " " if found[0].startswith("//") else '""', _INDEXED.sub(r"steps.\2", text))


@dataclass(slots=True)
class _Reading:
    """What an expression's text alone tells, found once: a plan of a thousand steps asks a thousand texts again and again."""

    names: frozenset[str]
    """Every name in it; what it reads is among them."""
    steps: frozenset[str]
    """Ids of the steps that it reads; empty text: ``steps`` as a whole."""
    paths: tuple[tuple[str, tuple[str | int, ...]], ...]
    """What it reads, as text and as keys."""
    tokens: int
    loops: int
    nesting: int
    joins: int
    patterns: int
    program: Any = None
    """Compiled, once it was asked for."""


T = TypeVar("T", bound=Hashable)


@functools.lru_cache(maxsize=1024)
def _same(value: T) -> T:
    """The first that was equal: most of a plan's expressions read things of the same name."""
    return value


@functools.lru_cache(maxsize=16_384)
def _read(text: str) -> _Reading:
    bare = _bare(text)
    tokens = _tokens(bare)
    nesting = _nesting(tokens)
    paths: dict[str, tuple[str | int, ...]] = {}
    for match in _PATH.finditer(bare):
        path = match[0].removesuffix("(")
        if match[1]:  # the last part is a method
            path = path.rpartition(".")[0]
        if path:
            paths[path] = tuple(int(part[1:-1]) if part.startswith("[") else part for part in _PART.findall(path))
    return _Reading(
        names=_same(frozenset(token for token in tokens if token.isidentifier())),
        steps=_same(frozenset(_STEP.findall(bare))),
        paths=_same(tuple(paths.items())),
        tokens=len(tokens),
        loops=_loops(tokens) if 0 < nesting <= MAX_NESTING else 0,  # what is nested deeper is refused
        nesting=nesting,
        joins=tokens.count("+"),
        patterns=tokens.count("matches"),
    )


def steps_read(text: str) -> frozenset[str]:
    """Ids of the steps that the expression reads. Raises ExpressionError when it reads ``steps`` as a whole."""
    found = _read(text).steps
    if "" in found:
        raise ExpressionError("it reads 'steps' as a whole; name each step: steps.<id>.output")
    return found


def paths_read(text: str) -> list[tuple[str | int, ...]]:
    """What the expression reads, as keys: ``("steps", "a", "output", "items", 0)``."""
    return [parts for _, parts in _read(text).paths]


def values_read(text: str, context: Mapping[str, Any]) -> dict[str, Any]:
    """The values that the expression reads, by path: the evidence beside its verdict."""
    found: dict[str, Any] = {}
    for path, parts in _read(text).paths:
        value: Any = context
        for part in parts:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                value = None
                break
        found[path] = value
    return found


def _program(text: str) -> Any:
    read = _read(text)
    if read.program is None:
        read.program = _compiled(text)
    return read.program


def _compiled(text: str) -> Any:
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"it is {len(text)} characters long; at most {MAX_LENGTH} are read")
    read = _read(text)
    if read.nesting > MAX_NESTING:
        raise ExpressionError(f"it is nested more than {MAX_NESTING} deep")
    if read.tokens > MAX_TOKENS:
        raise ExpressionError(f"it has {read.tokens} names, operators and brackets; at most {MAX_TOKENS} are read")
    try:
        return _cel().compile(text)
    except ValueError as error:
        first = str(error).partition("ERROR:")[2].strip().splitlines() or str(error).splitlines()
        raise ExpressionError(f"it is not CEL: {first[0][:200]}") from None


def _cel() -> Any:
    """The library's compiled part alone: ``import cel`` also loads its command line, which takes fifty times as long.

    It may be loaded once in a process, so that it is left where a later ``import cel`` looks for it.
    """
    with _loading:
        loaded = sys.modules.get("cel.cel")
        if loaded is not None:
            return loaded
        spec = importlib.util.spec_from_file_location("cel.cel", _library())
        if spec is None or spec.loader is None:
            raise ImportError("cel.cel")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules["cel.cel"] = module
        return module


_loading = threading.Lock()


def _library() -> str:
    """The file of the compiled part. Raises ImportError."""
    if __name__ == "__main__":  # a worker: its parent has looked
        return sys.argv[1]
    package = importlib.util.find_spec("cel")
    found = importlib.machinery.PathFinder.find_spec("cel.cel", package.submodule_search_locations) if package is not None else None
    if found is None or found.origin is None:
        raise ImportError("cel.cel")
    return found.origin


def check_expression(text: str) -> None:
    """Raises ExpressionError when the text is not a CEL expression of ours."""
    steps_read(text)
    _program(text)


def evaluate(text: str, context: Mapping[str, Any]) -> Any:
    """The expression's value. Raises ExpressionError, also when something that it reads is not there, or when it takes too long."""
    program, names = _program(text), _read(text).names
    seen = {name: value for name, value in context.items() if name in names}  # the library copies all that it is given
    if _work(text, seen) > BUDGET:
        return _elsewhere(text, seen)
    return _execute(program, seen)


def _execute(program: Any, context: Mapping[str, Any]) -> Any:
    try:
        return program.execute(context)
    except KeyError as error:
        raise ExpressionError(f"there is no {error} in what it reads") from None
    except Exception as error:
        raise ExpressionError(f"{type(error).__name__}: {error}") from None


def _nesting(tokens: tuple[str, ...]) -> int:
    depth = deepest = 0
    for token in tokens:
        if token in _OPEN:
            depth += 1
            deepest = max(deepest, depth)
        elif token in _CLOSE:
            depth -= 1
    return deepest


# ── how much work it can be at most ───────────────────────────────────────────────────────────────────────────────────
#
# A unit is one operator met once on one value of the data: 40 ns where an expression compares or copies all that it reads, again and again.
# A loop multiplies the units by the length of what it ranges over. `map` counts twice: the library copies the list that it builds at each
# turn, and what it builds may be longer than what it was given, which a second loop over it would then feel.

_TOKEN = re.compile(r'[A-Za-z_]\w*|\d[\w.]*|""|[^\s\w"]')
_LOOPS = {"all": 1, "exists": 1, "exists_one": 1, "existsOne": 1, "map": 2, "filter": 1}
_PLAIN = frozenset({"size", "has", "contains", "startsWith", "endsWith", "matches", "type", "in"}) | {
    *("int", "uint", "double", "string", "bytes", "bool", "timestamp", "duration"),
    *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
    *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
}
_JOINED = frozenset("+-*/%<>=!&|?:,") | {"in"}
_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")


def _tokens(bare: str) -> tuple[str, ...]:
    return tuple(_TOKEN.findall(bare))


def _loops(tokens: tuple[str, ...]) -> int:
    """How many loops stand one in the other or one after the other, at most. A function that is not known here counts as the worst."""

    def scan(at: int) -> tuple[int, int]:
        most = chain = 0
        while at < len(tokens) and tokens[at] not in _CLOSE:
            token = tokens[at]
            if token in _OPEN:
                called = tokens[at - 1] if at and token == "(" and tokens[at - 1].isidentifier() else None  # noqa: S105  # not that kind
                at, inner = scan(at + 1)
                if called is None or called in _PLAIN:
                    chain = max(chain, inner)
                else:
                    chain += inner + _LOOPS.get(called, 2)
            elif token in _JOINED:
                most, chain = max(most, chain), 0
            at += 1
        return at, max(most, chain)

    return scan(0)[1]


def _work(text: str, context: Mapping[str, Any]) -> int:
    """Units of work, from above."""
    read = _read(text)
    if read.loops == 0 and read.joins < 8 and read.patterns < 4:
        return 0  # linear in what it reads, as reading it is
    size, longest = _size(context, BUDGET // read.tokens)
    turn = read.tokens * size * (read.joins if read.joins >= 8 else 1) + read.patterns * PATTERN
    return int(turn * max(longest, read.tokens) ** read.loops)


def _size(context: Mapping[str, Any], enough: int) -> tuple[int, int]:
    """How many values the data has (64 characters count as one), and the length of its longest list. Stops counting at ``enough``."""
    size, longest, left = 0, 0, [context]
    while left and size <= enough:
        value: Any = left.pop()
        size += 1
        if isinstance(value, str):
            size += len(value) // 64
        elif isinstance(value, Mapping):
            longest = max(longest, len(value))
            left.extend(value.values())
        elif isinstance(value, list | tuple):
            longest = max(longest, len(value))
            left.extend(value)
    return size, longest


# ── in a process that can be killed ───────────────────────────────────────────────────────────────────────────────────

_idle: list[subprocess.Popen[bytes]] = []
"""Workers that wait for something to do. Taking from a list and adding to it are atomic."""


def _elsewhere(text: str, context: Mapping[str, Any]) -> Any:
    asked = json.dumps([text, dict(context)]).encode() + b"\n"
    worker = _worker()
    timer = threading.Timer(WORKER_PATIENCE, worker.kill)
    timer.daemon = True
    timer.start()
    try:
        said = _exchange(worker, asked)
    except BaseException:
        _end(worker)
        raise
    finally:
        timer.cancel()
    if not said.endswith(b"\n"):
        allowed = f"{WORKER_SECONDS:g} s and {WORKER_BYTES >> 20} MB"
        broken = os.name == "posix" and worker.wait() > 0  # it ended by itself; whoever is killed has a negative code
        _end(worker)
        if broken:
            raise ExpressionError(f"{_TOO_MUCH}, and the process to try it in does not work; let it look at less")
        raise ExpressionError(f"{_TOO_MUCH}, and was not done within {allowed}; let it look at less, or nest it less")
    _idle.append(worker)
    if len(_idle) > MAX_WORKERS:
        with contextlib.suppress(IndexError):  # somebody else took it
            _end(_idle.pop())
    answer = json.loads(said)
    if "error" in answer:
        raise ExpressionError(answer["error"])
    return answer["value"]


_TOO_MUCH = "it may be more work than is allowed"


def _exchange(worker: subprocess.Popen[bytes], asked: bytes) -> bytes:
    assert worker.stdin is not None and worker.stdout is not None  # noqa: S101, PT018  # both are pipes
    try:
        worker.stdin.write(asked)
        worker.stdin.flush()
        return worker.stdout.readline()
    except OSError:  # it was killed while it was being told
        return b""


def _worker() -> subprocess.Popen[bytes]:
    """One that waits, or a new one: this very file as a program, which needs nothing but the library and starts in a few milliseconds."""
    while _idle:
        with contextlib.suppress(IndexError):  # somebody else took the last
            worker = _idle.pop()
            if worker.poll() is None:
                return worker
            _end(worker)
    if getattr(sys, "frozen", False) or not sys.executable:
        raise ExpressionError(f"{_TOO_MUCH}, and there is no Python to try it in apart; let it look at less")
    try:
        command = [sys.executable, "-I", "-S", __file__, _library()]
        # A session of its own: Ctrl-C in a terminal is for the run, not for its workers.
        return subprocess.Popen(  # noqa: S603  # our own file
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
    except (OSError, ImportError) as error:
        raise ExpressionError(f"{_TOO_MUCH}, and cannot be tried apart ({error}); let it look at less") from None


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    with contextlib.suppress(OSError), worker:  # closes the pipes and waits for it; what it was not told yet is lost
        pass


@atexit.register
def _end_all() -> None:
    while _idle:
        _end(_idle.pop())


def _forget() -> None:
    """In a forked child the workers are the parent's."""
    for worker in _idle:
        worker.returncode = 0
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _serve() -> None:
    """What a worker does until its parent is gone. It is killed by its own timer too: a parent that was killed cannot do it."""
    _cel()
    _bound_memory()
    for line in sys.stdin.buffer:
        text, context = json.loads(line)
        _watch(WORKER_SECONDS)
        try:
            answer = {"value": _execute(_program(text), context)}
        except ExpressionError as error:
            answer = {"error": str(error)}
        _watch(0)
        sys.stdout.buffer.write(json.dumps(answer, default=str).encode() + b"\n")
        sys.stdout.buffer.flush()


def _watch(seconds: float) -> None:
    import signal

    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)  # nobody catches SIGPROF, so it ends the process, also in the library


def _bound_memory() -> None:
    if sys.platform == "linux":  # elsewhere the limit is not kept
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (WORKER_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    _serve()
