"""The figures in a sentence, and whether they stand in what it refers to: the commonest invention of a model is a number."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_FIGURE = re.compile(r"(?<![\w.,])[-+−]?\d+(?:[.,]\d+)*")
"""Not what is part of a name: ``host2``, ``v1``."""

_ITEM = re.compile(r"^\s*(?:\d{1,3}[.)]|[-*•])\s+")
"""What numbers a list."""


def unseen(text: str, values: list[Any]) -> list[str]:
    """Figures of the text that are in none of the values: not as a number, however rounded, not in a text, not as the length of a list."""
    known = [number for value in values for number in _numbers(value)]
    written = " ".join(part for value in values for part in _texts(value))
    return [figure for figure in figures(text) if not _is_known(figure, known) and not _is_written(figure, written)]


def figures(text: str) -> list[str]:
    return [found[0] for found in _FIGURE.finditer(_ITEM.sub("", text))]


def _is_known(figure: str, known: list[float]) -> bool:
    """As a number with as many decimals as it is written with. A share may be written as a percentage, and a minus as a word: it fell by 5."""
    for value, decimals in _readings(figure):
        for number in known:
            for scaled in (number, number * 100):
                size = scaled if value < 0 else abs(scaled)
                if abs(size - value) <= 0.5000001 * 10**-decimals:
                    return True
    return False


def _readings(figure: str) -> Iterator[tuple[float, int]]:
    """1,234.5 and 1.234,5 and 3,5: which of the two marks is the decimal one is not known, so both readings count."""
    plain = figure.replace("−", "-")
    for group, mark in ((",", "."), (".", ",")):
        whole, _, rest = plain.replace(group, "").partition(mark)
        try:
            yield float(f"{whole}.{rest or 0}"), len(rest)
        except ValueError:  # both marks more than once: a date, a version
            continue


def _is_written(figure: str, text: str) -> bool:
    return re.search(rf"(?<![\d.,]){re.escape(figure.lstrip('+-−'))}(?![\d]|[.,]\d)", text) is not None


def _numbers(value: Any) -> Iterator[float]:
    match value:
        case bool() | None:
            return
        case int() | float():
            yield float(value)
        case str():
            for figure in figures(value):
                yield from (number for number, _ in _readings(figure))
        case Mapping():
            yield float(len(value))
            for item in value.values():
                yield from _numbers(item)
        case list():
            yield float(len(value))
            for item in value:
                yield from _numbers(item)
        case _:
            return


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for name, item in value.items():
                yield str(name)
                yield from _texts(item)
        case list():
            for item in value:
                yield from _texts(item)
        case _:
            return
