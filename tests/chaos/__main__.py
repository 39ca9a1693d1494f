"""``make chaos``: kill, resume, count; print what was measured. Exit code 1 when a single effect was doubled or lost, or a run got stuck."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

MOST_SHOWN = 30
PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"


def main() -> int:
    args = arguments()
    os.environ["LANGSMITH_TRACING"] = "false"
    os.environ["PYTHONWARNINGS"] = "ignore"  # of what a killed process leaves behind: its resource tracker says what it cleans up
    # Only now: these import langgraph and everything else, for all processes that are forked from here.
    from .lanes import share_out, warm_up
    from .report import Measured, write_into
    from .units import beside, by_chance, small, whole

    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    sys.stderr.write(f"chaos: seed {args.seed}, {args.kills} random kills and one at every boundary, {args.lanes} at a time, in {folder}\n")
    began = time.monotonic()
    warm_up(folder / "warm")
    units = small(args.seed) if args.small else whole(args.seed)
    # At most one run for each kill; those that are left over when there are enough cost nothing.
    units += beside(args.seed, args.kills // (60 if args.small else 30)) + by_chance(args.seed, 2 * args.kills)
    documents = share_out(units, args.lanes, folder, args.kills, progress=True)
    measured = Measured.read(documents, args.seed, time.monotonic() - began)
    violations = measured.violations()
    if args.json:
        found: dict[str, Any] = {
            "totals": measured.totals(),
            "violations": violations,
            "proofs": [[*key, n] for key, n in measured.proofs().items()],
        }
        found |= {"ours": [asdict(each) for each in measured.ours], "races": [asdict(each) for each in measured.races]}
        found |= {"stock": [asdict(each) for each in measured.stock]}
        args.json.write_text(json.dumps(found), encoding="utf-8")
    sys.stdout.write(measured.text())
    if violations:
        for violation, times in Counter(violations).most_common(MOST_SHOWN):
            sys.stdout.write(f"VIOLATION ({times} times) {violation}\n")
        sys.stdout.write(f"\n{len(violations)} violations; the stores and logs of these runs are in {folder}\n")
        return 1
    shutil.rmtree(folder)
    if args.write:
        write_into(PAGE, measured.text())
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=6000, help="how many at random instants; those at boundaries come on top")
    parser.add_argument("--seed", type=int, default=4, help="of plans, delays and moments; an operating system's scheduling has none")
    parser.add_argument("--lanes", type=int, default=max(2, os.cpu_count() or 2), help="how many runs are attacked at the same time")
    parser.add_argument("--small", action="store_true", help="the boundaries of a small plan only")
    parser.add_argument("--json", type=Path, help="write every verdict here, too")
    parser.add_argument("--write", action="store_true", help="put the report into docs/guarantees.md, if nothing is violated")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
