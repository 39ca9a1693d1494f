"""No version with a known hole in what reads the store, or fetches for it, can be installed with this package, nor was it tested with one."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[3]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PINNED = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line)

FIXED = {
    "CVE-2025-64439": ("langgraph-checkpoint", "3.0.0"),
    "CVE-2026-27794": ("langgraph-checkpoint", "4.0.0"),
    "CVE-2025-8709": ("langgraph-checkpoint-sqlite", "2.0.11"),
    "CVE-2025-67644": ("langgraph-checkpoint-sqlite", "3.0.1"),
    "CVE-2026-28277": ("langgraph", "1.0.10"),
    "CVE-2025-68664": ("langchain-core", "1.2.5"),
    "CVE-2026-26013": ("langchain-core", "1.2.11"),
    "CVE-2026-41488": ("langchain-openai", "1.1.14"),
}
"""The package, and the first version without it."""


def floor(package: str) -> Version:
    """The lowest version that may be installed."""
    wanted = [Requirement(text) for text in tomllib.loads(PROJECT)["project"]["dependencies"]]
    bounds = [each for requirement in wanted if requirement.name == package for each in requirement.specifier if each.operator == ">="]
    assert len(bounds) == 1, f"{package} has no lower bound"
    return Version(bounds[0].version)


@pytest.mark.parametrize("cve", FIXED)
def test_no_version_with_the_hole_is_allowed_or_tested_with(cve: str) -> None:
    package, fixed = FIXED[cve]
    assert floor(package) >= Version(fixed)
    assert Version(PINNED[package]) >= Version(fixed)


@pytest.mark.parametrize("cve", FIXED)
def test_the_bound_says_why_it_is_there(cve: str) -> None:
    assert any(FIXED[cve][0] in line and cve in line for line in PROJECT.splitlines())
