"""The wording of prompts: one file per part and version in the ``prompts/`` of a package, filled in; and how data stands in one."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from importlib import resources

_PLACE = re.compile(r"\{\{(\w+)\}\}")
_HEADING = re.compile(r"^(?=# )", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Wording:
    """Of one package. A changed wording is a new version."""

    package: str
    version: str

    def filled(self, part: str, **values: str) -> str:
        """With its placeholders filled in at once: a value that looks like a placeholder stays what it is."""
        return _filled(_read(self.package, part, self.version), values)

    def sections(self, part: str, **values: str) -> str:
        """As ``filled``, without the sections of which nothing is to be said."""
        said = []
        for section in _HEADING.split(_read(self.package, part, self.version)):
            places = _PLACE.findall(section)
            if not places or any(values[place] for place in places):
                said.append(_filled(section, values))
        return "".join(said)


def _filled(text: str, values: dict[str, str]) -> str:
    return _PLACE.sub(lambda found: values[found[1]], text)


@functools.cache
def _read(package: str, part: str, version: str) -> str:
    return (resources.files(package) / "prompts" / f"{part}.{version}.md").read_text(encoding="utf-8")


def delimited(of: str, text: str) -> str:
    """As data. What is inside cannot close it: it holds no ``<``."""
    inside = text.replace("<", "\\u003c")
    return f'<data of="{of}">{inside}</data>'
