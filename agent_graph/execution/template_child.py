"""A template, filled in by a process of its own: this file as a program, which needs nothing but Jinja2.

A template may loop for ever or write more than there is memory; a process can be given a limit, and be killed.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    sys.path[:0] = sys.argv[1:]
    asked = json.load(sys.stdin)
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    bound(asked["seconds"], asked["bytes"])
    try:
        template = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(asked["template"])
        text, left = [], asked["most"]
        for part in template.generate(**asked["values"]):
            text.append(part)
            left -= len(part.encode("utf-8", "replace"))
            if left < 0:
                break
        said = {"text": "".join(text)} if left >= 0 else {"error": f"it writes more than {asked['most']} bytes"}
    except MemoryError:
        said = {"error": "it needs more memory than it may"}
    except Exception as error:
        said = {"error": f"{type(error).__name__}: {error}"[:1000]}
    json.dump(said, sys.stdout)


def bound(seconds: float, most: int) -> None:
    import signal

    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)  # of its own CPU time; nobody catches SIGPROF, so it ends the process
    if sys.platform == "linux":  # elsewhere the limit is not kept
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    main()
