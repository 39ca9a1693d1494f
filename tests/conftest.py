"""What every test may use: programs that may be absent, a place for a store, and how hypothesis searches."""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

CI = os.environ.get("CI", "").lower() in {"1", "true"}

# A slow machine is not a failure. On CI each run tries the same examples, so that a red build is due to its commit;
# elsewhere each run looks for new ones, and prints how to repeat what it found.
settings.register_profile("here", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
settings.load_profile("ci" if CI else "here")


# Started with nohup, or in the background of a script, these are switched off, and so they would be for every process that a test starts
# and interrupts. One that has a handler here is at its default there.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    """Where a store may be made; nothing is there yet."""
    return tmp_path / "runs.db"


def pytest_runtest_setup(item: pytest.Item) -> None:
    absent = [program for mark in item.iter_markers("needs") for program in mark.args if shutil.which(program) is None]
    if not absent:
        return
    if CI:
        pytest.fail(f"{', '.join(absent)} not found: add its Debian package to .ci/run", pytrace=False)
    item.user_properties += [("needs", program) for program in absent]
    pytest.skip(f"needs {', '.join(absent)}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A skip is easily overlooked, so what was not run is said once more, by program."""
    skipped = terminalreporter.getreports("skipped")
    counts = Counter(program for report in skipped for key, program in report.user_properties if key == "needs")
    if counts:
        terminalreporter.section("not run: a program is absent")
        for program, count in sorted(counts.items()):
            terminalreporter.line(f"{program}: {count} test{'' if count == 1 else 's'}")
