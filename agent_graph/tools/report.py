"""A text or Markdown report from a template, which may have been written by a model and is filled with data from outside.

So neither is trusted. The template runs in Jinja's immutable sandbox, is held to a closed list of constructs (no macros, imports, string
building or methods that a short text could turn into hours or gigabytes) and to a budget of loop rounds, seconds and characters. Each
value that it prints is made one line without control characters, and cannot open HTML, a link or a table column.
"""

from __future__ import annotations

import json
import re
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import Field, JsonValue
from typing_extensions import TypedDict

from agent_graph.tools.series import duration
from agent_graph.tools.tool import tool

MAX_TEMPLATE = 20_000
MAX_VALUES = 1_000_000
"""Characters of the values as JSON."""
MAX_REPORT = 100_000
"""Characters of the finished report."""
MAX_ROUNDS = 20_000
"""Of all loops together."""
MAX_SECONDS = 5.0

_BUNDLED = Path(__file__).parents[1] / "examples"
_ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.For, nodes.If, nodes.Assign, nodes.With, nodes.Name,
    nodes.Literal, nodes.Pair, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Filter, nodes.Test, nodes.Call, nodes.Keyword,
    nodes.Compare, nodes.Operand, nodes.CondExpr, nodes.And, nodes.Or, nodes.Not, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div,
    nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos,
)  # fmt: skip
_METHODS = {"items", "keys", "values", "get", "startswith", "endswith", "lower", "upper", "strip", "cycle", "changed"}
_FILTERS = {
    "abs", "capitalize", "count", "default", "d", "dictsort", "first", "float", "int", "items", "last", "length", "list", "lower", "map",
    "max", "min", "reject", "rejectattr", "select", "selectattr", "sort", "string", "sum", "title", "trim", "truncate", "unique", "upper",
}  # fmt: skip


class Report(TypedDict):
    title: str
    """The first heading, without its marks; the first line where there is none."""
    markdown: str
    characters: int


@tool(risk="read_only", trusted_output=True)  # as far as its arguments are
def render_report(
    values: Annotated[
        dict[str, JsonValue], Field(description="What the template prints, by name; usually references to outputs of earlier steps.")
    ],
    template: Annotated[
        str | None,
        Field(description="Name of a bundled template: incident-report (values: series, fleet, found, compared, moved, severity)."),
    ] = None,
    text: Annotated[str | None, Field(description="A Jinja2 template as text, instead of a bundled one.")] = None,
) -> Report:
    """Render a Markdown or text report from a template; it only makes text and changes nothing.

    The template language is Jinja2 in a sandbox: if, for, set, comparisons, arithmetic and filters (among them default, join, length, round,
    selectattr, sort, and ours: `clock` prints an ISO time, `duration` seconds, `number` a figure, `quoted` a longer text as a block quote).
    A name that is not among the values is an error, not an empty text. Output: title (the first heading), markdown.
    """
    if (template is None) == (text is None):
        raise ValueError("give either template (the name of a bundled one) or text (a template)")
    if text is None:
        path = _BUNDLED / f"{template}.md.j2"
        known = sorted(each.name.removesuffix(".md.j2") for each in _BUNDLED.glob("*.md.j2"))
        if template not in known:
            raise ValueError(f"there is no bundled template {template!r}; there is {', '.join(known)}; or give a template as text")
        text = path.read_text(encoding="utf-8")
    if len(text) > MAX_TEMPLATE:
        raise ValueError(f"the template has {len(text):,} characters; at most {MAX_TEMPLATE:,} are rendered")
    size = len(json.dumps(values, ensure_ascii=False, default=str))
    if size > MAX_VALUES:
        raise ValueError(
            f"the values have {size:,} characters as JSON; at most {MAX_VALUES:,} are rendered: refer to the parts that the template prints"
        )
    markdown = _render(text, values)
    lines = [line for line in markdown.splitlines() if line.strip()]
    heading = next((line.lstrip("#") for line in lines if line.startswith("#")), lines[0] if lines else "")
    return {"title": _plain(heading), "markdown": markdown, "characters": len(markdown)}


def _render(text: str, values: Mapping[str, Any]) -> str:
    budget = _Budget()
    environment = _environment(budget)
    try:
        tree = environment.parse(text)
        _check(tree)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "_counted", [], [], None, None)
        template = environment.from_string(tree)
        return "".join(budget.counted_text(template.generate(**values))).strip() + "\n"
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        raise ValueError(f"the template{f', line {line}' if line else ''}: {error.message or type(error).__name__}") from None
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError) as error:
        raise ValueError(f"the template cannot be rendered with these values: {type(error).__name__}: {error}") from None


def _check(tree: nodes.Template) -> None:
    """Raises ValueError for a construct that is not on the list."""
    for node in tree.find_all(nodes.Node):
        line = f"the template, line {node.lineno}"
        if not isinstance(node, _ALLOWED) or (isinstance(node, nodes.For) and node.recursive):
            raise ValueError(f"{line}: {type(node).__name__} is not allowed here; use if, for, set, arithmetic and filters")
        if isinstance(node, nodes.Call):
            called = node.node
            if not (isinstance(called, nodes.Name) and called.name == "range") and not (
                isinstance(called, nodes.Getattr) and called.attr in _METHODS
            ):
                raise ValueError(f"{line}: only range(…) and the methods {', '.join(sorted(_METHODS))} may be called; use a filter instead")


