"""Of many tools, those that a planner is shown: the ones whose words fit the goal's, by BM25. The check of a plan knows all of them.

What is shown hangs on goal and tools alone, so that the beginning of the prompt stays the same for the whole run.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from agent_graph.ports import ToolSpec

MAX_TOOLS = 40
MAX_BYTES = 60_000
"""Of names, descriptions and schemas together."""
MAX_NAMED = 60
"""Tools left out that the trace names."""

# As in the paper that the measure comes from: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009.
K1, B = 1.2, 0.75
NAME_WEIGHT = 3
"""A word of the tool's name counts as often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowed:
    tools: Mapping[str, ToolSpec]
    """In the order in which they were given."""
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        """For the trace."""
        named = ", ".join(self.left_out[:MAX_NAMED])
        more = f" and {len(self.left_out) - MAX_NAMED} more" if len(self.left_out) > MAX_NAMED else ""
        there = len(self.tools) + len(self.left_out)
        return f"the planner is shown {len(self.tools)} of {there} tools, by the words of the goal; left out: {named}{more}"


def narrow(
    tools: Mapping[str, ToolSpec], words: str, *, keep: Collection[str] = (), most: int = MAX_TOOLS, most_bytes: int = MAX_BYTES
) -> Narrowed:
    """Those that fit ``words`` best, up to the bounds. Those in ``keep``, and those that ``words`` name, always stay."""
    sizes = {name: _known(spec).size for name, spec in tools.items()}
    if len(tools) <= most and sum(sizes.values()) <= most_bytes:
        return Narrowed(tools=tools)
    scores = _scores(tools, words)
    chosen = _named(tools, words) | {name for name in tools if name in keep}
    left, left_bytes = most - len(chosen), most_bytes - sum(sizes[name] for name in chosen)
    for name in sorted((name for name in tools if name not in chosen), key=lambda name: -scores[name]):  # of equals, the first
        if left <= 0:
            break
        if sizes[name] <= left_bytes:
            chosen.add(name)
            left, left_bytes = left - 1, left_bytes - sizes[name]
    return Narrowed(
        tools={name: spec for name, spec in tools.items() if name in chosen},
        left_out=tuple(name for name in tools if name not in chosen),
    )


def relevant(tools: Mapping[str, ToolSpec], words: str, *, share: float = 0.3) -> list[ToolSpec]:
    """Tools that fit the words, the best first: named in them, or with at least this share of the best one's score."""
    scores = _scores(tools, words)
    best = max(scores.values(), default=0.0)
    named = _named(tools, words)
    fitting = [name for name, score in scores.items() if name in named or (score > 0 and score >= share * best)]
    return [tools[name] for name in sorted(fitting, key=lambda name: -scores[name])]


def _scores(tools: Mapping[str, ToolSpec], words: str) -> dict[str, float]:
    counts = {name: _known(spec).words for name, spec in tools.items()}
    lengths = {name: sum(count.values()) for name, count in counts.items()}
    usual = sum(lengths.values()) / len(lengths) if lengths else 1.0
    found_in = Counter(word for count in counts.values() for word in count)
    asked = set(_words(words))

    def score(name: str) -> float:
        total = 0.0
        for word in asked & counts[name].keys():
            rare = math.log(1 + (len(tools) - found_in[word] + 0.5) / (found_in[word] + 0.5))
            often = counts[name][word]
            total += rare * often * (K1 + 1) / (often + K1 * (1 - B + B * lengths[name] / usual))
        return total

    return {name: score(name) for name in tools}


@dataclass(frozen=True, slots=True)
class _Known:
    spec: ToolSpec
    words: Counter[str]
    size: int


_KNOWN: dict[int, _Known] = {}
"""By identity: specs of an agent stay the same ones, and all of them are looked at for each plan."""


def _known(spec: ToolSpec) -> _Known:
    known = _KNOWN.get(id(spec))
    if known is None or known.spec is not spec:
        if len(_KNOWN) > 4096:
            _KNOWN.clear()
        known = _KNOWN[id(spec)] = _Known(spec, _counted(spec), _size(spec))
    return known


def _counted(spec: ToolSpec) -> Counter[str]:
    properties = spec.args_schema.get("properties", {})
    args = [
        f"{name} {schema.get('description', '')}" if isinstance(schema, Mapping) else str(name) for name, schema in dict(properties).items()
    ]
    return Counter([*_words(spec.name) * NAME_WEIGHT, *_words(" ".join([spec.description, *args]))])


def _named(tools: Mapping[str, ToolSpec], words: str) -> set[str]:
    """The tools that the words name, in their own spelling."""
    said = {each.strip(".-").lower() for each in _NAME.findall(words)}
    return {name for name in tools if name.lower() in said}


def _size(spec: ToolSpec) -> int:
    schemas = json.dumps([spec.args_schema, spec.output_schema], ensure_ascii=False, default=str)
    return len(f"{spec.name}{spec.description}{schemas}".encode())


_NAME = re.compile(r"[\w.-]+")
_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "a an and any are as at be by can do does for from has have how i if in into is it its me my no not of on one or our please so some "
        "that the their them then there these this to up us was what when where which who why will with you your",
    )
)


def _words(text: str) -> list[str]:
    """Lower case, without what every text has, and without the commonest endings of English words."""
    found = (word.lower() for word in _WORD.findall(_CAMEL.sub(" ", text)))
    return [_stem(word) for word in found if word not in _COMMON]


def _stem(word: str) -> str:
    if word.endswith("ss"):
        return word
    for ending, instead in (("ies", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return (word[: -len(ending)] + instead).rstrip("e")
    return word.rstrip("e") if len(word) > 3 else word
