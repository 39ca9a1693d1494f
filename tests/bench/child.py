"""One measured process: ``python -m bench.child MODULE:FUNCTION JSON``. What the function gives is the last line of its output."""

from __future__ import annotations

import importlib
import json
import sys


def main() -> int:
    module, _, name = sys.argv[1].partition(":")
    args, kwargs = json.loads(sys.argv[2])
    given = getattr(importlib.import_module(module), name)(*args, **kwargs)
    sys.stdout.write(f"{json.dumps(given)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
