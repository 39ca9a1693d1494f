"""A template, filled in: in a process that can be killed, with what it reads and nothing else."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent_graph.execution import template_child
from agent_graph.policy.expressions import WORKER_BYTES, WORKER_PATIENCE, WORKER_SECONDS
from agent_graph.policy.template import TemplateWrong

TOO_MUCH = f"it was not done within {WORKER_SECONDS:g} s and {WORKER_BYTES >> 20} MB; let it do less"


def render(template: str, values: Mapping[str, Any], most: int) -> str:
    """The text, of at most so many bytes. Raises TemplateWrong, also when something that it reads is not there, or when it takes too long."""
    if getattr(sys, "frozen", False) or not sys.executable:
        raise TemplateWrong("there is no Python to fill it in apart")
    asked = {"template": template, "values": dict(values), "most": most, "seconds": WORKER_SECONDS, "bytes": WORKER_BYTES}
    command = [sys.executable, "-I", "-S", template_child.__file__, *_places("jinja2", "markupsafe")]
    try:
        # A session of its own: Ctrl-C in a terminal is for the run.
        came = subprocess.run(  # noqa: S603  # our own file
            command, input=json.dumps(asked).encode(), capture_output=True, timeout=WORKER_PATIENCE, start_new_session=True, check=False
        )
        said = json.loads(came.stdout)
    except subprocess.TimeoutExpired:
        raise TemplateWrong(TOO_MUCH) from None
    except ValueError:  # it was ended in the middle
        raise TemplateWrong(TOO_MUCH) from None
    except OSError as error:
        raise TemplateWrong(f"it cannot be filled in apart: {error}") from None
    if "error" in said:
        raise TemplateWrong(said["error"])
    return str(said["text"])


def _places(*packages: str) -> list[str]:
    """Where they are: a process of its own, apart from this one's settings, does not know."""
    specs = [importlib.util.find_spec(package) for package in packages]
    return list(dict.fromkeys(str(Path(spec.origin).parents[1]) for spec in specs if spec is not None and spec.origin is not None))
