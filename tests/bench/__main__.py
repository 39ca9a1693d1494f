"""``make bench``: what a step costs, ours and others', in turns; prints one table. Exit code 1 when something could not be measured."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from . import machine, makespan, plot, reads, resume, sent_bytes, side_by_side, starting, validating, writes
from .dbos_chain import INSTALLED as DBOS_INSTALLED
from .measure import Bench
from .table import Found, report, write_into

DOCS = Path(__file__).parents[2] / "docs"
PAGE, PICTURE = DOCS / "performance.md", DOCS / "performance.svg"

ROWS: dict[str, Callable[[Bench], Found]] = {
    "reads": reads.rows,
    "writes": writes.rows,
    "makespan": makespan.rows,
    "resume": resume.rows,
    "validate": validating.rows,
    "start": starting.rows,
    "side-by-side": side_by_side.rows,
    "sent": sent_bytes.rows,
}


def main() -> int:
    args = arguments()
    began, load = time.monotonic(), os.getloadavg()[0]
    if not DBOS_INSTALLED:
        sys.stderr.write("bench: DBOS is not installed, so it is not compared with; it comes with the extra `bench`\n")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=args.folder) as folder:
        bench = Bench(folder=Path(folder), passes=args.passes or (1 if args.quick else 5), quick=args.quick)
        found, failed = measured(bench, args.only or list(ROWS))
        head = machine.described(bench.folder, load, bench.passes, time.monotonic() - began)
    text = report(list(found.values()), head)
    sys.stdout.write(text)
    if args.json:
        args.json.write_text(json.dumps({name: asdict(row) for name, row in found.items()}, indent=1), encoding="utf-8")
    if failed:
        sys.stderr.write(f"bench: not measured, see above: {', '.join(failed)}{'; nothing was written' if args.write else ''}\n")
        return 1
    if args.write:
        write_into(PAGE, text)
        PICTURE.write_text(plot.svg(found["reads"].curves), encoding="utf-8")
    return 0


def measured(bench: Bench, names: list[str]) -> tuple[dict[str, Found], list[str]]:
    """By row; and the rows that failed, which cost the others nothing."""
    found, failed = {}, []
    for name in names:
        try:
            found[name] = ROWS[name](bench)
        except RuntimeError as error:
            bench.say(f"{name}: {error}")
            failed.append(name)
    return found, failed


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about a minute: one pass, fewer and shorter plans; not to be quoted")
    parser.add_argument(
        "--only", action="append", choices=list(ROWS), metavar="ROW", help=f"only this; may be given again: {', '.join(ROWS)}"
    )
    parser.add_argument("--passes", type=int, help="how often everything is measured, in turns; 5, or 1 with --quick")
    parser.add_argument("--folder", type=Path, help="on the disk that is to be measured; the system's place for temporary files otherwise")
    parser.add_argument("--json", type=Path, help="write the lines of the table here, too")
    parser.add_argument("--write", action="store_true", help="put the table and the plot into docs/; for a whole run on a quiet machine")
    args = parser.parse_args()
    if args.write and (args.quick or args.only):
        parser.error("--write is for a whole run: leave --quick and --only out")
    return args


if __name__ == "__main__":
    sys.exit(main())