class _Budget:
    """What one rendering may spend."""

    def __init__(self) -> None:
        self._rounds = MAX_ROUNDS
        self._deadline = time.monotonic() + MAX_SECONDS

    def counted(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self._rounds -= 1
            if self._rounds < 0:
                raise ValueError(f"the template's loops take more than {MAX_ROUNDS:,} rounds; loop over less")
            self.look_at_the_clock()
            yield item

    def counted_text(self, pieces: Iterable[str]) -> Iterator[str]:
        size = 0
        for piece in pieces:
            size += len(piece)
            if size > MAX_REPORT:
                raise ValueError(f"the report is longer than {MAX_REPORT:,} characters; print less")
            yield piece

    def look_at_the_clock(self) -> None:
        if time.monotonic() > self._deadline:
            raise ValueError(f"the template took longer than {MAX_SECONDS:g} s; do less in it")


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "%"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        numbers = all(isinstance(side, int | float) for side in (left, right))
        if operator in "*%" and not numbers:
            raise TypeError(f"{operator} is for numbers here")
        if operator == "*" and all(isinstance(side, int) for side in (left, right)) and left.bit_length() + right.bit_length() > 256:
            raise OverflowError("the product is too large")
        if operator == "+" and not numbers and len(left) + len(right) > MAX_REPORT:
            raise OverflowError("the text or list is too long")
        return super().call_binop(context, operator, left, right)


def _environment(budget: _Budget) -> _Sandbox:
    """One per rendering, since the budget is; it costs about a millisecond."""

    def printed(value: Any) -> str:
        budget.look_at_the_clock()
        return str(value) if isinstance(value, _Ready) else _one_line("–" if value is None else value)

    environment = _Sandbox(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True, finalize=printed, optimized=False
    )  # not HTML: values are escaped for Markdown
    ours: dict[str, Callable[..., Any]] = {
        "_counted": budget.counted,
        "clock": _clock,
        "duration": duration,
        "join": _join,
        "number": _number,
        "quoted": _quoted,
        "round": _round,
    }
    environment.filters = {name: each for name, each in environment.filters.items() if name in _FILTERS} | ours
    environment.globals = {"range": _range}
    return environment


# ── how values are printed ────────────────────────────────────────────────────────────────────────────────────────────


class _Ready(str):
    """A text that needs no further escaping."""

    __slots__ = ()


_SPECIAL = re.compile(r"[\\`*\[\]<|]|(?<!\w)_|_(?!\w)|^[#>]")


def _visible(text: str) -> str:
    """Line breaks and tabs as spaces; other control, bidirectional and unassigned characters by their code."""
    return "".join(
        character if unicodedata.category(character)[0] != "C" and character not in "\u2028\u2029"
        else " " if character in "\t\n\r\v\f\x85\u2028\u2029"
        else f"U+{ord(character):04X}"
        for character in text
    )  # fmt: skip


def _one_line(value: Any) -> str:
    return _SPECIAL.sub(lambda match: "&lt;" if match.group() == "<" else "\\" + match.group(), _visible(str(value)))


def _quoted(value: Any) -> _Ready:
    """A text of several lines as a block quote: it keeps its lines and cannot be mistaken for the report's own words."""
    return _Ready("\n".join(f"> {_one_line(line)}".rstrip() for line in str(value).splitlines()))


def _range(*bounds: int) -> range:
    found = range(*bounds)
    if len(found) > MAX_ROUNDS:
        raise OverflowError(f"range(…) of more than {MAX_ROUNDS:,}")
    return found


def _round(value: float, precision: int = 0) -> float:
    if not -20 <= precision <= 20:  # 10 to the power of a large one would take hours
        raise OverflowError("round(…) with more than 20 digits")
    return round(float(value), precision) + 0.0


def _join(items: Iterable[Any], separator: str = ", ") -> str:
    pieces = [str(item) for item in items]
    if sum(map(len, pieces)) + len(separator) * len(pieces) > MAX_REPORT:
        raise OverflowError("the joined text is too long")
    return separator.join(pieces)


def _clock(value: str, form: str = "%Y-%m-%d %H:%M") -> str:
    """An ISO time without its seconds and zone, which the report names once."""
    try:
        return datetime.fromisoformat(value).strftime(form)
    except (TypeError, ValueError):
        raise TypeError(f"clock is for an ISO time, not for {value!r}") from None


def _number(value: float | None) -> str:
    """``71030805`` as ``71,030,805``, ``54.86775`` as ``54.9``, ``0.012345`` as ``0.0123``; null as a dash."""
    if value is None:
        return "–"
    if abs(value) >= 1e15 or (value and abs(value) < 1e-4):
        return f"{value:.3g}"
    if abs(round(value)) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _plain(heading: str) -> str:
    """A heading as plain text, at most 200 characters: a ticket's title knows no Markdown."""
    text = re.sub(r"\\([\\`*\[\]|_#>])", r"\1", heading).replace("&lt;", "<")
    return _visible(text).strip()[:200]
