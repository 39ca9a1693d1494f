"""``python``: a piece of source text in a fresh interpreter, with JSON in and JSON out, in the same sandbox as ``shell``.

In the sandbox, without a folder that it may change, it can reach nobody and leave nothing behind: then it is ``read_only``. With such a
folder, or without a sandbox, it is a ``write``; without a sandbox a person is asked before each call too.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, JsonValue
from typing_extensions import TypedDict

from agent_graph.errors import InvalidToolError, NotDone
from agent_graph.plan import Recovery
from agent_graph.tools.deadline import seconds_left
from agent_graph.tools.named import redaction_of
from agent_graph.tools.place import HIDDEN, SYSTEM, Place, place_of
from agent_graph.tools.program import Finished, run_program
from agent_graph.tools.sandbox import Bounds, Confinement, confined
from agent_graph.tools.shell import GRACE_S, MAX_BYTES, SECONDS, failure
from agent_graph.tools.tool import Tool, ToolContext, tool

MAX_SOURCE = 200_000
MAX_INPUTS = 4 << 20
"""Bytes of source and inputs together, as JSON."""

_BEGIN = Path(__file__).with_name("python_child.py")


class Computed(TypedDict):
    result: JsonValue
    """What the source assigned to ``result``."""
    stdout: str
    stderr: str
    left_out: int
    """Bytes that are missing in the middle of what it printed."""


def python_tool(
    *,
    name: str = "python",
    cwd: str | Path | None = None,
    writable: bool = False,
    readable: Sequence[str | Path] = (),
    hidden: Sequence[str] = HIDDEN,
    import_from: Sequence[str | Path] = (),
    environment: Mapping[str, str] = os.environ,
    bounds: Bounds | None = None,
    seconds: float = SECONDS,
    max_bytes: int = MAX_BYTES,
    recovery: Recovery | None = None,
    scopes: Sequence[str] = (),
    sandboxed: bool | None = None,
) -> Tool:
    """
    ``cwd`` is the folder that the source works in, ``readable`` what it may see beside it; ``writable``: it may change ``cwd``, and the tool is
    a write. ``import_from``: folders with packages; without them it has the standard library. ``max_bytes`` is of the result, and of each of
    the two outputs. ``sandboxed``, ``hidden`` and ``bounds`` are as in ``shell_tool``. The source is given nothing of ``environment``; its
    secrets are looked for in what is printed. Raises InvalidToolError.
    """
    if seconds <= 0 or max_bytes < 1:
        raise InvalidToolError(f"tool {name}: seconds and max_bytes must be above 0")
    interpreter = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    packages = [str(Path(each).expanduser().resolve()) for each in import_from]
    place = place_of(name, cwd, [*readable, *(each for each in packages if not _is_system(each))], hidden, writable=writable)
    own = tuple(each for each in dict.fromkeys((sys.base_prefix, sys.base_exec_prefix)) if not _is_system(each))
    confinement = confined(name, "the source", replace(place, readable=(*own, *place.readable)), sandboxed)
    within = bounds or Bounds()

    def python(
        context: ToolContext,
        source: Annotated[
            str, Field(min_length=1, max_length=MAX_SOURCE, description="Python; it assigns what it gives back to `result`.")
        ],
        inputs: Annotated[JsonValue, Field(description="JSON that the source finds in `inputs`.")] = None,
    ) -> Computed:
        said = json.dumps({"source": source, "inputs": inputs, "import_from": packages}).encode()
        if len(said) > MAX_INPUTS:
            raise NotDone(f"{name}: source and inputs are {len(said):,} bytes, and may be {MAX_INPUTS:,}; nothing was run")
        redaction = redaction_of(name, {}, environment)
        finished = run_program(
            [interpreter, "-I", "-S", "-B", "-X", "utf8", "-c", _BEGIN.read_text("utf-8")],
            confinement=confinement,
            bounds=within,
            environment={},
            seconds=seconds_left(context.deadline, seconds),
            max_bytes=max_bytes,
            said=said,
            answers=True,
        )
        stdout, missing = finished.stdout.text(redaction)
        stderr, more = finished.stderr.text(redaction)
        answer = _answer(finished, max_bytes)
        if "error" in answer:
            raise failure(f"the source failed: {redaction.text(str(answer['error']))}", stderr.strip() or stdout.strip(), confinement)
        return {"result": answer["result"], "stdout": stdout, "stderr": stderr, "left_out": missing + more}

    return tool(
        python,
        name=name,
        description=_description(packages, place, confinement),
        risk="read_only" if confinement.harmless else "write",
        recovery=None if confinement.harmless else recovery,
        scopes=tuple(scopes),
        outbound=bool(confinement.unsafe),
        unsafe=confinement.unsafe,
        timeout=seconds + GRACE_S,
    )


def _is_system(path: str) -> bool:
    return any(Path(path).is_relative_to(each) for each in SYSTEM)


def _answer(finished: Finished, max_bytes: int) -> dict[str, Any]:
    """``result`` or ``error``. The source may have written anything to the pipe."""
    if finished.code != 0:
        return {"error": f"its interpreter {finished.how}"}
    whole = finished.answer.whole
    if whole is None:
        return {"error": f"the result is {finished.answer.total:,} bytes of JSON, and may be {max_bytes:,}; give back less"}
    try:
        answer = json.loads(whole)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or not answer.keys() & {"result", "error"}:
        return {"error": "it gave no result back: it ended its own interpreter, or wrote to the pipe of the result"}
    return answer


def _description(packages: Sequence[str], place: Place, confinement: Confinement) -> str:
    what = "the standard library" + (" and installed packages" if packages else " only")
    where = "" if place.folder is None else " It starts in the work folder" + (", which it may change." if place.writable else ".")
    shut = "" if confinement.unsafe else " It has no network and sees no other files; what it writes elsewhere is gone afterwards."
    return (
        f"Run Python source in a fresh interpreter with {what}, for computing: `inputs` holds the JSON that is given, and what the source "
        f"assigns to `result` (JSON too) is given back, with what it printed.{where}{shut}"
    )
